"""Work that would keep the supervisor from serving: a child does it, which may pass descriptors back."""

import _socket
import os
import select

from runx.errors import RunxError
from runx.exec import spawn
from runx.exec.supervisor import control
from runx.linux import descriptors, proc
from runx.linux.signals import signal

TYPE_CHECKING = False  # as typing's, which costs the supervisor memory
if TYPE_CHECKING:
    from collections.abc import Callable

    Work = Callable[[Callable[[int], None]], None]


class Job:
    """One child. Its work gets a function that passes a descriptor back."""

    def __init__(self, what: str, work: "Work") -> None:
        """Start it. what: for messages, if the work ends by an error that is no RunxError."""
        self._output = os.memfd_create("output", os.MFD_CLOEXEC)
        self._ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
        supervisor = os.getpid()
        self._pid = os.fork()
        if self._pid == 0:
            _do(supervisor, what, work, self._output, theirs)
        theirs.close()
        self.fd = os.pidfd_open(self._pid)
        """Readable when the child has ended."""

    def end(self) -> tuple[list[int], RunxError | None]:
        """The descriptors that the child has passed, and its error, None after a success. Waits for its end."""
        status = os.waitpid(self._pid, 0)[1]
        os.close(self.fd)
        fds = self._received()
        self._ours.close()
        said = spawn.tail(self._output)
        os.close(self._output)
        if not status:
            return fds, None
        return fds, spawn.reported(said) if said else RunxError("the process that attaches disks and entries was killed")

    def _received(self) -> list[int]:
        found: list[int] = []
        while select.select([self._ours], [], [], 0)[0]:
            data, fds = control.receive_some(self._ours.fileno(), 1)
            if not data:
                break
            found += fds
        return found


def _do(supervisor: int, what: str, work: "Work", output: int, socket: "_socket.socket") -> None:
    """In the child."""

    def give(fd: int) -> None:
        control.send(socket, "descriptor", (fd,))

    status = 1
    try:
        proc.die_with_parent(supervisor, signal.SIGKILL)
        descriptors.close_all_but((output, socket.fileno()))
        spawn.stand_alone(output)
        os.ftruncate(output, 0)
        work(give)
        status = 0
    except BaseException as error:
        spawn.report(output, what, error)
    finally:
        os._exit(status)
