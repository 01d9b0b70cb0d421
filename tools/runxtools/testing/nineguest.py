"""A guest's side of Xen's 9pfs rings, in memory that a test shares with a server in a child. Pages and channels are plain."""

import os
import signal
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from runx.exec.ninep.nodes import Rules
from runx.exec.ninep.ring import Interface, Ring, RingError
from runx.exec.ninep.server import Server
from runx.exec.ninep.share import Share, open_directory
from runx.linux.cpu_share import CpuShare
from runxtools.ninep.frontend import LIMIT_S, Frontend


class FakeHypervisor:
    """In the child: what runx.exec.ninep.hypervisor.Hypervisor does, with the memory of frontends."""

    def __init__(self, frontends: list[Frontend], events: int, to_guest: dict[int, int]) -> None:
        self.fd = events
        self._frontends = {frontend.number: frontend for frontend in frontends}
        self._to_guest = to_guest

    def meet(self, domid: int) -> None:
        assert domid == 5

    def map(self, reference: int) -> Ring:
        if reference not in self._frontends:
            raise RingError("cannot map 1 pages: Invalid argument")
        frontend = self._frontends[reference]
        interface = Interface(frontend.page)
        if interface.references[0] != 1000 * frontend.number:
            raise RingError("cannot map pages: Invalid argument")
        return Ring(interface, frontend.data)

    def unmap(self, ring: Ring) -> None:
        pass

    def bind(self, port: int) -> int:
        if port not in self._frontends:
            raise RingError(f"cannot bind event channel {port}: Invalid argument")
        return port

    def unbind(self, port: int) -> None:
        pass

    def notify(self, port: int) -> None:
        os.write(self._to_guest[port], b"e")

    def events(self) -> list[int]:
        try:
            return list({port for (port,) in struct.iter_unpack("=I", os.read(self.fd, 4096))})
        except BlockingIOError:
            return []

    def unmask(self, ports: list[int]) -> None:
        pass


class Supervisor:
    """The test's side of the control socket."""

    def __init__(self, control: socket.socket, pid: int) -> None:
        self.control = control
        self.pid = pid

    def tell(self, words: str) -> None:
        self.control.send(words.encode())

    def hear(self) -> str:
        return self.control.recv(4096).decode()

    def connect(self, share: int, *frontends: Frontend) -> str:
        self.tell(f"connect {share} " + " ".join(f"{frontend.number} {frontend.number}" for frontend in frontends))
        return self.hear()


@contextmanager
def machine(
    directories: list[Path],
    frontends: list[Frontend],
    prepare: Callable[[], None] = lambda: None,
    cpu_percent: int | None = None,
) -> Iterator[Supervisor]:
    """A server in a child, with a share for each directory. prepare: called in the child. cpu_percent: what the guest may have it
    use of one processor; None: as much as it likes."""
    events, to_server = os.pipe()
    os.set_blocking(events, False)
    to_guest = {}
    for frontend in frontends:
        frontend.to_server = to_server
        frontend.from_server, to_guest[frontend.number] = os.pipe()
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    pid = os.fork()
    if pid == 0:
        try:
            ours.close()
            os.umask(0)
            shares = [Share(open_directory(str(directory)), Rules()) for directory in directories]
            os.chdir("/proc/self/fd")
            prepare()
            hypervisor = FakeHypervisor(frontends, events, to_guest)
            cpu_share = None if cpu_percent is None else CpuShare(cpu_percent)
            Server(theirs.detach(), hypervisor, shares, cpu_share).run()  # type: ignore[arg-type]
        finally:
            os._exit(9)
    theirs.close()
    ours.settimeout(LIMIT_S)
    try:
        supervisor = Supervisor(ours, pid)
        supervisor.tell("domain 5")
        yield supervisor
    finally:
        ours.close()
        try:
            os.kill(pid, signal.SIGKILL)
            os.waitpid(pid, 0)
        except (ChildProcessError, ProcessLookupError):
            pass  # the test has seen its end
        for fd in (events, to_server, *to_guest.values(), *(frontend.from_server for frontend in frontends)):
            os.close(fd)
