"""KILL of a container whose guest speaks the console link: the guest ends it in order, within time limits of the host.

PID 1 of the guest kills the processes, writes the file systems and powers off (docs/console-link.md, "The end of a container").
What the container has written is kept, as it is when runc's container is killed. But KILL must end every container, whatever its
guest does: a guest that does not answer, or takes too long, is destroyed.
"""

import time

from runx.exec.console import frames as link
from runx.exec.supervisor.loop import Ended
from runx.exec.supervisor.session import STATUS_KILLED
from runx.linux.signals import signal

TYPE_CHECKING = False  # as typing's, which costs the supervisor memory
if TYPE_CHECKING:
    import select
    from collections.abc import Callable

    from runx.exec.supervisor.session import Session
    from runx.exec.supervisor.to_guest import ToGuest

READERS_S = 1.0
"""How long a killed container that has ended waits for the readers of its output."""


class Killing:
    """The part of the loop that ends a guest for which KILL has come. It comes last: what the guest has said counts first."""

    def __init__(
        self,
        session: "Session",
        to_guest: "ToGuest",
        limits_s: tuple[int, int],
        log: "Callable[[str, str], None]",
        clock: "Callable[[], float]" = time.monotonic,
    ) -> None:
        """limits_s: until the guest answers, and until it has ended. log: takes the level and text of a message."""
        self._session = session
        self._to_guest = to_guest
        self._answer_s, self._end_s = limits_s
        self._log = log
        self._clock = clock
        self._looked_at = 0.0
        """The time before this turn waited for events. Time that is over since then counts in the next turn, which hears first
        what the guest has said meanwhile: the supervisor may have waited for xl."""
        self._frame_ends_at = 0
        """How many bytes the ring has taken when it has taken the frame."""
        self._answer_by = 0.0
        self._end_by: float | None = None
        """None: KILL has not come."""
        self._read_by: float | None = None
        """None: the guest has not said its last."""

    @property
    def is_under_way(self) -> bool:
        return self._end_by is not None

    def ask(self) -> None:
        """Have the guest end the container. Only the first call counts.

        Raises Ended if the process does not run yet: nothing is lost if the domain is destroyed.
        """
        if self._end_by is not None:
            return
        session = self._session
        if not session.started and session.status is None:
            raise Ended(STATUS_KILLED)
        now = self._clock()
        self._answer_by = now + self._answer_s
        self._end_by = now + self._end_s
        if session.status is not None:
            return  # the guest has ended in order; only readers are waited for
        # Behind what waits for the ring, at most a few frames, but in front of all signals in the queue.
        self._to_guest.put(link.signal(signal.SIGKILL))
        self._frame_ends_at = self._to_guest.taken + len(self._to_guest.waiting)

    def watch(self, _poller: "select.poll") -> float | None:
        self._looked_at = self._clock()
        if self._end_by is None:
            return None
        if self._read_by is not None:
            return self._read_by
        return self._end_by if self._has_answered else min(self._answer_by, self._end_by)

    @property
    def _has_answered(self) -> bool:
        return self._session.ending is not None

    def handle(self, _ready: dict[int, int]) -> None:
        """Raises Ended when the time is over."""
        if self._end_by is None:
            return
        if self._frame_ends_at and self._to_guest.taken >= self._frame_ends_at:
            self._frame_ends_at = 0
            self._answer_by = self._clock() + self._answer_s  # the guest has it now
        if self._session.status is not None:
            if self._read_by is None:
                self._read_by = min(self._end_by, self._clock() + READERS_S)
            if self._looked_at >= self._read_by:
                raise Ended(self._session.status)
        elif self._looked_at >= self._end_by:
            self._give_up(f"has not ended {self._end_s} s after KILL")
        elif not self._has_answered and self._looked_at >= self._answer_by:
            self._give_up(f"did not answer KILL within {self._answer_s} s")

    def _give_up(self, why: str) -> None:
        self._log("warning", f"the guest {why}, and is destroyed: what the container wrote last may be lost")
        raise Ended(self._session.status_if_destroyed)
