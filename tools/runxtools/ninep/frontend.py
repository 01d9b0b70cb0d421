"""A guest's side of Xen's 9pfs rings, in memory that it shares with a server. Pages and channels are plain."""

import mmap
import os
import select
import struct
import time
from collections.abc import Iterator

from runxtools.ninep.client import Client

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
