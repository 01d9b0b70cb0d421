"""A guest that says what it likes to the real supervisor: decoder, windows, streams, log. Only the ring is a list of bytes.

test_hostile_guest.py makes up guests for it, and tools/fuzz looks for worse ones.
"""

import fcntl
import os
import signal
import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from runx.errors import RunxError
from runx.exec.console import frames as link
from runx.exec.console.kernel_log import KernelConsole
from runx.exec.container.record import Record
from runx.exec.supervisor import loop
from runx.exec.supervisor.allowance import Allowance
from runx.exec.supervisor.connection import Connection
from runx.exec.supervisor.guest_link import GuestLink
from runx.exec.supervisor.session import Session

RING_SIZE = 2048
LOG_LIMIT = 1024 * 1024
HELLO = link.frame(link.HELLO, bytes((link.VERSION,)))
STARTED = link.frame(link.STARTED)
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
        self.history = bytearray()
        """All that it was given."""
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
        self.history += taken
        return len(taken)

    def close(self) -> None:
        os.close(self.fd)


class Carrier:
    """In the place of the process on the host that stands for a session: what it was told, and what the session wrote."""

    def __init__(self, guest: GuestLink, record: bytes = b"record") -> None:
        """Start a session. Raises RunxError if it is refused."""
        self.told = b""
        self.reads = True
        """Whether the output is read."""
        self.delivered = {link.STDOUT: b"", link.STDERR: b""}
        self._connection, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self._connection.setblocking(False)
        file = os.memfd_create("record", os.MFD_CLOEXEC)
        os.pwrite(file, record, 0)
        (stdin, self.typed), *outputs = (os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK) for _ in range(3))
        self._readers = [read_end for read_end, _ in outputs]
        fd = theirs.detach()
        try:
            guest.execute(fd, [file, stdin, outputs[0][1], outputs[1][1]])
        except RunxError:
            os.close(fd)
            raise

    def say(self, line: str) -> None:
        self._connection.sendall(line.encode() + b"\n")

    def stop_reading(self) -> None:
        for fd in self._readers:
            os.close(fd)
        self._readers = []

    def read(self) -> None:
        """Take what has come."""
        for stream, fd in zip(self.delivered, self._readers, strict=False):
            self.delivered[stream] += _all(fd) if self.reads else b""
        try:
            while data := self._connection.recv(4096):
                self.told += data
        except OSError:
            pass

    def hang_up(self) -> None:
        """End as by SIGKILL."""
        self._connection.close()

    def close(self) -> None:
        self.stop_reading()
        os.close(self.typed)
        self._connection.close()


class Conversation:
    """A context in which a guest that has been started speaks, with pipes for its streams and no Xen."""

    def __init__(
        self,
        directory: Path,
        reader: str = "reads",
        allowance: Allowance | None = None,
        sessions: int = 0,
        keeps_clock: bool = False,
    ) -> None:
        """allowance: what the supervisor may spend on the guest; None: as much as it likes. sessions: how many further processes
        the host starts at once; 0: exec is not allowed. keeps_clock: the guest is asked for its time."""
        self.reader = reader
        self.carriers: list[Carrier] = []
        self.clients: list[socket.socket] = []
        """Ends of connections that are carried to a port of the guest."""
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
        record.exec = sessions > 0
        record.sync_clock = keeps_clock
        nothing: Any = SimpleNamespace(watch=lambda *_: None, script=b"")
        self._kernel_log = directory / "console.log"
        kernel_log = KernelConsole(nothing, 1, str(self._kernel_log))
        self.guest = GuestLink(record, self.session, nothing, console, kernel_log, self.allowance)
        for _ in range(sessions):
            self.carriers.append(Carrier(self.guest))
            if reader == "gone":
                self.carriers[-1].stop_reading()
        if reader == "gone":
            for fd in self._readers:
                self._close(fd)

    def connect(self) -> socket.socket:
        """A client whose connection is carried to port 8080 of the guest."""
        ours, theirs = _tcp_pair()
        assert self.guest.sessions
        self.guest.sessions.begin_connection(lambda number: Connection(number, self._log, theirs), 8080)
        self.clients.append(ours)
        return ours

    def _log(self, _level: str, message: str) -> None:
        self.said.append(message)

    def __enter__(self) -> "Conversation":
        return self

    def __exit__(self, *_: object) -> None:
        for out in self.session.outputs.values():
            out.hang_up()
        self.session.input.close()
        self.guest.close()
        for carrier in self.carriers:
            carrier.close()
        for client in self.clients:
            client.close()
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
        sessions = len(self.carriers) + len(self.clients)
        of_sessions = (2 * link.PAYLOAD_LIMIT + 50 * sessions) if sessions else 0
        most = 2 * link.PAYLOAD_LIMIT + 41 + 16 + of_sessions
        assert len(self.guest.to_guest.waiting) <= most, "input, credit, KILL, that readers have gone, and the time"
        assert self._kernel_log.stat().st_size <= LOG_LIMIT
        assert len(self.said) <= 1 + 3 * sessions
        assert not fcntl.fcntl(self.stdin, fcntl.F_GETFD) & ~fcntl.FD_CLOEXEC
        if self.reader == "reads":
            for stream, fd in zip(self.delivered, self._readers, strict=True):
                self.delivered[stream] += _all(fd)
            for carrier in self.carriers:
                carrier.read()


def _tcp_pair() -> tuple[socket.socket, Any]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname(), timeout=10)
        return client, listener.accept()[0]


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
