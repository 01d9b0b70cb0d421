"""A guest's side of Xen's 9pfs rings, in memory that a test shares with a server in a child. Pages and channels are plain."""

import mmap
import os
import select
import signal
import socket
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from runx.exec.ninep.nodes import Rules
from runx.exec.ninep.ring import Interface, Ring, RingError
from runx.exec.ninep.server import Server
from runx.exec.ninep.share import Share, open_directory
from runx.linux.cpu_share import CpuShare
from runxtools.testing.nineclient import Client

IN_CONS, IN_PROD, OUT_CONS, OUT_PROD, ORDER, REFERENCES = 0, 1, 16, 17, 32, 33
WORD = 0xFFFFFFFF
LIMIT_S = 60


class Frontend:
    """One ring as the guest's driver has it: grant and port are its number."""

    def __init__(self, number: int, order: int = 8, memory: "tuple[mmap.mmap, mmap.mmap] | None" = None) -> None:
        """memory: the interface page and the rings; None: some of this process."""
        self.number = number
        self.page, self.data = memory or (mmap.mmap(-1, 4096), mmap.mmap(-1, 4096 << order))
        self.size = len(self.data) // 2
        self.words = memoryview(self.page).cast("I")
        self.words[ORDER] = order
        for place in range(1 << order):
            self.words[REFERENCES + place] = 1000 * number + place
        self.to_server, self.from_server = -1, -1
        """Pipes of events, once there is a server."""

    def start_at(self, index: int) -> None:
        """Begin where a ring is that has been used: indices wrap."""
        for word in (IN_CONS, IN_PROD, OUT_CONS, OUT_PROD):
            self.words[word] = index & WORD

    def send(self, message: bytes, *, silent: bool = False) -> None:
        """Write bytes of requests, which there must be room for, and tell the server."""
        produced = self.words[OUT_PROD]
        for at, byte in _pieces(message, produced, self.size):
            self.data[self.size + at : self.size + at + len(byte)] = byte
        self.words[OUT_PROD] = (produced + len(message)) & WORD
        if not silent:
            self.kick()

    def kick(self) -> None:
        os.write(self.to_server, struct.pack("=I", self.number))

    def receive(self, *, limit_s: float = LIMIT_S) -> bytes:
        """The next whole answer; nothing if there is none in time."""
        end = time.monotonic() + limit_s
        while True:
            consumed = self.words[IN_CONS]
            queued = (self.words[IN_PROD] - consumed) & WORD
            if queued >= 7:
                (size,) = struct.unpack("<I", self._peek(4))
                assert size <= queued, "whole answers are shown"
                answer = self._peek(size)
                self.words[IN_CONS] = (consumed + size) & WORD
                self.kick()
                return answer
            left = end - time.monotonic()
            if left <= 0:
                return b""
            self.wait(left)

    def wait(self, limit_s: float) -> None:
        """Wait for an event of the server, not longer than that."""
        if select.select([self.from_server], [], [], limit_s)[0]:
            os.read(self.from_server, 4096)

    def _peek(self, size: int) -> bytes:
        at = self.words[IN_CONS] & (self.size - 1)
        first = self.data[at : min(at + size, self.size)]
        return first + self.data[: size - len(first)]


def _pieces(data: bytes, index: int, size: int) -> Iterator[tuple[int, bytes]]:
    at = index & (size - 1)
    yield at, data[: size - at]
    if len(data) > size - at:
        yield 0, data[size - at :]


class GuestClient(Client):
    """The test's client of 9P, over a ring."""

    def __init__(self, frontend: Frontend) -> None:
        super().__init__(None)  # type: ignore[arg-type]
        self.frontend = frontend

    def raw(self, message: bytes) -> bytes:
        self.frontend.send(message)
        answer = self.frontend.receive()
        assert answer, "no answer"
        return answer


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
