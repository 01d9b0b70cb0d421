"""A guest that says what it likes to the real supervisor: decoder, windows, relays, log. Only the ring is a list of bytes.

Used by test_hostile_guest.py, which makes up guests, and by tools/fuzz, which looks for worse ones.
"""

import fcntl
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from runx.errors import RunxError
from runx.exec.console import frames as link
from runx.exec.console import streams
from runx.exec.console.kernel_log import KernelConsole
from runx.exec.container.record import Record
from runx.exec.supervisor.guest_link import Supervisor
from runx.exec.supervisor.supervisor import Ended

RING_SIZE = 2048
LOG_LIMIT = 1024 * 1024
READERS = ("reads", "stalls", "gone")
"""What the reader of the container's standard output and error does."""


class Ring:
    """In the place of PvConsole: what the guest has written, and what it was given."""

    def __init__(self) -> None:
        self.fd = os.eventfd(1)  # always readable: there is always an event
        self.unread = b""
        self.connected = True
        self.given = bytearray()
        self.room = 1 << 20
        """Bytes that the guest takes of what it is given, each time."""

    def acknowledge(self) -> None:
        pass

    def try_connect(self) -> bool:
        self.connected = True
        return True

    def read(self) -> bytes:
        if not self.connected:
            return b""
        data, self.unread = self.unread[:RING_SIZE], self.unread[RING_SIZE:]
        return data

    def write(self, data: bytes | bytearray) -> int:
        taken = data[: self.room]
        self.given = bytearray(taken[-4096:])
        return len(taken)


class Hearing(Supervisor):
    """The supervisor of a guest that has been started, with pipes of its own and no Xen."""

    def __init__(self, directory: Path) -> None:
        self.ends: list[int] = []
        record = Record(str(directory))
        record.status, record.log = "running", str(directory / "log")
        nothing: Any = SimpleNamespace(fileno=lambda: -1, has_events=False, watch=lambda *_: None)
        super().__init__(record, nothing, -1)
        self.listener = nothing
        self.ring = Ring()
        self.console: Any = self.ring
        self.kernel_console = KernelConsole(nothing, 1, str(directory / "console.log"))

    def _take_streams(self) -> None:
        pipes = [os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK) for _ in range(3)]
        (self.stdin, _), *self.readers = pipes
        self.ends = [fd for pipe in pipes for fd in pipe]
        self.outputs = {link.STDOUT: streams.Output(1, pipes[1][1]), link.STDERR: streams.Output(2, pipes[2][1])}
        self.input = streams.Input(self.stdin)
        self.said: list[str] = []

    def _say(self, message: str) -> None:
        self.said.append(message)  # as it is, descriptor 2 would be the tests'

    def close(self) -> None:
        for fd in (*self.ends, self.ring.fd, self.kernel_console._log, *(out._own or -1 for out in self.outputs.values())):
            try:
                os.close(fd)
            except OSError:
                pass


class Conversation:
    """A context in which a guest speaks."""

    def __init__(self, directory: Path, reader: str = "reads") -> None:
        self.supervisor = Hearing(directory)
        self.reader = reader
        self.delivered = {link.STDOUT: b"", link.STDERR: b""}
        if reader == "gone":
            for fd, _ in self.supervisor.readers:
                os.close(fd)

    def __enter__(self) -> "Conversation":
        return self

    def __exit__(self, *_: object) -> None:
        self.supervisor.close()

    def hear(self, data: bytes) -> int | RunxError | None:
        """Let the supervisor take it, piece by piece; the container's status, the rule that was broken, or None when it goes on.

        What bounds it must hold at any time. Any other exception is a fault of the supervisor's.
        """
        self.supervisor.ring.unread += data
        try:
            while self.supervisor.ring.unread:
                self.supervisor._step(-1)
                self._check()
            self.supervisor._step(-1)
        except Ended as end:
            return end.status
        except RunxError as error:
            return error
        finally:
            self._check()
        return None

    def _check(self) -> None:
        supervisor = self.supervisor
        assert len(supervisor.decoder._input) <= RING_SIZE + link.PAYLOAD_LIMIT + 4
        for out in supervisor.outputs.values():
            assert len(out._pending) <= link.OUTPUT_WINDOW
        assert len(supervisor.to_guest) <= 2 * link.PAYLOAD_LIMIT + 36, "input, credit, and that readers have gone"
        assert os.fstat(supervisor.kernel_console._log).st_size <= LOG_LIMIT
        assert len(supervisor.said) <= 1
        assert not fcntl.fcntl(supervisor.stdin, fcntl.F_GETFD) & ~fcntl.FD_CLOEXEC
        if self.reader == "reads":
            for stream, (fd, _) in zip(self.delivered, supervisor.readers, strict=True):
                self.delivered[stream] += _all(fd)


def _all(fd: int) -> bytes:
    data = b""
    while True:
        try:
            piece = os.read(fd, 65536)
        except BlockingIOError:
            return data
        if not piece:
            return data
        data += piece
