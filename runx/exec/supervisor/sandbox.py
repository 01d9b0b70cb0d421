"""The sandbox of a pod: a process that lives in the pod's network namespace, and nothing else.

Under runc an image's program, `pause`, would be that process. It only waits for a signal, which the supervisor does by itself:
there is no domain, and nothing of the image runs. The virtual machines of the pod's containers take what is in the namespace.
"""

from runx.exec import confinement
from runx.exec.supervisor import view
from runx.exec.supervisor.lifecycle import refuse, takes_none_in
from runx.linux.signals import signal

TYPE_CHECKING = False  # as typing's, which costs the supervisor memory
if TYPE_CHECKING:
    from collections.abc import Sequence

    from runx.exec.container.record import Record
    from runx.exec.supervisor.loop import Part
    from runx.exec.supervisor.session import Session

_ENDING = (signal.SIGTERM, signal.SIGINT)
"""Signals that end `pause` with status 0 (Kubernetes, build/pause/linux/pause.c), and podman's `catatonit -P` as well. Both are
PID 1 of their namespace, so all other signals do nothing, except SIGKILL, which the supervisor never sees."""


class Sandbox:
    """Waits. While it is paused, a signal that ends it waits too."""

    first_parts: "tuple[Part, ...]" = ()
    last_parts: "tuple[Part, ...]" = ()

    def __init__(self, record: "Record", session: "Session") -> None:
        self._record = record
        self._session = session
        self._is_to_end = False

    def make(self, caller: int) -> None:
        """Nothing: the network namespace is there."""

    def confine(self) -> None:
        """Give up what waiting does not take. Raises RunxError."""
        view.enter(self._record)
        confinement.supervisor()

    def complete(self, serving: "Sequence[Part]") -> None:
        """Nothing: it is complete."""

    def remove(self) -> None:
        """Nothing: the network namespace goes with the supervisor, unless somebody else holds it."""

    def await_hooks(self, order: int) -> None:
        """Nothing: there is no domain that could end meanwhile."""

    def start(self) -> None:
        """It waits already."""
        self._session.process_started()

    def pause(self) -> None:
        """Nothing but the status changes."""

    def resume(self) -> None:
        """Nothing but the status changes: `finished` heeds a signal that has waited."""

    execute = staticmethod(refuse)
    join = staticmethod(takes_none_in)

    def deliver(self, number: int) -> None:
        """Heed a signal to a sandbox that has been started."""
        self._is_to_end = self._is_to_end or number in _ENDING

    def finished(self) -> int | None:
        """Exit status 0 once a signal has ended the sandbox."""
        return 0 if self._is_to_end and self._record.status != "paused" else None
