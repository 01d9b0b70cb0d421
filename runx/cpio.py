"""Archives in the "newc" format of cpio, which the kernel unpacks into its initial root file system (Linux,
Documentation/driver-api/early-userspace/buffer-format.rst).
"""

import stat
from collections.abc import Iterable
from typing import NamedTuple

from runx.errors import RunxError

BLOCK = 512
"""Bytes. An archive is padded to a multiple of it, as by cpio(1), so that another one may follow."""

TRAILER = "TRAILER!!!"
"""Name of the entry that ends an archive."""


class OverlayFile(NamedTuple):
    """A file of an archive. `path` is relative and clean (`runx/setup`); `mode` holds permissions alone."""

    path: str
    mode: int
    content: bytes
    uid: int = 0
    gid: int = 0


def archive(files: Iterable[OverlayFile]) -> bytes:
    """The archive of `files` and of the directories above them (0755). Each directory stands once, before its files.

    Raises RunxError for a file called TRAILER.
    """
    parts: list[bytes] = []
    made: set[str] = set()
    number = 0
    for file in files:
        above = file.path.split("/")[:-1]
        for depth in range(1, len(above) + 1):
            directory = "/".join(above[:depth])
            if directory not in made:
                made.add(directory)
                number += 1
                parts.append(_entry(number, directory, stat.S_IFDIR | 0o755, b""))
        number += 1
        parts.append(_entry(number, file.path, stat.S_IFREG | file.mode, file.content, file.uid, file.gid))
    parts.append(end(sum(map(len, parts))))
    return b"".join(parts)


def links(targets: "Iterable[tuple[str, str]]") -> bytes:
    """An archive of symbolic links, of pairs of a path and what it leads to, and of the directories above them."""
    parts: list[bytes] = []
    made: set[str] = set()
    for number, (path, target) in enumerate(targets):
        above = path.rpartition("/")[0]
        for directory in (above.rpartition("/")[0], above):
            if directory and directory not in made:
                made.add(directory)
                parts.append(header(0, directory, stat.S_IFDIR | 0o755, 0))
        content = target.encode()
        parts.append(header(number, path, stat.S_IFLNK | 0o777, len(content)) + content + padding(len(content)))
    parts.append(end(sum(map(len, parts))))
    return b"".join(parts)


def end(size: int) -> bytes:
    """The trailer of an archive of `size` bytes, and padding."""
    trailer = header(0, TRAILER, 0, 0)
    return trailer + bytes(-(size + len(trailer)) % BLOCK)


def _entry(number: int, path: str, mode: int, content: bytes, uid: int = 0, gid: int = 0) -> bytes:
    return header(number, path, mode, len(content), uid, gid) + content + padding(len(content))


def header(number: int, path: str, mode: int, size: int, uid: int = 0, gid: int = 0, device: tuple[int, int] = (0, 0)) -> bytes:
    """The header of an entry. `size` bytes of content follow, then padding.

    number: different for each entry. mode: with the type of the file. device: major and minor number of a device node.
    """
    if path == TRAILER and mode:
        raise RunxError(f"a file of the ramdisk cannot be called {TRAILER}")
    name = path.encode() + b"\0"
    links = 2 if stat.S_ISDIR(mode) else 1
    # ino, mode, uid, gid, nlink, mtime, filesize, device of the file system (two), device (two), namesize, check.
    # No time: the same plan gives the same bytes.
    fields = (number, mode, uid, gid, links, 0, size, 0, 0, *device, len(name), 0)
    data = b"070701" + b"".join(b"%08X" % field for field in fields) + name
    return data + padding(len(data))


def padding(size: int) -> bytes:
    """Zeros that fill `size` bytes up to a multiple of four."""
    return bytes(-size % 4)
