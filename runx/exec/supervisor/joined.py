"""A container that joins the virtual machine of its pod: what engines know of it is this process.

The supervisor of the pod's machine attaches what the container brings, and carries its streams (members.py has the protocol).
What is left to this process are its state, the requests and signals that come, and the images of its root filesystem.
"""

import _socket  # as in control.py
import os
import select
import time

from runx.errors import RunxError
from runx.exec import confinement
from runx.exec.container import process_record, title
from runx.exec.supervisor import control, loop, view
from runx.exec.supervisor.lifecycle import IGNORED_BY_DEFAULT, refuse, takes_none_in
from runx.exec.supervisor.loop import Ended
from runx.exec.supervisor.packing import Packing
from runx.exec.supervisor.session import STATUS_KILLED
from runx.linux.signals import signal

TYPE_CHECKING = False  # as typing's, which costs the supervisor memory
if TYPE_CHECKING:
    from collections.abc import Sequence

    from runx.exec.container.record import Record
    from runx.exec.supervisor.loop import Part
    from runx.exec.supervisor.session import Session

_JOIN_LIMIT_S = 120.0
"""How long it may take to attach what the container brings."""
_LEAVE_LIMIT_S = 30.0
_POD_ENDED = "the virtual machine of the pod has ended"


class Joined:
    """See the module. As a part of the loop it hears what the supervisor of the pod's machine says."""

    first_parts: "tuple[Part, ...]" = ()

    def __init__(self, record: "Record", session: "Session") -> None:
        self._record = record
        self._session = session
        self._connection: _socket.socket | None = None
        self._heard = b""
        self._packing = Packing(record, session, "the container joins its pod's machine then")
        self._has_started = False
        self._end_by: float | None = None
        """When the container is given up after KILL; None: KILL has not come."""
        self._status: int | None = None

    @property
    def last_parts(self) -> "tuple[Part, ...]":
        return (self,)

    # -- before the container exists -----------------------------------------------------------------------------------

    def make(self, caller: int) -> None:
        """Join the machine. If images of the root filesystem take longer to make than engines wait, that is left to `complete`.
        Raises RunxError."""
        if self._packing.begin(caller):
            self._join()

    def _join(self) -> None:
        record = self._record
        self._packing.check()
        pod = f"{os.path.dirname(record.directory)}/{record.pod}"
        try:
            self._connection = control.begin(pod, f"join {os.path.basename(record.directory)}", ())
        except OSError:
            raise RunxError(_POD_ENDED, "start the pod anew") from None
        line = self._line(_JOIN_LIMIT_S)
        if line != "joined":
            self._connection.close()
            self._connection = None
            raise RunxError(line.removeprefix("error ") or f"{_POD_ENDED}, or does not answer")
        self._packing.end()  # the disks are locked
        self._forget_images()
        if record.writes_back:
            record.say("info", "what the container writes is in its root filesystem on the host when it has ended")

    def confine(self) -> None:
        """Give up what only joining takes, once that is done. Raises RunxError."""
        if self._connection:
            view.enter(self._record)
            confinement.supervisor()

    def _complete(self) -> None:
        self._join()
        self.confine()

    def _forget_images(self) -> None:
        if self._record.disks:
            from runx.exec.storage import disk_lock

            disk_lock.forget(self._record.disks)

    def complete(self, serving: "Sequence[Part]") -> int | None:
        """Join once the images of the root filesystem are there, and start if `start` came before (as in vm.py)."""
        return self._packing.complete((), serving, self._complete, self._begin)

    def await_hooks(self, order: int) -> None:
        """Nothing: reading the order waits for the hooks."""

    # -- requests ------------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Let the container's process run; as soon as the container has joined. Raises RunxError."""
        if self._packing.delays_start():
            return
        self._begin()

    def _begin(self) -> None:
        archive = os.memfd_create("archive", os.MFD_CLOEXEC)
        try:
            with open(archive, "wb", closefd=False) as file:
                file.write(self._archive())
            os.lseek(archive, 0, os.SEEK_SET)
            self._tell("start", (archive, 0, 1, 2))
        finally:
            os.close(archive)
        self._has_started = True
        self._session.signals.machine_started()
        null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        for fd in (0, 1):  # the other supervisor's now; messages of this one still go to the third
            os.dup2(null, fd)
        os.close(null)

    def _archive(self) -> bytes:
        """The container's files, with those that an engine has changed since they were kept."""
        from runx import cpio
        from runx.exec.storage import small_files

        with open(f"{self._record.directory}/overlay", "rb") as file:
            data = file.read()
        changed = []
        for inside, path, content in small_files.contents_changed(self._record.directory):
            if content is None:
                message = f"{path} has changed since the container was created, which sees it as it was then"
                self._record.say("warning", message)
                continue
            status = os.stat(path)
            changed.append(cpio.OverlayFile(inside[1:], status.st_mode & 0o7777, content, status.st_uid, status.st_gid))
        return data + (cpio.archive(changed) if changed else b"")

    def pause(self) -> None:
        """The guest has stopped the container's processes (commands/pause.py). Raises RunxError if there are none yet."""
        if not self._has_started:
            raise RunxError("the container has not joined its pod's machine yet")

    def resume(self) -> None:
        """They go on, or are killed as they are."""

    join = staticmethod(takes_none_in)

    def execute(self, connection: int, fds: list[int]) -> None:
        """Have a further process started; its carrier is served by the other supervisor. Raises RunxError."""
        limits = process_record.LIMITS
        if not self._has_started or not (self._record.exec or (fds and os.pread(fds[0], len(limits), 0) == limits)):
            refuse(connection, fds)
        try:
            self._tell("exec", (connection, *fds))
        finally:
            for fd in (connection, *fds):
                os.close(fd)

    def deliver(self, number: int) -> None:
        """Deliver a signal to the container's process. Raises RunxError, or Ended."""
        if not self._has_started:  # `start` came before the images were there
            if number not in IGNORED_BY_DEFAULT:
                raise Ended(128 + number)
            return
        if number == signal.SIGKILL and self._end_by is None:
            self._end_by = time.monotonic() + self._record.kill_end_s
        self._tell(f"signal {number}")

    def _tell(self, line: str, fds: "tuple[int, ...]" = ()) -> None:
        if not self._connection:
            raise RunxError("container not running")
        try:
            control.send(self._connection, line, fds)
        except OSError:
            raise RunxError("container not running", _POD_ENDED) from None

    # -- what the other supervisor says --------------------------------------------------------------------------------

    def _line(self, limit_s: float) -> str:
        """The next line; "" if there is none in time, or no more."""
        assert self._connection
        deadline = time.monotonic() + limit_s
        while b"\n" not in self._heard:
            poller = select.poll()
            poller.register(self._connection.fileno(), select.POLLIN)
            if not poller.poll(max(0.0, deadline - time.monotonic()) * 1000):
                return ""
            data = self._connection.recv(4096)
            if not data:
                return ""
            self._heard += data
        line, _, self._heard = self._heard.partition(b"\n")
        return line.decode("utf-8", "replace")

    def watch(self, poller: select.poll) -> float | None:
        if self._connection:
            poller.register(self._connection.fileno(), select.POLLIN)
        return loop.NOW if self._session.size_changed and self._has_started else self._end_by

    def handle(self, ready: dict[int, int]) -> None:
        if self._session.size_changed and self._has_started and self._connection:
            self._session.size_changed = False
            self._tell_size()
        if self._connection and self._connection.fileno() in ready:
            self._hear()
        if self._status is None and self._end_by is not None and time.monotonic() >= self._end_by:
            words = f"the container has not ended {self._record.kill_end_s} s after KILL, and is left to the end of its pod"
            self._record.say("warning", words)
            self._status = STATUS_KILLED

    def _hear(self) -> None:
        try:
            data = self._connection.recv(4096) if self._connection else b""
        except OSError:
            data = b""
        self._heard += data
        while b"\n" in self._heard:
            line, _, self._heard = self._heard.partition(b"\n")
            self._heed(line.decode("utf-8", "replace"))
        if not data:
            if self._connection:
                self._connection.close()
            self._connection = None
            if self._status is None:
                self._record.say("warning", _POD_ENDED)
                self._status = STATUS_KILLED

    def _heed(self, line: str) -> None:
        word, _, rest = line.partition(" ")
        if word == "started":
            self._session.process_started()
            if self._record.exec:
                title.show_container(self._record.directory)
        elif word == "failed":
            status, _, text = rest.partition(" ")
            self._session.say(text)
            self._status = int(status)
        elif word == "exit":
            self._status = int(rest)

    def _tell_size(self) -> None:
        from runx.exec.console import terminal

        try:
            rows, columns = terminal.size(2)
        except OSError:
            return  # standard error is no terminal
        self._tell(f"size {rows} {columns}")

    # -- the end -------------------------------------------------------------------------------------------------------

    def finished(self) -> int | None:
        """The container's exit status once nothing of it is left in the machine."""
        return self._status

    def remove(self) -> None:
        """Leave the machine, however far `make` has come. Raises RunxError."""
        try:
            self._packing.end()
            self._forget_images()
        finally:
            if self._connection:
                self._leave(self._connection)

    def _leave(self, connection: _socket.socket) -> None:
        """End what is left of the container, and wait until it is: engines remove its root filesystem then."""
        self._connection = None
        try:
            connection.shutdown(_socket.SHUT_WR)
            poller = select.poll()
            poller.register(connection.fileno(), select.POLLIN)
            while poller.poll(_LEAVE_LIMIT_S * 1000) and connection.recv(4096):
                pass
        except OSError:
            pass  # the other supervisor has gone, and all with it
        connection.close()
