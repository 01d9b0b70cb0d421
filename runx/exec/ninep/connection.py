"""A share and the rings by which the guest uses it."""

from _thread import allocate_lock

from runx.exec.ninep import contents, wire
from runx.exec.ninep.ring import Ring, RingError, Scratch

TYPE_CHECKING = False  # as typing's, which costs the server memory
if TYPE_CHECKING:
    from collections.abc import Callable

    from runx.exec.ninep.share import Share

STALLED_MAX = 12
"""Requests of a share that wait for a slow disk, at most; each has a thread. The share's other requests then wait, too."""
_ANSWER_MAX = 4200
"""Bytes of an answer, but for those that say how many they want: Rreadlink is the longest."""
_HEAD_MAX = 64
"""Bytes that are looked at before the size of a message is known: nearly all messages are shorter."""
_LARGE = 16384
"""Bytes of a request that is no object of Python's own: that would leave a gap in the heap, as large as it was."""
_FIRST_MAX = 4096
"""Bytes of a message before both sides have agreed on a size."""


class Channel:
    """One ring of a share."""

    __slots__ = ("connection", "guard", "late", "notify", "read_now", "ring", "untold")

    def __init__(self, connection: "Connection", ring: Ring, notify: "Callable[[], None]") -> None:
        """notify: tells the guest to look at the ring."""
        self.connection = connection
        self.ring = ring
        self.notify = notify
        self.guard = allocate_lock()
        """Held while an answer is written."""
        self.late: list[bytes] = []
        """Answers without room in the ring."""
        self.read_now = 0
        """Reads that `next` has answered, for its caller to count."""
        self.untold = False
        """There are answers of which the guest has not been told."""

    def next(self, scratch: Scratch) -> "bytes | memoryview":
        """The next whole request, or nothing: there is none, or no room for its answer, of which the guest tells when it has
        read others. Reads that need not wait are answered here. Raises RingError.

        scratch: where a large request may be, until the next call with it.
        """
        ring, share = self.ring, self.connection.share
        while True:
            if self.late and not self._deliver_late():
                return b""
            queued = ring.queued()
            if queued < wire.BODY:
                return b""
            head = ring.peek(queued if queued < _HEAD_MAX else _HEAD_MAX)
            size, kind, _ = wire.HEAD.unpack_from(head)
            if not wire.BODY <= size <= (share.message_max or _FIRST_MAX):
                raise RingError(f"a message of {size} bytes")
            if queued < size:
                return b""
            room = _ANSWER_MAX
            if kind in (wire.TREAD, wire.TREADDIR) and size == wire.READ.size:
                (*_, count) = wire.READ.unpack_from(head)
                room = max(room, min(share.message_max, count + wire.COUNTED.size))
            if ring.room() < min(room, share.message_max or _FIRST_MAX):
                return b""
            if kind == wire.TREAD and size == wire.READ.size and self._read_now(head[:size]):
                continue
            message: bytes | memoryview
            if size <= len(head):
                message = head[:size]
            elif kind == wire.TWRITE and size > _LARGE:
                message = ring.copy(size, scratch, wire.READ.size)
            else:
                message = ring.peek(size)
            ring.consume(size)
            return message

    def _read_now(self, head: bytes) -> bool:
        """Answer a Tread straight from the host's page cache to the ring; whether that was possible."""
        with self.guard:
            ring = self.ring
            done = contents.read_now(self.connection.share, head, lambda count: ring.pieces(wire.COUNTED.size, count))
            if done < 0:
                return False
            _, kind, tag, *_ = wire.READ.unpack(head)
            ring.consume(len(head))
            size = wire.COUNTED.size + done
            ring.put(0, wire.COUNTED.pack(size, kind + 1, tag, done))
            ring.produce(size)
            self.untold = False
            self.notify()
            self.read_now += 1
            return True

    def deliver(self, answer: bytes, *, more: bool = False) -> None:
        """Write an answer, or keep it until there is room. more: `tell` is called soon, so the guest need not hear of this one
        alone. Raises RingError."""
        with self.guard:
            if self.late or self.ring.room() < len(answer):
                self.late.append(answer)
                return
            self.ring.put(0, answer)
            self.ring.produce(len(answer))
            self.untold = True
        if not more:
            self.tell()

    def tell(self) -> None:
        """Tell the guest of answers, if it has not been told."""
        if self.untold:
            self.untold = False
            self.notify()

    def _deliver_late(self) -> bool:
        with self.guard:
            while self.late:
                if self.ring.room() < len(self.late[0]):
                    return False
                answer = self.late.pop(0)
                self.ring.put(0, answer)
                self.ring.produce(len(answer))
                self.untold = True
        self.tell()
        return True


class Request:
    """A request that is being answered."""

    __slots__ = ("_open", "channel", "flushes", "generation", "tag")

    def __init__(self, channel: Channel, tag: int, generation: int) -> None:
        self.channel = channel
        self.tag = tag
        self.generation = generation
        self.flushes: list[tuple[Channel, int]] = []
        """Tags of requests to forget this one, which are answered after it."""
        self._open = [True]

    def claim(self) -> bool:
        """True for the first thread alone that asks: the one that has answered it in time, or the one that relieves that."""
        try:
            return self._open.pop()  # one step for the interpreter, so no lock is needed
        except IndexError:
            return False


class Connection:
    """A share, its rings while the guest is connected, and its requests that wait for something slow."""

    def __init__(self, number: int, share: "Share") -> None:
        self.number = number
        self.share = share
        self.channels: list[Channel] = []
        self.stalled: list[Request] = []
        self.generation = 0
        """Changes when the guest begins again. Answers to what it asked before are dropped then."""

    @property
    def may_take_more(self) -> bool:
        return len(self.stalled) < STALLED_MAX

    def begin_again(self) -> None:
        """Forget what the guest asked before."""
        self.generation += 1
        for channel in self.channels:
            channel.late.clear()

    def close(self) -> list[Ring]:
        """Forget the guest; its rings, for the caller to close."""
        self.begin_again()
        rings = [channel.ring for channel in self.channels]
        self.channels = []
        self.share.reset()
        return rings
