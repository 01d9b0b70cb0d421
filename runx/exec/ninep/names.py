"""Entries of directories: made, linked, renamed, removed."""

import errno
import os
import stat
from struct import Struct

from runx.exec.ninep import contents, nodes, wire
from runx.exec.ninep.nodes import Node, refuse

TYPE_CHECKING = False  # as typing's, which costs the server memory
if TYPE_CHECKING:
    from runx.exec.ninep.fids import Fid
    from runx.exec.ninep.share import Share

_NUMBER = Struct("<I")
_PAIR = Struct("<II")
_MKNOD = Struct("<IIII")
_KINDS = (stat.S_IFREG, stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFCHR, stat.S_IFBLK)
_MAJOR_MAX, _MINOR_MAX = 0xFFF, 0xFFFFF
_REMOVE_DIRECTORY = 0x200
"""AT_REMOVEDIR"""


def _made(share: "Share", directory: "Fid", name: bytes, gid: int, mode: int) -> bytes:
    """The qid of a new entry, which is the guest's user's from now on."""
    node = Node(os.open(name, nodes.STEP, dir_fd=directory.node.fd), share.devices, directory.node.rules)
    contents.give_to(node, (directory.uid, gid), mode)
    return node.qid


def mkdir(share: "Share", message: bytes) -> bytes:
    (number,) = _NUMBER.unpack_from(message, wire.BODY)
    ((name,), at) = wire.texts(message, wire.BODY + 4, 1)
    mode, gid = _PAIR.unpack_from(message, at)
    fid = contents.writable_directory(share, number)
    contents.check_owners((fid.uid, gid))
    os.mkdir(nodes.checked(name), mode & 0o7777, dir_fd=fid.node.fd)
    return _made(share, fid, name, gid, mode & 0o7777)


def mknod(share: "Share", message: bytes) -> bytes:
    (number,) = _NUMBER.unpack_from(message, wire.BODY)
    ((name,), at) = wire.texts(message, wire.BODY + 4, 1)
    mode, major, minor, gid = _MKNOD.unpack_from(message, at)
    fid = contents.writable_directory(share, number)
    contents.check_owners((fid.uid, gid))
    kind = stat.S_IFMT(mode)
    if kind not in _KINDS or major > _MAJOR_MAX or minor > _MINOR_MAX:
        refuse(errno.EINVAL)
    if kind in (stat.S_IFCHR, stat.S_IFBLK) and fid.node.rules.no_devices:
        refuse(errno.EPERM)
    fid.node.rules.check_mode(mode)
    os.mknod(nodes.checked(name), kind | (mode & 0o7777), os.makedev(major, minor), dir_fd=fid.node.fd)
    return _made(share, fid, name, gid, mode & 0o7777)


def symlink(share: "Share", message: bytes) -> bytes:
    (number,) = _NUMBER.unpack_from(message, wire.BODY)
    ((name, target), at) = wire.texts(message, wire.BODY + 4, 2)
    (gid,) = _NUMBER.unpack_from(message, at)
    fid = contents.writable_directory(share, number)
    contents.check_owners((fid.uid, gid))
    if b"\0" in target:
        refuse(errno.EINVAL)
    os.symlink(target, nodes.checked(name), dir_fd=fid.node.fd)
    return _made(share, fid, name, gid, 0)


def readlink(share: "Share", message: bytes) -> bytes:
    (number,) = _NUMBER.unpack_from(message, wire.BODY)
    node = share.fids.get(number).node
    if node.type != stat.S_IFLNK:
        refuse(errno.EINVAL)
    return wire.text(os.readlink(b"", dir_fd=node.fd))


def link(share: "Share", message: bytes) -> bytes:
    number, target = _PAIR.unpack_from(message, wire.BODY)
    ((name,), _) = wire.texts(message, wire.BODY + _PAIR.size, 1)
    directory, node = contents.writable_directory(share, number).node, share.fids.get(target).node
    if node.rules is not directory.rules:
        refuse(errno.EXDEV)  # two binds are two mounts
    # The link that is followed is that of /proc to the node, and no other.
    os.link(node.name, nodes.checked(name), dst_dir_fd=directory.fd, follow_symlinks=True)
    return b""


def renameat(share: "Share", message: bytes) -> bytes:
    (old,) = _NUMBER.unpack_from(message, wire.BODY)
    ((name,), at) = wire.texts(message, wire.BODY + 4, 1)
    (new,) = _NUMBER.unpack_from(message, at)
    ((to,), _) = wire.texts(message, at + 4, 1)
    source, target = contents.writable_directory(share, old).node, contents.writable_directory(share, new).node
    os.rename(nodes.checked(name), nodes.checked(to), src_dir_fd=source.fd, dst_dir_fd=target.fd)
    return b""


def unlinkat(share: "Share", message: bytes) -> bytes:
    (number,) = _NUMBER.unpack_from(message, wire.BODY)
    ((name,), at) = wire.texts(message, wire.BODY + 4, 1)
    (flags,) = _NUMBER.unpack_from(message, at)
    fid = contents.writable_directory(share, number)
    if flags & ~_REMOVE_DIRECTORY:
        refuse(errno.EINVAL)
    (os.rmdir if flags else os.unlink)(nodes.checked(name), dir_fd=fid.node.fd)
    return b""
