"""A ring of Xen's 9pfs: two byte rings in memory that is shared with the guest (Xen, io/9pfs.h and docs/misc/9pfs.pandoc).

Words of the interface page are read once a look, and checked: the guest may change them at any time. The indices that are ours to
advance are kept here, and only ever written there.
"""

import mmap

from runx.exec.ninep.limits import MESSAGE_MAX
from runx.linux import xen
from runx.linux.xen import PAGE

_IN_CONS, _IN_PROD, _OUT_CONS, _OUT_PROD, _ORDER, _REFERENCES = 0, 1, 16, 17, 32, 33
"""32-bit words of the interface page; "in" and "out" are the guest's. The order is at byte 128, as in Xen's header and in Linux;
Xen's document says 72."""
_WORD = 0xFFFFFFFF
_LINE = 64
"""Bytes of a line of the processor's cache."""
ORDER_MAX = 8
"""256 pages, the half of which holds one message of the largest size."""
RINGS_MAX = 2
"""Rings of a share: 2 MiB of the guest's memory."""


class RingError(Exception):
    """The guest broke a rule of the transport: its share is closed."""


class Scratch:
    """Memory for one large request, which serves for the next one, too: to get it anew each time would cost more than to copy."""

    __slots__ = ("_pages",)

    def __init__(self) -> None:
        self._pages: memoryview | None = None

    def pages(self) -> memoryview:
        found = self._pages
        if found is None:
            found = self._pages = memoryview(mmap.mmap(-1, MESSAGE_MAX + PAGE, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS))
        return found

    def forget(self) -> None:
        """Give the memory back, or leave it to those who use it at the moment."""
        self._pages = None


class Interface:
    """The interface page, before the rings are mapped."""

    def __init__(self, page: mmap.mmap) -> None:
        """Raises RingError if the ring's size is none that was offered."""
        self.page = page
        self.words = memoryview(page).cast("I")  # single aligned accesses: neither side sees a torn index
        order = self.words[_ORDER]
        if not 1 <= order <= ORDER_MAX:
            self.words.release()
            raise RingError(f"ring order {order} is not 1 to {ORDER_MAX}")
        self.references = [self.words[_REFERENCES + number] for number in range(1 << order)]
        """Grants of the pages of both rings."""


class Ring:
    """The two rings: requests that the guest writes, answers that it reads."""

    def __init__(self, interface: Interface, data: mmap.mmap) -> None:
        self._page, self._data = interface.page, data
        self._words: memoryview | None = interface.words
        self.size = len(data) // 2
        """Bytes of each ring, a power of two."""
        whole = memoryview(data)
        self._answers, self._requests = whole[: self.size], whole[self.size :]
        self._whole = whole
        self._out_cons, self._in_prod = interface.words[_OUT_CONS], interface.words[_IN_PROD]

    def close(self) -> bool:
        """Let go of the memory; False if a piece of it is still in use, which keeps it mapped until that ends."""
        if self._words is None:
            return True
        try:
            self._answers.release()
            self._requests.release()
            self._whole.release()
            self._data.close()
        except BufferError:
            return False
        self._words.release()
        self._words = None
        self._page.close()
        return True

    def queued(self) -> int:
        """Bytes of requests. Raises RingError for indices that no driver makes."""
        assert self._words is not None
        count = (self._words[_OUT_PROD] - self._out_cons) & _WORD
        xen.barrier()  # the bytes are not older than the index that announces them
        if count > self.size:
            raise RingError(f"the ring of requests holds {count} bytes of {self.size}")
        return count

    def room(self) -> int:
        """Bytes of answers that there is room for. Raises RingError for indices that no driver makes."""
        assert self._words is not None
        used = (self._in_prod - self._words[_IN_CONS]) & _WORD
        xen.barrier()  # the guest has read the bytes that are overwritten
        if used > self.size:
            raise RingError(f"the ring of answers holds {used} bytes of {self.size}")
        return self.size - used

    def peek(self, size: int) -> bytes:
        """A copy of the first bytes of requests, which the guest cannot change any more."""
        at = self._out_cons & (self.size - 1)
        first = self._requests[at : at + size]
        left = size - len(first)
        return b"".join((first, self._requests[:left])) if left else bytes(first)

    def copy(self, size: int, scratch: "Scratch", inside: int) -> memoryview:
        """As `peek`, in memory that the next such call uses again.

        inside: where in the bytes the part begins that is to be at the beginning of a page, if they are in one piece here. Of two
        pieces, the larger one is copied to a multiple of 64: some processors copy at a tenth of their speed to other addresses
        (AMD's Zen 3, `rep movsb`).
        """
        at = self._out_cons & (self.size - 1)
        first = min(size, self.size - at)
        start = PAGE - inside if 2 * first >= size else -first % _LINE
        pages = scratch.pages()
        pages[start : start + first] = self._requests[at : at + first]
        if first < size:
            pages[start + first : start + size] = self._requests[: size - first]
        return pages[start : start + size]

    def consume(self, size: int) -> None:
        """Let the guest use the memory of the first bytes of requests again."""
        assert self._words is not None
        self._out_cons = (self._out_cons + size) & _WORD
        xen.barrier()  # the bytes have been read
        self._words[_OUT_CONS] = self._out_cons

    def pieces(self, start: int, size: int) -> list[memoryview]:
        """The memory of an answer that begins so many bytes after those that were produced."""
        at = (self._in_prod + start) & (self.size - 1)
        first = self._answers[at : at + size]
        return [first] if len(first) == size else [first, self._answers[: size - len(first)]]

    def put(self, start: int, data: bytes) -> None:
        """Write bytes of an answer."""
        at = (self._in_prod + start) & (self.size - 1)
        first = min(len(data), self.size - at)
        self._answers[at : at + first] = data[:first]
        if first < len(data):
            self._answers[: len(data) - first] = data[first:]

    def produce(self, size: int) -> None:
        """Show an answer to the guest: whole answers alone, as Linux's client looks at sizes."""
        assert self._words is not None
        self._in_prod = (self._in_prod + size) & _WORD
        xen.barrier()  # the bytes are written before the index announces them
        self._words[_IN_PROD] = self._in_prod
