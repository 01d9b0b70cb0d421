"""Who answers: one thread at a time, and another one when that is held up.

The thread that leads takes requests and answers each before it looks at the next, as nearly all take microseconds. A request that
has taken longer than `PATIENCE_S`, since a disk is slow or a file system does not answer, is left to its thread: another thread
leads from then on. The first one delivers its answer when it has it, and ends. So one slow disk holds up nobody else, and a
request costs no hand-over between threads.
"""

import time
from _thread import allocate_lock, start_new_thread

from runx.exec.ninep import session, wire
from runx.exec.ninep.connection import Request
from runx.exec.ninep.ring import Scratch
from runx.linux import memory

TYPE_CHECKING = False  # as typing's, which costs the server memory
if TYPE_CHECKING:
    from collections.abc import Callable

    from runx.exec.ninep.connection import Channel

PATIENCE_S = 0.02
"""How often the leading thread is looked at. It is relieved when one request has lasted from one look to the next."""
_QUIET_LOOKS = 50
"""After so many looks without any request, nobody looks until there is one."""
_AT_ONCE = 32
"""Requests of one ring before the next ring has its turn."""


class Relieved(Exception):
    """Another thread leads by now: this one ends."""


class Turns:
    """The threads of a server."""

    def __init__(self, lead: "Callable[[], None]", look_again: "Callable[[], None]") -> None:
        """lead: what the leading thread does, for ever; `answer` within it raises Relieved. look_again: tells the leading thread
        that a share takes requests again."""
        self._lead = lead
        self._look_again = look_again
        self._guard = allocate_lock()
        """Held where another thread gets the lead, and where it is decided whether anybody looks."""
        self._current: Request | None = None
        """The request that the leading thread is at."""
        self._wake = allocate_lock()
        self._wake.acquire()
        self._watched = False
        self._scratch = Scratch()
        """Of the leading thread."""
        self.taken = 0
        """Requests that were taken from rings; the leading thread alone counts."""

    def run(self) -> None:
        """Start the first thread that leads, and look after it. Never returns."""
        start_new_thread(self._lead, ())
        while True:
            self._wake.acquire()
            self._look_until_quiet()

    def _look_until_quiet(self) -> None:
        quiet, last = 0, None
        while True:
            time.sleep(PATIENCE_S)
            current = self._current
            if current is None:
                quiet += 1
                if quiet > _QUIET_LOOKS and self._may_stop_looking():
                    self._scratch.forget()
                    memory.trim()
                    return
            else:
                quiet = 0
                if current is last:
                    self._relieve(current)
            last = current

    def _may_stop_looking(self) -> bool:
        with self._guard:
            self._watched = False
            self._watched = self._current is not None  # one that began before it could see that nobody looks
            return not self._watched

    def _relieve(self, request: Request) -> None:
        with self._guard:
            if request.claim():
                self._current = None
                self._scratch = Scratch()  # the other one is in use as long as that request is
                request.channel.connection.stalled.append(request)
                request.channel.tell()  # of answers before this one
                start_new_thread(self._lead, ())

    def answer_all(self, channel: "Channel") -> bool:
        """Answer what is in a ring, up to a number; whether there may be more. The guest is told once of all answers, unless one
        takes long. Raises Relieved, RingError."""
        has_more = self._answer_some(channel)
        channel.tell()
        return has_more

    def _answer_some(self, channel: "Channel") -> bool:
        connection = channel.connection
        for _ in range(_AT_ONCE):
            if not connection.may_take_more:
                return False  # look_again is called when it may
            message = channel.next(self._scratch)
            self.taken += channel.read_now
            channel.read_now = 0
            if not message:
                return False
            self.taken += 1
            self._answer(channel, message)
        return True

    def _answer(self, channel: "Channel", message: "bytes | memoryview") -> None:
        connection = channel.connection
        kind = message[4]
        if kind == wire.TVERSION:
            connection.begin_again()
        if kind == wire.TFLUSH and connection.stalled and self._flush_waits(channel, message):
            return
        _, _, tag = wire.HEAD.unpack_from(message)
        request = Request(channel, tag, connection.generation)
        self._current = request
        if not self._watched:
            self._have_it_watched()
        answer = session.answer(connection.share, message, channel.ring.size)
        if request.claim():
            self._current = None
            channel.deliver(answer, more=True)
            return
        with self._guard:
            connection.stalled.remove(request)
            is_wanted = request.generation == connection.generation and channel in connection.channels
        if is_wanted:
            channel.deliver(answer)
            for other, flush in request.flushes:
                other.deliver(wire.HEAD.pack(wire.BODY, wire.TFLUSH + 1, flush))
        self._look_again()
        raise Relieved

    def _have_it_watched(self) -> None:
        with self._guard:
            if not self._watched:
                self._watched = True
                self._wake.release()

    def _flush_waits(self, channel: "Channel", message: "bytes | memoryview") -> bool:
        """Have a Tflush wait for the request that it is about, if that is being answered: the guest uses the tag again after."""
        if len(message) != wire.FLUSH.size:
            return False
        _, _, tag, old = wire.FLUSH.unpack(message)
        with self._guard:
            for request in channel.connection.stalled:
                if request.tag == old and request.generation == channel.connection.generation:
                    request.flushes.append((channel, tag))
                    return True
        return False
