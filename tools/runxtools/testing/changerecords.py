"""Records of what a container has written, as a guest sends them (runx/exec/ninep/changes.py), or as a hostile one may."""

import stat
import struct

from runx.exec.ninep.changes import DATA, END, ENTRY, LEAVE, PLACE

DIRECTORY, FILE, LINK_TO = stat.S_IFDIR | 0o755, stat.S_IFREG | 0o644, stat.S_IFLNK | 0o777
OPAQUE = 1


def record(kind: int, body: bytes = b"") -> bytes:
    return struct.pack("<BI", kind, len(body)) + body


def entry(
    mode: int, name: bytes, target: bytes = b"", *, flags: int = 0, device: tuple[int, int] = (0, 0), size: int = 0, uid: int = 0
) -> bytes:
    numbers = struct.pack("<IIIIIqqQBH", mode, uid, 0, *device, 1, 2, size, flags, len(name))
    return record(ENTRY, numbers + name + target)


def two(kind: int, first: bytes, second: bytes) -> bytes:
    return record(kind, struct.pack("<H", len(first)) + first + second)


PLACED = record(PLACE)
TOP = entry(DIRECTORY, b"") + PLACED


def data(offset: int, text: bytes) -> bytes:
    return record(DATA, struct.pack("<Q", offset) + text)


def file(name: bytes, text: bytes = b"text") -> bytes:
    return entry(FILE, name, size=len(text)) + data(0, text) + PLACED


def directory(name: bytes, *inside: bytes, flags: int = 0) -> bytes:
    return entry(DIRECTORY, name, flags=flags) + PLACED + b"".join(inside) + record(LEAVE)


def whole(*records: bytes) -> bytes:
    """With the record that ends them."""
    stream = TOP + b"".join(records)
    count, at = 1, 0
    while at < len(stream):
        at += 5 + struct.unpack_from("<I", stream, at + 1)[0]
        count += 1
    return stream + record(END, struct.pack("<I", count))
