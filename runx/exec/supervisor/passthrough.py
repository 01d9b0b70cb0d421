"""A guest that booted a ramdisk of the container's own: its console, hvc0, is passed through unchanged.

Nothing of runx is in such a guest, so there are no frames. What hvc0 prints is the container's output, its standard input is
typed there, and the end of the virtual machine is the end of the container (docs/executor.md).
"""

import select
import time

from runx.exec.console import frames as link
from runx.exec.console.pty import ConsolePty
from runx.exec.supervisor.lifecycle import IGNORED_BY_DEFAULT, refuse
from runx.exec.supervisor.loop import Ended
from runx.exec.supervisor.session import STATUS_BROKEN, STATUS_KILLED, Session, Streams
from runx.linux.signals import signal

TYPE_CHECKING = False  # as typing's, which costs the supervisor memory
if TYPE_CHECKING:
    from runx.exec.console import streams
    from runx.exec.container.record import Record
    from runx.exec.supervisor.loop import Part
    from runx.exec.xen.xenstore import XenStore

_QUIET_S = 0.5
"""A guest that has ended has said everything when nothing came for so long: xenconsoled may hold back for 200 ms what is in the
ring, and does not tell when it has passed on all."""
_WITHOUT_MEANING = (*IGNORED_BY_DEFAULT, signal.SIGSTOP, signal.SIGTSTP, signal.SIGTTIN, signal.SIGTTOU)


class Passthrough:
    """Carries bytes between the streams and the pty of hvc0. Nothing is read that cannot be passed on, in either direction."""

    sessions = None

    def __init__(self, record: "Record", store: "XenStore", session: Session) -> None:
        """The domain is paused. Raises RunxError."""
        self._record = record
        self._store = store
        self._session = session
        self._pty = ConsolePty(store, record.domid, "console")
        self._to_type = b""
        """Input that the pty has not taken yet."""
        self._quiet_at: float | None = None
        """The time at which a guest that has ended has said everything."""
        self.first_parts: tuple[Part, ...] = (self, Streams(session, self))
        self.last_parts: tuple[Part, ...] = ()

    # -- before the guest runs -----------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Nothing: this guest cannot be told anything."""

    def machine_started(self) -> None:
        """The guest is all the process there is, as far as the host knows."""
        self._session.process_started()

    def machine_resumed(self) -> None:
        pass

    def event(self, token: str) -> None:
        """xenconsoled has published the pty."""
        if token == "console":
            self._pty.try_open()

    # -- the console ---------------------------------------------------------------------------------------------------

    def watch(self, poller: select.poll) -> float | None:
        # The pty is not read before all it said was written, and the input not before all of it was typed: both ends feel a
        # slow peer.
        drained = self._session.drained
        wanted = (select.POLLIN if drained else 0) | (select.POLLOUT if self._to_type else 0)
        if self._pty.fd >= 0 and wanted:
            poller.register(self._pty.fd, wanted)
        return self._quiet_at if drained else None

    @property
    def takes_input(self) -> bool:
        return self._pty.fd >= 0 and not self._to_type

    def take_input(self, source: "streams.Input") -> None:
        self._to_type = source.read_bytes()

    def handle(self, ready: dict[int, int]) -> None:
        if self._pty.fd in ready:
            if ready[self._pty.fd] & ~select.POLLOUT and self._session.drained:
                self._read()
            if self._to_type and self._pty.fd >= 0:
                self._to_type = self._to_type[self._pty.write(self._to_type) :]
        self._write()

    def _read(self) -> bool:
        """Take what the guest printed; False if there was nothing."""
        data = self._pty.read()
        if data:
            self._session.outputs[link.STDOUT].receive(data)
            self._put_off_the_end()
        return bool(data)

    def _write(self) -> None:
        """Write what does not block."""
        out = self._session.outputs[link.STDOUT]
        out.write_ready()
        out.frames()  # credit, which this guest cannot be told
        if not out.drained:
            self._put_off_the_end()

    # -- the end of the guest ------------------------------------------------------------------------------------------

    def _put_off_the_end(self) -> None:
        if self._quiet_at is not None:
            self._quiet_at = time.monotonic() + _QUIET_S

    def domain_ended(self, how: str) -> None:
        """Turn the end of the domain into an exit status. Raises Ended unless the guest may have said more.

        how: as xl.ended says it.
        """
        session = self._session
        if how in ("destroyed", "dying"):
            # Nobody who asked for that waits for a reader that has stalled.
            while session.drained and self._pty.fd >= 0 and self._read():
                self._write()
            raise Ended(STATUS_KILLED if session.status is None else session.status)
        if session.status is None:
            session.status = 0 if how == "shutdown" else STATUS_BROKEN
            if session.status:
                session.say(f"the virtual machine did not power off, it ended otherwise ({how})")
            self._quiet_at = time.monotonic() + _QUIET_S

    def finished(self) -> int | None:
        """The container's exit status once the guest has said everything and all of it has been written."""
        session = self._session
        if session.status is None or not session.drained:
            return None
        if self._pty.fd >= 0 and self._quiet_at is not None and time.monotonic() < self._quiet_at:
            return None
        return session.status

    def domain_removed(self) -> None:
        pass

    def close(self) -> None:
        """Let go of the console."""
        self._pty.close()

    # -- signals -------------------------------------------------------------------------------------------------------

    execute = staticmethod(refuse)

    def deliver(self, number: int) -> None:
        """Ask the guest to power off, as `xl shutdown` does, for a signal that would end a process: runx knows no process there.

        `xl shutdown` waits a minute for the guest's answer, this does not. Raises Ended if the guest has not said that it
        listens: it is ended at once.
        """
        if number in _WITHOUT_MEANING:
            return
        if number == signal.SIGKILL:
            raise Ended(STATUS_KILLED)
        control = f"/local/domain/{self._record.domid}/control"
        if self._store.read(control + "/feature-poweroff") != "1":
            raise Ended(128 + number)
        self._store.write(control + "/shutdown", "poweroff")
