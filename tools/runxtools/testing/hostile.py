"""A guest that says what it likes to the real supervisor: decoder, windows, streams, log. Only the ring is a list of bytes.

test_hostile_guest.py makes up guests for it, and tools/fuzz looks for worse ones.
"""

import fcntl
import os
import signal
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from runx.errors import RunxError
from runx.exec.console import frames as link
from runx.exec.console.kernel_log import KernelConsole
from runx.exec.container.record import Record
from runx.exec.supervisor import loop
from runx.exec.supervisor.allowance import Allowance
from runx.exec.supervisor.guest_link import GuestLink
from runx.exec.supervisor.session import Session

RING_SIZE = 2048
LOG_LIMIT = 1024 * 1024
HELLO = link.frame(link.HELLO, bytes((link.VERSION,)))
READERS = ("reads", "stalls", "gone")
"""What the reader of the container's standard output and error does."""


class Ring:
    """In the place of PvConsole: what the guest has written, and what it was given."""

    def __init__(self) -> None:
        self.fd = os.eventfd(1)  # always readable: there is always an event
        self.unread = b""
        self.connected = True
        self.acknowledged = 0
        """How often its events were heeded."""
        self.given = bytearray()
        """What the guest was given last, its end."""
        self.room = 1 << 20
        """Bytes that the guest takes of what it is given, each time."""

    def acknowledge(self) -> None:
        self.acknowledged += 1

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

    def close(self) -> None:
        os.close(self.fd)


class Conversation:
    """A context in which a guest that has been started speaks, with pipes for its streams and no Xen."""

    def __init__(self, directory: Path, reader: str = "reads", allowance: Allowance | None = None) -> None:
        """allowance: what the supervisor may spend on the guest; None: as much as it likes."""
        self.reader = reader
        self.delivered = {link.STDOUT: b"", link.STDERR: b""}
        self.said: list[str] = []
        """Messages of the supervisor."""
        self.ring = Ring()
        console: Any = self.ring
        (self.stdin, self.typed), *outputs = (os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK) for _ in range(3))
        self._readers = [read_end for read_end, _ in outputs]
        self._ends = [self.stdin, self.typed, *(fd for pipe in outputs for fd in pipe)]
        self.allowance = allowance or Allowance(100, used=lambda: 0.0)
        self.session = Session(0, self._log, (self.stdin, outputs[0][1], outputs[1][1]), patience_s=0)
        record = Record(str(directory))
        record.status = "running"
        record.kill_answer_s, record.kill_end_s = 1, 8
        nothing: Any = SimpleNamespace(watch=lambda *_: None, script=b"")
        self._kernel_log = directory / "console.log"
        kernel_log = KernelConsole(nothing, 1, str(self._kernel_log))
        self.guest = GuestLink(record, self.session, nothing, console, kernel_log, self.allowance)
        if reader == "gone":
            for fd in self._readers:
                self._close(fd)

    def _log(self, _level: str, message: str) -> None:
        self.said.append(message)

    def __enter__(self) -> "Conversation":
        return self

    def __exit__(self, *_: object) -> None:
        for out in self.session.outputs.values():
            out.hang_up()
        self.session.input.close()
        self.guest.close()
        for fd in tuple(self._ends):
            self._close(fd)

    def _close(self, fd: int) -> None:
        self._ends.remove(fd)
        os.close(fd)

    def hear(self, data: bytes) -> int | RunxError | None:
        """Let the supervisor take it, piece by piece; the container's status, the rule that was broken, or None when it goes on.

        What bounds it must hold at any time. Any other exception is a fault of the supervisor's.
        """
        self.ring.unread += data
        parts = (*self.guest.first_parts, *self.guest.last_parts, self.allowance)
        try:
            while self.ring.unread and self.guest.finished() is None:
                loop.turn(parts)
                self._check()
            if self.guest.finished() is None:
                loop.turn(parts)
        except loop.Ended as end:
            return end.status
        except RunxError as error:
            return error
        finally:
            self._check()
        return self.guest.finished()

    def kill(self) -> int | None:
        """Send the container KILL; its status if that ends it, None when it is left to the guest."""
        try:
            self.guest.deliver(signal.SIGKILL)
        except loop.Ended as end:
            return end.status
        return None

    def _check(self) -> None:
        assert self.guest.held <= RING_SIZE + link.PAYLOAD_LIMIT + 4
        for out in self.session.outputs.values():
            assert out.pending <= link.OUTPUT_WINDOW
        assert len(self.guest.to_guest.waiting) <= 2 * link.PAYLOAD_LIMIT + 41, "input, credit, KILL, and that readers have gone"
        assert self._kernel_log.stat().st_size <= LOG_LIMIT
        assert len(self.said) <= 1
        assert not fcntl.fcntl(self.stdin, fcntl.F_GETFD) & ~fcntl.FD_CLOEXEC
        if self.reader == "reads":
            for stream, fd in zip(self.delivered, self._readers, strict=True):
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
