"""Lists of CPUs: `0-3,7,^2` (cpuset(7), "List format", and xl.cfg(5), `cpus`, in which `^` excludes CPUs).

As in the kernel (lib/bitmap-str.c, bitmap_parselist), blanks separate too, and several separators are as one.
"""

import re

CPU_LIMIT = 8192
"""The most CPUs of any Linux kernel (CONFIG_NR_CPUS)."""

_SEPARATORS = ", \t\n"
_PART = re.compile(r"(\^?)([0-9]*)(-?)([0-9]*)")
"""A number or a range, or as much of one as there is: the fault is behind it."""


def parse_cpuset(text: str) -> frozenset[int]:
    """The CPUs named by `text`, read from left to right. Raises ValueError with a message if it is not such a list."""
    text = text.strip(_SEPARATORS)
    cpus = 0  # bit by bit: a list may name thousands of CPUs thousands of times
    at = 0
    while True:
        match = _PART.match(text, at)
        assert match
        excluded, first, dash, last = match.groups()
        at = match.end()
        if not first:
            raise _malformed(text, match.end(1))
        if dash and not last:
            raise _malformed(text, at)
        numbers = _range(first, last or first)
        cpus = cpus & ~numbers if excluded else cpus | numbers
        if at == len(text):
            break
        if text[at] not in _SEPARATORS:
            raise _malformed(text, at)
        while text[at] in _SEPARATORS:  # the last character is none
            at += 1
    if not cpus:
        raise ValueError("leaves no CPU")
    return frozenset(number for number in range(cpus.bit_length()) if cpus >> number & 1)


def _malformed(text: str, at: int) -> ValueError:
    place = "ends too early" if at == len(text) else f"wrong at character {at + 1}"
    return ValueError(f'not a list of CPUs such as "0-3,7": {place}')


def _range(low: str, high: str) -> int:
    first, last = _number(low), _number(high)
    if last < first:
        raise ValueError(f"the range {low}-{high} is backwards")
    return (1 << (last + 1)) - (1 << first)


def _number(text: str) -> int:
    if len(text.lstrip("0")) > 4 or int(text) >= CPU_LIMIT:
        raise ValueError(f"there is no CPU {text[:20]}")
    return int(text)
