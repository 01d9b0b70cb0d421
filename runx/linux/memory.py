"""The memory of this process: its heap (mallopt(3), malloc_trim(3)) and its code (madvise(2))."""

from runx.linux import libc

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
_MADV_DONTNEED = 4
_code: "list[tuple[int, int]]" = []
"""Addresses and sizes."""

_madvise = libc.function("madvise", "LLi")
try:
    _mallopt = libc.function("mallopt", "ii")
    _malloc_trim = libc.function("malloc_trim", "L")
except OSError:  # a C library that has none
    _mallopt = _malloc_trim = lambda *_: 0


def one_heap(largest: int) -> None:
    """Have threads share one heap, and keep blocks of up to `largest` bytes in it that are freed.

    Other heaps cost memory, and Python's threads allocate one at a time anyway. Blocks that come from the kernel each time cost
    more processor time than what is done with them.
    """
    _mallopt(_M_ARENA_MAX, 1)
    _mallopt(_M_MMAP_THRESHOLD, largest + 4096)
    _mallopt(_M_TRIM_THRESHOLD, 4 * largest)


def find_code() -> None:
    """Look where this process has the code of its program and libraries, for `trim`. Raises OSError without /proc."""
    with open("/proc/self/maps", "rb") as file:
        for line in file:
            place, rights, _, _, _, *name = line.split(maxsplit=5)
            if rights == b"r-xp" and name and name[0].startswith(b"/"):
                begin, _, end = place.partition(b"-")
                _code.append((int(begin, 16), int(end, 16) - int(begin, 16)))


def trim() -> None:
    """Give back memory of the heap that is not in use. Let go of code that `find_code` has found, which was needed to begin: what
    is needed later comes back from the page cache."""
    _malloc_trim(0)
    for place, size in _code:
        _madvise(place, size, _MADV_DONTNEED)
