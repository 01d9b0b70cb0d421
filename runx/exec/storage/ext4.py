"""Where a new ext4 file system keeps its journal and its maps (Linux, Documentation/filesystems/ext4)."""

import os
import struct
from collections.abc import Iterator

from runx.errors import RunxError

_SUPERBLOCK = 1024
_64BIT = 0x80
_EXTENTS = 0xF30A


def metadata(fd: int) -> Iterator[tuple[int, int]]:
    """Offset and length in bytes of the journal, and of the maps of used blocks and inodes.

    fd: the file system, as mke2fs has just made it. Raises RunxError for another one.
    """
    sb = os.pread(fd, 1024, _SUPERBLOCK)
    if len(sb) < 1024 or sb[0x38:0x3A] != b"\x53\xef":
        raise RunxError("root.path: mke2fs made no ext4 file system")
    blocks, first, log_size, per_group = (struct.unpack_from("<I", sb, at)[0] for at in (0x04, 0x14, 0x18, 0x20))
    block = 1024 << log_size
    yield from ((start * block, count * block) for start, count in _journal(sb))
    wide = struct.unpack_from("<I", sb, 0x60)[0] & _64BIT
    step = struct.unpack_from("<H", sb, 0xFE)[0] if wide else 32
    groups = -(-(blocks - first) // per_group)
    table = os.pread(fd, groups * step, (first + 1) * block)
    maps = sorted(number for at in range(0, groups * step, step) for number in struct.unpack_from("<2I", table, at))
    while maps:
        count = 1
        while count < len(maps) and maps[count] == maps[0] + count:
            count += 1
        yield maps[0] * block, count * block
        del maps[:count]


def _journal(sb: bytes) -> Iterator[tuple[int, int]]:
    """First block and number of blocks of each extent of the journal. The superblock has a copy of its inode's list."""
    magic, count, _, depth = struct.unpack_from("<4H", sb, 0x10C)
    if magic != _EXTENTS or depth or not 1 <= count <= 4:
        raise RunxError("root.path: mke2fs made a journal in too many parts")
    for number in range(count):
        _, length, high, low = struct.unpack_from("<IHHI", sb, 0x10C + 12 + 12 * number)
        yield low | high << 32, length
