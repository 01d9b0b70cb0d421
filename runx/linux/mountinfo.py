"""The mounts of a mount namespace (proc_pid_mountinfo(5))."""

import os
import re
from typing import NamedTuple

_OCTAL = re.compile(rb"\\([0-7]{3})")


class MountInfo(NamedTuple):
    """One mount."""

    root: str
    """The part of the file system that is mounted; `/` for all of it."""
    point: str
    """Absolute path of the mount point."""
    kind: str
    """Type of the file system: `ext4`, `overlay`."""
    options: tuple[str, ...]
    """Options of the file system as a whole (`lowerdir=/a:/b`), in order. Those of the mount alone are not among them."""
    source: str = ""
    """What is mounted: the path of a device or a file, or any word for a file system that needs none."""


def read(path: str = "/proc/self/mountinfo") -> list[MountInfo]:
    """The mounts, in the kernel's order: of two at one mount point the later one is visible. Raises OSError."""
    with open(path, "rb") as file:
        return [_parsed(line.rstrip(b"\n")) for line in file]


def _parsed(line: bytes) -> MountInfo:
    # Optional fields stand before " - ". No other field is "-", and none holds a space.
    mount, _, file_system = line.partition(b" - ")
    _, _, _, root, point, *_ = mount.split(b" ")
    kind, source, options = file_system.split(b" ", 2)
    return MountInfo(_plain(root), _plain(point), _plain(kind), tuple(map(_plain, options.split(b","))), _plain(source))


def _plain(field: bytes) -> str:
    """A field without escapes.

    The kernel writes space, tab, newline, backslash and `#` as a backslash and three octal digits; overlayfs also writes the
    commas of its own options so (Linux, fs/proc_namespace.c, fs/overlayfs/params.c).
    """
    return os.fsdecode(_OCTAL.sub(lambda match: bytes([int(match[1], 8)]), field))
