"""Supervises the sandbox of a pod: a process that lives in the pod's network namespace, and nothing else.

Under runc an image's program, `pause`, would be that process. It only waits for a signal, which the supervisor does by itself:
there is no domain, and nothing of the image runs. The virtual machines of the pod's containers take what is in the namespace.
"""

import select
import signal

from runx.exec.supervisor.supervisor import Ended, Supervision

_ENDING = (signal.SIGTERM, signal.SIGINT)
"""What `pause` ends on, with status 0 (Kubernetes, build/pause/linux/pause.c), and podman's `catatonit -P` as well. Either is
PID 1 of its namespace, so all other signals do nothing, but SIGKILL, which the supervisor never sees."""


class Sandbox(Supervision):
    """Waits. While it is paused, signals wait too."""

    def _make(self) -> None:
        self.is_to_end = False
        """A signal that ends it has come while it was paused."""

    def _remove(self) -> None:
        """Nothing: the network namespace goes with us, if nobody else holds it."""

    def _step(self, signals: int) -> None:
        poller = select.poll()
        for fd in (self.listener.fileno(), signals):
            poller.register(fd, select.POLLIN)
        self._attend(dict(poller.poll()), signals)
        if self.is_to_end and self.record.status != "paused":
            raise Ended(0)

    def _start(self) -> None:
        """Nothing: it waits already."""

    def _pause(self) -> None:
        """Nothing but the status."""

    def _resume(self) -> None:
        """Nothing: `_step` heeds what has waited."""

    def _deliver(self, number: int) -> None:
        if number in _ENDING:
            if self.record.status != "paused":
                raise Ended(0)
            self.is_to_end = True

    def _resize(self) -> None:
        """Nothing: nobody looks at its terminal."""

    def _close(self) -> None:
        """Nothing: its streams are never used."""
