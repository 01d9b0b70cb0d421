"""The heap of this process (mallopt(3), malloc_trim(3))."""

from runx.linux import libc

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8

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


def trim() -> None:
    """Give memory of the heap back that is not in use."""
    _malloc_trim(0)
