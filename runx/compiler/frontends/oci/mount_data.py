"""The values of the options that a file system of the guest reads itself, as the kernel's parsers take them."""

import re
from collections.abc import Callable

Takes = Callable[[str], bool]


def _matches(pattern: str) -> Takes:
    return lambda value: re.fullmatch(pattern, value, re.ASCII) is not None


_DIGITS = "0[xX][0-9a-fA-F]{1,16}|0[0-7]{0,21}|[1-9][0-9]{0,18}"
"""A number as the kernel reads it if no base is given: hexadecimal after 0x, octal after 0 (lib/kstrtox.c)."""
_NUMBER = f"({_DIGITS})([kKmMgGtTpPeE])?"


def kernel_number(text: str) -> int:
    """A number without a sign as the kernel reads it: octal after 0, hexadecimal after 0x."""
    return int(text, 16 if text[:2] in ("0x", "0X") else 8 if text.startswith("0") else 10)


def _number_to(most: int) -> Takes:
    return lambda value: re.fullmatch(_DIGITS, value, re.ASCII) is not None and kernel_number(value) <= most


def _bytes_of(text: str) -> int | None:
    """A number with k, m, g, t, p or e behind it; None if it is none, or too large for 64 bits: the kernel drops the bits above,
    so 16e is 0 to it, which is no limit."""
    found = re.fullmatch(_NUMBER, text, re.ASCII)
    if not found:
        return None
    number = kernel_number(found[1]) << 10 * " kmgtpe".index((found[2] or " ").lower())
    return number if number < 2**64 else None


def _count_to(most: int) -> tuple[Takes, str]:
    def takes(value: str) -> bool:
        number = _bytes_of(value)
        return number is not None and number <= most

    return takes, f"a number up to {most}, with k, m or g if it is large"


_MOST_PERCENT = 2**20
"""The kernel multiplies with the bytes of its memory, in 64 bits; that is for 16 TiB, the most that a guest can have."""


def _is_size(value: str) -> bool:
    number = _bytes_of(value.removesuffix("%"))
    return number is not None and (number < _MOST_PERCENT or not value.endswith("%"))


_OCTAL = _matches("[0-7]{1,10}"), "an octal number such as 755"
_ID = _number_to(2**32 - 2), "a user or group id"
_INT_ID = _number_to(2**31 - 1), "a user or group id up to 2147483647"

VALUES: dict[str, dict[str, tuple[Takes, str]]] = {
    "tmpfs": {
        "size": (_is_size, "a size such as 64m or 50%, less than 16e"),
        "nr_blocks": _count_to(2**63 - 1), "nr_inodes": _count_to((2**64 - 1) // 1024), "mode": _OCTAL, "uid": _ID, "gid": _ID,
        "huge": (_matches("never|always|within_size|advise"), "one of never, always, within_size, advise"),
    },
    "ramfs": {"mode": _OCTAL},
    "devpts": {
        "uid": _INT_ID, "gid": _INT_ID, "mode": _OCTAL, "ptmxmode": _OCTAL,
        "max": (_number_to(2**20), "a number from 0 to 1048576"),
    },
    "proc": {
        "hidepid": (_matches("[0124]|off|noaccess|invisible|ptraceable"), "one of off, noaccess, invisible, ptraceable"),
        "gid": _ID, "subset": (_matches("pid"), "pid"),
    },
}  # fmt: skip
"""By the type of a file system and the word of an option: which values it takes, in code and in words (Linux, the
fs_parameter_spec tables of mm/shmem.c, fs/ramfs, fs/devpts and fs/proc; memparse in lib/cmdline.c)."""


def wrong_value(kind: str, word: str, value: str) -> str:
    """What is wrong with the value of an option; "" if the file system takes it."""
    if word not in VALUES.get(kind, {}):
        return ""
    takes, what = VALUES[kind][word]
    return "" if takes(value) else f"must be {what}"
