"""Owners, modes, times, sizes, file systems and extended attributes."""

import errno
import os
import stat
import time
from struct import Struct

from runx.exec.ninep import contents, limits, wire
from runx.exec.ninep.attribute import CAPABILITY, Attribute, is_guests
from runx.exec.ninep.fids import Fid
from runx.exec.ninep.nodes import Held, refuse

TYPE_CHECKING = False  # as typing's, which costs the server memory
if TYPE_CHECKING:
    from runx.exec.ninep.nodes import Node
    from runx.exec.ninep.share import Share

_NUMBER = Struct("<I")
_ATTRIBUTES = Struct("<Q13sIIIQQQQQqQqQqQQQQQ")
"""valid, qid, mode, uid, gid, nlink, rdev, size, blksize, blocks; seconds and nanoseconds of atime, mtime, ctime and btime; gen,
data_version"""
_BASIC = 0x7FF
"""P9_GETATTR_BASIC: all up to the blocks, without the time of birth, which Linux has no use for."""
_BLOCK = 65536
_BILLION = 1000000000
_SETATTR = Struct("<IIIIIQqQqQ")
_MODE, _UID, _GID, _SIZE, _ATIME, _MTIME, _ATIME_SET, _MTIME_SET = 1, 2, 4, 8, 16, 32, 128, 256
_STATFS = Struct("<IIQQQQQQI")
_MAGIC = 0x01021997
"""V9FS_MAGIC: the guest's file system is 9p, whatever the host's is."""
_XATTRWALK = Struct("<II")
_XATTRSIZE = Struct("<Q")
_XATTRCREATE = Struct("<QI")
_WORD = 0xFFFFFFFF


def _kernel_device(number: int) -> int:
    """A device's number as Linux's client decodes it (new_decode_dev of linux/kdev_t.h)."""
    major, minor = os.major(number), os.minor(number)
    return ((minor & 0xFF) | (major << 8) | ((minor & ~0xFF) << 12)) & _WORD


def getattr_(share: "Share", message: bytes) -> bytes:
    (number,) = _NUMBER.unpack_from(message, wire.BODY)
    node = share.fids.get(number).node
    s = os.fstat(node.fd)
    return _ATTRIBUTES.pack(
        _BASIC, node.qid, s.st_mode, s.st_uid, s.st_gid, s.st_nlink, _kernel_device(s.st_rdev) if s.st_rdev else 0, s.st_size,
        _BLOCK, s.st_blocks, s.st_atime_ns // _BILLION, s.st_atime_ns % _BILLION, s.st_mtime_ns // _BILLION,
        s.st_mtime_ns % _BILLION, s.st_ctime_ns // _BILLION, s.st_ctime_ns % _BILLION, 0, 0, 0, 0,
    )  # fmt: skip


def setattr_(share: "Share", message: bytes) -> bytes:
    number, valid, mode, uid, gid, size, *times = _SETATTR.unpack_from(message, wire.BODY)
    fid = share.fids.get(number)
    node = fid.node
    if node.rules.read_only:
        refuse(errno.EROFS)
    if valid & (_UID | _GID):
        # (uid_t) -1 changes nothing, as for chown(2).
        owners = tuple(-1 if not valid & bit or new == wire.NOBODY else new for bit, new in ((_UID, uid), (_GID, gid)))
        os.chown(node.name, *owners)
    if valid & _MODE:
        if node.is_symlink:
            refuse(errno.EOPNOTSUPP)
        _set_mode(node, mode)
    if valid & _SIZE:
        if node.type != stat.S_IFREG:
            refuse(errno.EINVAL)  # a device would be opened
        if fid.file is not None and fid.file.writes:
            os.ftruncate(fid.file.fd, size)
        else:
            os.truncate(node.name, size)
        if node.rules.no_set_id:
            _clear_set_id(node)
    if valid & (_ATIME | _MTIME):
        _set_times(node, valid, times)
    return b""


def _set_mode(node: "Node", mode: int) -> None:
    """Set-id bits that the host has given stay where they are withheld, but are not given anew: meanwhile a write of another
    request, or of another machine, may have taken them away (contents.clear_set_id)."""
    if node.type != stat.S_IFDIR:
        if node.rules.no_set_id and stat.S_IMODE(mode) == stat.S_IMODE(os.fstat(node.fd).st_mode):
            return
        node.rules.check_mode(mode)
    os.chmod(node.name, stat.S_IMODE(mode))


def _clear_set_id(node: "Node") -> None:
    file = os.open(node.name, os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        contents.clear_set_id(file)
    finally:
        os.close(file)


def _set_times(node: "Node", valid: int, times: list[int]) -> None:
    now, status = time.time_ns(), os.fstat(node.fd)
    given = times[0] * _BILLION + times[1], times[2] * _BILLION + times[3]
    atime = given[0] if valid & _ATIME_SET else now if valid & _ATIME else status.st_atime_ns
    mtime = given[1] if valid & _MTIME_SET else now if valid & _MTIME else status.st_mtime_ns
    os.utime(node.name, ns=(atime, mtime))


def statfs(share: "Share", message: bytes) -> bytes:
    (number,) = _NUMBER.unpack_from(message, wire.BODY)
    s = os.statvfs(share.fids.get(number).node.fd)
    counts = (s.f_blocks, s.f_bfree, s.f_bavail, s.f_files, s.f_ffree)
    return _STATFS.pack(_MAGIC, s.f_bsize, *counts, s.f_fsid & 0xFFFFFFFFFFFFFFFF, s.f_namemax)


def _checked(name: bytes) -> bytes:
    if not is_guests(name) or b"\0" in name:
        refuse(errno.EOPNOTSUPP)
    return name


def xattrwalk(share: "Share", message: bytes) -> bytes:
    number, new = _XATTRWALK.unpack_from(message, wire.BODY)
    ((name,), _) = wire.texts(message, wire.BODY + _XATTRWALK.size, 1)
    fid = share.fids.get(number)
    if name:
        value = os.getxattr(fid.node.name, _checked(name))
    else:
        known = (os.fsencode(found) for found in os.listxattr(fid.node.name))
        value = b"".join(found + b"\0" for found in known if is_guests(found))
    made = Fid(fid.node, fid.uid)
    made.attribute = Attribute(value, Held(share.fids.attributes, len(value), errno.ENOMEM))
    share.fids.add(new, made)
    return _XATTRSIZE.pack(len(value))


def xattrcreate(share: "Share", message: bytes) -> bytes:
    (number,) = _NUMBER.unpack_from(message, wire.BODY)
    ((name,), at) = wire.texts(message, wire.BODY + 4, 1)
    size, flags = _XATTRCREATE.unpack_from(message, at)
    fid = share.fids.get(number)
    if fid.node.rules.read_only:
        refuse(errno.EROFS)
    if fid.node.rules.no_capabilities and name == CAPABILITY:
        refuse(errno.EPERM)
    if fid.file is not None or fid.attribute is not None:
        refuse(errno.EBADF)
    if size > limits.ATTRIBUTE_MAX:
        refuse(errno.E2BIG)
    held = Held(share.fids.attributes, size, errno.ENOMEM)
    fid.attribute = Attribute(bytearray(), held, _checked(name), size, flags & (os.XATTR_CREATE | os.XATTR_REPLACE))
    return b""
