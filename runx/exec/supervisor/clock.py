"""The guest's clock, which is to show what the host's shows (docs/console-link.md, "The clock").

A guest reads the time from Xen once, when it boots. Then it counts by itself, while the host's clock follows a time server. This
part of the loop asks the guest for its time, and has it change its clock by the difference. The change is a difference and not a
time, so it does not matter how long it is under way.
"""

import time

from runx.exec.console import frames as link

TYPE_CHECKING = False  # as typing's, which costs the supervisor memory
if TYPE_CHECKING:
    import select
    from collections.abc import Callable

    from runx.exec.supervisor.to_guest import ToGuest

PERIOD_S = 120.0
"""How often the guest is asked. A clock that is off by 100 millionths, which is much, moves 12 ms in that time."""
LOOK_S = 10.0
"""How often to look whether somebody has set the host's clock."""
RETRY_S = 1.0
TRIES = 5
"""How often the guest is asked in a row, while its answers are late."""
LATE_S = 0.02
"""An answer after more than this time says little. How far it may be wrong is half of that time."""
LEAST_S = 0.001
"""What a difference is more than certainly, or it is left as it is."""
_SET_S = 0.01
"""How far the host's clock has to jump to be seen as set."""
TOLD_S = 0.05
"""Differences from this on are in the container's log. The guest steps over them (guest-assets/init/pid1/clock.c)."""
_SLEW = 5e-4
"""How fast the guest makes up for a smaller difference: 0.5 ms each second (adjtimex(2))."""
_NO_ROOM_S = 0.25
_SAID_MOST = 10
"""Lines of the log. A guest can have one written in each period."""


class GuestClock:
    """The part of the loop that asks, and answers with the difference."""

    def __init__(
        self,
        to_guest: "ToGuest",
        log: "Callable[[str, str], None]",
        clock: "Callable[[], float]" = time.monotonic,
        now_ns: "Callable[[], int]" = time.time_ns,
    ) -> None:
        """log: takes the level and text of a message. clock: measures how long an answer takes, in seconds. now_ns: the host's
        time, in nanoseconds since 1970."""
        self._to_guest = to_guest
        self._log = log
        self._clock = clock
        self._now_ns = now_ns
        self._asked_at: float | None = None
        """When the guest was asked, by `clock`; None: no answer is due."""
        self._ask_at = 0.0
        self._look_at = 0.0
        self._slews_until = 0.0
        """When the guest has made up for the difference that it was told last, by `clock`."""
        self._tries = 0
        self._said = 0
        self._start_s = self._host_start_s()

    def _host_start_s(self) -> float:
        """The time at which `clock` was 0. It is another one when somebody has set the host's clock."""
        return self._now_ns() / 1e9 - self._clock()

    def ask(self) -> None:
        """Ask soon, as the guest has not run for a while."""
        self._ask_at = 0.0
        self._tries = 0

    def watch(self, _poller: "select.poll") -> float | None:
        if not self._to_guest.greeted or self._asked_at is not None:
            return None
        return min(self._ask_at, self._look_at)

    def handle(self, _ready: dict[int, int]) -> None:
        if not self._to_guest.greeted or self._asked_at is not None:
            return
        now = self._clock()
        if now >= self._look_at:
            self._look_at = now + LOOK_S
            start_s = self._host_start_s()
            if abs(start_s - self._start_s) > _SET_S:
                self.ask()
            self._start_s = start_s
        if now < self._ask_at:
            return
        if not self._to_guest.has_room:
            self._ask_at = now + _NO_ROOM_S
            return
        self._asked_at = now
        self._to_guest.put(link.frame(link.ASK_TIME))

    def heard(self, guest_ns: int) -> None:
        """Take the guest's time, in nanoseconds since 1970. Raises LinkError if it was not asked for."""
        if self._asked_at is None:
            raise link.LinkError("the time, which was not asked for")
        now, now_ns = self._clock(), self._now_ns()
        took_s = now - self._asked_at
        self._asked_at = None
        self._tries += 1
        if took_s > LATE_S and self._tries < TRIES:
            self._ask_at = now + RETRY_S
            return
        self._tries = 0
        self._ask_at = now + PERIOD_S
        # The guest has read its clock between question and answer. Half of the time between them is the best guess.
        difference_ns = now_ns - int(took_s * 5e8) - guest_ns
        is_right = abs(difference_ns) <= took_s * 5e8 + LEAST_S * 1e9
        # A clock that is right while it is still slewed, as somebody has set the host's, would not stay right.
        if is_right and (now >= self._slews_until or took_s > LATE_S):
            return
        self._to_guest.put(link.adjust_time(difference_ns))
        is_stepped = abs(difference_ns) >= TOLD_S * 1e9
        self._slews_until = now if is_stepped else now + abs(difference_ns) / 1e9 / _SLEW
        if is_stepped and self._said < _SAID_MOST:
            self._said += 1
            self._log("info", f"the guest's clock was off by {-difference_ns / 1e9:+.3f} s, and is set to the host's time")
