"""Unpack a ramdisk like the kernel: archives in a row, compressed or not (early-userspace/buffer-format.rst)."""

import os
import stat
import zlib
from collections.abc import Generator, Iterator
from typing import NamedTuple

_MAGIC = (b"070701", b"070702")
_GZIP = b"\x1f\x8b"
_END = "TRAILER!!!"


class RamdiskError(Exception):
    """The bytes are not cpio archives in the "newc" format, plain or in gzip."""


class Entry(NamedTuple):
    """A member of an archive; `data` of a symbolic link is its target."""

    name: str
    mode: int
    uid: int
    gid: int
    device: int
    data: bytes


def entries(image: bytes) -> Iterator[Entry]:
    """Members of all archives, in order. Raises RamdiskError."""
    while image := image.lstrip(b"\0"):
        if image.startswith(_GZIP):
            decoder = zlib.decompressobj(wbits=31)
            yield from entries(decoder.decompress(image))
            image = decoder.unused_data
        elif image.startswith(_MAGIC):
            image = yield from _archive(image)
        else:
            raise RamdiskError(f"neither gzip nor cpio: {image[:6]!r}")


def _archive(image: bytes) -> Generator[Entry, None, bytes]:
    """Read the members of the first archive of an image: what follows the archive."""
    at = 0
    while True:
        header = image[at : at + 110]
        if len(header) < 110 or header[:6] not in _MAGIC:
            raise RamdiskError(f"no cpio header at {at}")
        _, mode, uid, gid, _, _, size, _, _, major, minor, name_size, _ = (
            int(header[6 + 8 * field : 14 + 8 * field], 16) for field in range(13)
        )
        name = image[at + 110 : at + 110 + name_size - 1].decode("utf-8", "surrogateescape")
        start = (at + 110 + name_size + 3) & ~3
        at = (start + size + 3) & ~3
        if name == _END:
            return image[at:]
        yield Entry(name, mode, uid, gid, os.makedev(major, minor), image[start : start + size])


def unpack(image: bytes, root: str) -> None:
    """Write all members below `root`. Raises RamdiskError and OSError."""
    for entry in entries(image):
        path = os.path.join(root, entry.name.lstrip("/"))
        kind = stat.S_IFMT(entry.mode)
        if kind != stat.S_IFDIR and os.path.lexists(path):  # a later archive replaces files
            os.unlink(path)
        if kind == stat.S_IFDIR:
            os.makedirs(path, exist_ok=True)
        elif kind == stat.S_IFREG:
            with open(path, "wb") as file:
                file.write(entry.data)
        elif kind == stat.S_IFLNK:
            os.symlink(entry.data, path)
        else:
            os.mknod(path, entry.mode, entry.device)
        os.chown(path, entry.uid, entry.gid, follow_symlinks=False)
        if kind != stat.S_IFLNK:
            os.chmod(path, stat.S_IMODE(entry.mode))
