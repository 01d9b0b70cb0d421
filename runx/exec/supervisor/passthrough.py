"""Supervises a container that booted a ramdisk of its own: its console, hvc0, is passed through as it is.

Nothing of runx is in such a guest, so there are no frames: what hvc0 prints is the container's output, what comes in on its
standard input is typed there, and how the virtual machine ends is how the container ends (docs/executor.md).
"""

import select
import signal
import time

from runx.exec.console import frames as link
from runx.exec.console.pty import ConsolePty
from runx.exec.container.record import Record
from runx.exec.supervisor.supervisor import IGNORED_BY_DEFAULT, STATUS_BROKEN, STATUS_KILLED, Ended
from runx.exec.supervisor.vm import Machine
from runx.exec.xen.xenstore import XenStore

_QUIET_S = 0.5
"""A guest that has ended is taken to have said everything when nothing came for so long: xenconsoled may hold back what is in
the ring for 200 ms, and does not tell when it has given all."""
_WITHOUT_MEANING = (*IGNORED_BY_DEFAULT, signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU)


class Passthrough(Machine):
    """Carries bytes between the streams and the pty of hvc0. Nothing is read that could not be handed on, in either direction."""

    def __init__(self, record: Record, store: XenStore, host_network: int) -> None:
        super().__init__(record, store, host_network)
        self.to_guest = b""
        self.quiet_at: float | None = None
        """When a guest that has ended is taken to have said everything."""

    def _publish(self) -> None:
        self.pty = ConsolePty(self.store, self.record.domid, "console")

    def _step(self, signals: int) -> None:
        out = self.outputs[link.STDOUT]
        poller = select.poll()
        out.watch(poller)
        # The pty not before all it said was written, the input not before all of it was typed: both ends feel a slow one.
        wanted = (select.POLLIN if out.drained else 0) | (select.POLLOUT if self.to_guest else 0)
        if self.pty.fd >= 0 and wanted:
            poller.register(self.pty.fd, wanted)
        if self.pty.fd >= 0 and not self.to_guest and self.input.wants_read:
            poller.register(self.input.fd, select.POLLIN)
        for fd in (self.store.fileno(), self.listener.fileno(), signals):
            poller.register(fd, select.POLLIN)
        ready = dict(poller.poll(self._timeout_ms()))

        if self.pty.fd in ready:
            self._from_guest(ready[self.pty.fd])
        out.heed(ready.get(out.fd, 0))
        self._write()
        if self.input.fd in ready:
            self.to_guest = self.input.read_bytes()
        self._attend(ready, signals)
        if self.status is not None and self._has_said_all():
            raise Ended(self.status)

    def _from_guest(self, events: int) -> None:
        if events & ~select.POLLOUT and self.outputs[link.STDOUT].drained:
            self._read()
        if self.to_guest and self.pty.fd >= 0:
            self.to_guest = self.to_guest[self.pty.write(self.to_guest) :]

    def _read(self) -> bool:
        """Take what the guest printed; False when there was nothing."""
        data = self.pty.read()
        if data:
            self.outputs[link.STDOUT].receive(data)
            self._put_off_the_end()
        return bool(data)

    def _write(self) -> None:
        """Write what does not block."""
        out = self.outputs[link.STDOUT]
        out.write_ready()
        out.frames()  # credit for a guest that would know of it
        if not out.drained:
            self._put_off_the_end()

    # -- the end of the guest ------------------------------------------------------------------------------------------

    def _put_off_the_end(self) -> None:
        if self.quiet_at is not None:
            self.quiet_at = time.monotonic() + _QUIET_S

    def _has_said_all(self) -> bool:
        drained = self.outputs[link.STDOUT].drained
        return drained and (self.pty.fd < 0 or self.quiet_at is None or time.monotonic() >= self.quiet_at)

    def _deadlines(self) -> list[float]:
        times = super()._deadlines()
        if self.quiet_at is not None and self.outputs[link.STDOUT].drained:
            times.append(self.quiet_at)
        return times

    def _domain_ended(self, how: str) -> None:
        if how in ("destroyed", "dying"):
            # Nobody who asked for that waits for a reader that has stalled.
            while self.outputs[link.STDOUT].drained and self.pty.fd >= 0 and self._read():
                self._write()
            raise Ended(STATUS_KILLED if self.status is None else self.status)
        if self.status is None:
            self.status = 0 if how == "shutdown" else STATUS_BROKEN
            if self.status:
                self._say(f"the virtual machine did not power off, it ended otherwise ({how})")
            self.quiet_at = time.monotonic() + _QUIET_S

    def _close(self) -> None:
        self.pty.close()

    # -- requests and events -------------------------------------------------------------------------------------------

    def _event(self, token: str) -> None:
        if token == "console":
            self.pty.try_open()

    def _resize(self) -> None:
        """Nothing: a console has no size that its guest could be told."""

    def _deliver(self, number: int) -> None:
        """There is no process that runx knows: what would end one asks the guest to power off, as `xl shutdown` does; but that
        waits a minute for a guest's answer. A guest that has not said that it listens is ended at once."""
        if number in _WITHOUT_MEANING:
            return
        control = f"/local/domain/{self.record.domid}/control"
        if self.store.read(control + "/feature-poweroff") != "1":
            raise Ended(128 + number)
        self.store.write(control + "/shutdown", "poweroff")
