"""Directories, listed."""

import errno
import os
import stat
from struct import Struct

from runx.exec.ninep import wire
from runx.exec.ninep.nodes import refuse
from runx.linux import libc

TYPE_CHECKING = False  # as typing's, which costs the server memory
if TYPE_CHECKING:
    from runx.exec.ninep.share import Share

_NUMBER = Struct("<I")
_DT_QIDS = {4: wire.QID_DIRECTORY, 10: wire.QID_SYMLINK}
"""By d_type of readdir(3): DT_DIR, DT_LNK."""
_DIRENT = Struct("<QqHB")
"""struct linux_dirent64: d_ino, d_off, d_reclen, d_type; the name follows."""
_ENTRY = Struct("<BIQQBH")
"""qid, offset, type, length of the name"""
_BUFFER = 32768
_Buffer = libc.buffer_type(_BUFFER)
_getdents64 = libc.function("getdents64", "iPL", of_size=True)


def readdir(share: "Share", message: bytes) -> bytes:
    _, _, _, number, offset, count = wire.READ.unpack(message)
    fid = share.fids.get(number)
    file, node = fid.file, fid.node
    if file is None or node.type != stat.S_IFDIR:
        refuse(errno.EBADF)
    count = min(count, share.message_max - wire.COUNTED.size)
    if file.at != offset:
        os.lseek(file.fd, offset, os.SEEK_SET)
    file.at = -1  # unknown, until all is well
    parts: list[bytes] = []
    size = 0
    # Every entry here is at least as long as the kernel's, less the padding: what is read nearly always fits.
    buffer, wanted = _Buffer(), min(max(count, 512), _BUFFER)
    while True:
        got = libc.check(_getdents64(file.fd, buffer, wanted), "getdents64")
        if not got:
            file.at = offset
            break
        data, at = bytes(memoryview(buffer)[:got]), 0
        while at < got:
            inode, following, length, kind = _DIRENT.unpack_from(data, at)
            name = data[at + 19 : at + length]
            name = name[: name.index(0)]
            if size + _ENTRY.size + len(name) > count:
                if not size:
                    refuse(errno.EINVAL)  # no entry would look like the end
                return _NUMBER.pack(size) + b"".join(parts)
            if node is not share.root or share.entries is None or name in share.entries:
                qid = _DT_QIDS.get(kind, 0), 0, (inode ^ node.mark) & 0xFFFFFFFFFFFFFFFF
                parts.append(_ENTRY.pack(*qid, following & 0xFFFFFFFFFFFFFFFF, kind, len(name)) + name)
                size += _ENTRY.size + len(name)
            offset = following & 0xFFFFFFFFFFFFFFFF
            at += length
        if count - size < 512:
            file.at = offset
            break
    return _NUMBER.pack(size) + b"".join(parts)
