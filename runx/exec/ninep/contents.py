"""What is in files: open, create, read, write."""

import errno
import os
import stat
from struct import Struct

from runx.exec.ninep import nodes, wire
from runx.exec.ninep.nodes import Held, Node, OpenFile, refuse

TYPE_CHECKING = False  # as typing's, which costs the server memory
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from runx.exec.ninep.fids import Fid
    from runx.exec.ninep.share import Share

_NUMBER = Struct("<I")
_LOPEN = Struct("<II")
_LCREATE = Struct("<III")
_FSYNC = Struct("<II")
_WHOLE_FILE = b"\0\0\0\0"
"""iounit: the guest may read and write as much at once as fits into a message."""

# P9_DOTL_* of include/net/9p/9p.h. Others mean nothing to a server, or are the guest's own affair (O_DIRECT).
_EXCLUSIVE, _TRUNCATE = 0o200, 0o1000
_FLAGS = (
    (_TRUNCATE, os.O_TRUNC),
    (0o2000, os.O_APPEND),
    (0o10000, os.O_DSYNC),
    (0o1000000, os.O_NOATIME),
    (0o4000000, os.O_SYNC),
)
_ALWAYS = os.O_CLOEXEC | os.O_NOCTTY | os.O_NONBLOCK


def _host_flags(flags: int) -> int:
    found = (flags & os.O_ACCMODE) | _ALWAYS
    for theirs, ours in _FLAGS:
        if flags & theirs:
            found |= ours
    return found


def _open(share: "Share", node: Node, flags: int) -> OpenFile:
    """Open a file or directory. Nodes of devices, fifos and sockets are the guest's own: they are never opened here."""
    access = flags & os.O_ACCMODE
    held = Held(share.fids.opened, 1, errno.ENFILE)
    if node.type == stat.S_IFDIR:
        if access != os.O_RDONLY:
            refuse(errno.EISDIR)
        fd = os.open(b".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=node.fd)
        return OpenFile(fd, held, writes=False)
    if node.type != stat.S_IFREG:
        refuse(errno.ENXIO)
    if node.rules.read_only and (access != os.O_RDONLY or flags & _TRUNCATE):
        refuse(errno.EROFS)
    fd = os.open(node.name, _host_flags(flags))
    if flags & _TRUNCATE and node.rules.no_set_id:
        clear_set_id(fd)
    return OpenFile(fd, held, writes=access != os.O_RDONLY)


def lopen(share: "Share", message: bytes) -> bytes:
    number, flags = _LOPEN.unpack_from(message, wire.BODY)
    fid = share.fids.get(number)
    if fid.file is not None or fid.attribute is not None:
        refuse(errno.EBADF)
    if fid.node.rules.changes is not None:
        fid.attribute = fid.node.rules.changes
    else:
        fid.file = _open(share, fid.node, flags)
    return fid.node.qid + _WHOLE_FILE


def lcreate(share: "Share", message: bytes) -> bytes:
    (number,) = _NUMBER.unpack_from(message, wire.BODY)
    ((name,), at) = wire.texts(message, wire.BODY + 4, 1)
    flags, mode, gid = _LCREATE.unpack_from(message, at)
    fid = writable_directory(share, number)
    if fid.file is not None or fid.attribute is not None:
        refuse(errno.EBADF)
    nodes.checked(name)
    wanted = _host_flags(flags) | os.O_NOFOLLOW | os.O_CREAT | os.O_EXCL
    held = Held(share.fids.opened, 1, errno.ENFILE)
    owners = fid.uid, gid
    check_owners(owners)
    fid.node.rules.check_mode(mode)
    try:
        fd = os.open(name, wanted, mode & 0o7777, dir_fd=fid.node.fd)
    except FileExistsError:
        if flags & _EXCLUSIVE:
            raise
        node = share.step(fid.node, name)
        file = _open(share, node, flags)
    else:
        file = OpenFile(fd, held, writes=flags & os.O_ACCMODE != os.O_RDONLY)
        node = Node(os.open(b"%d" % fd, os.O_PATH | os.O_CLOEXEC), share.devices, fid.node.rules, name)
        give_to(node, owners, mode & 0o7777)
    fid.node, fid.file = node, file
    return node.qid + _WHOLE_FILE


def writable_directory(share: "Share", number: int) -> "Fid":
    """The fid of a directory in which names may be made and removed. Raises OSError if it is none."""
    fid = share.fids.get(number)
    if fid.node.type != stat.S_IFDIR:
        refuse(errno.ENOTDIR)
    if fid.node.rules.read_only:
        refuse(errno.EROFS)
    return fid


def check_owners(owners: tuple[int, int]) -> None:
    """Raise OSError for a user or group that is none; chown(2) would take it for no change."""
    if wire.NOBODY in owners:
        refuse(errno.EINVAL)


def give_to(node: Node, owners: tuple[int, int], mode: int) -> None:
    """Give a new file to the guest's user and group. The guest has decided both, and the set-id bits of its mode."""
    status = os.fstat(node.fd)
    if (status.st_uid, status.st_gid) != owners:
        os.chown(node.name, *owners)
        status = os.fstat(node.fd)
    if mode & 0o7000 and stat.S_IMODE(status.st_mode) != mode:
        os.chmod(node.name, mode)


# -- bytes of files --------------------------------------------------------------------------------------------------------


def read_now(share: "Share", head: bytes, pieces_of: "Callable[[int], Sequence[memoryview]]") -> int:
    """Read what the host has in memory, straight to where it goes.

    head: a whole Tread. pieces_of: the memory for so many bytes. The number of bytes; -1 if the request has to be answered by
    `read`, which may wait, and has words for errors.
    """
    _, _, _, number, offset, count = wire.READ.unpack(head)
    fid = share.fids.find(number)
    count = min(count, share.message_max - wire.COUNTED.size)
    if fid is None or fid.file is None or not fid.file.nowait or count <= 0 or fid.node.type != stat.S_IFREG:
        return -1
    file = fid.file
    try:
        done = os.preadv(file.fd, pieces_of(count), offset, os.RWF_NOWAIT)
    except OSError as error:
        if error.errno == errno.EOPNOTSUPP:
            file.nowait = False
        return -1
    except (OverflowError, ValueError):
        return -1
    if done < count and offset + done < os.fstat(file.fd).st_size:
        return -1  # the rest is on the disk
    return done


def read(share: "Share", message: bytes) -> bytes:
    _, _, _, number, offset, count = wire.READ.unpack(message)
    fid = share.fids.get(number)
    count = min(count, share.message_max - wire.COUNTED.size)
    if fid.attribute is not None:
        data = bytes(fid.attribute.value[offset : offset + count])
    elif fid.file is None or fid.node.type != stat.S_IFREG:
        refuse(errno.EBADF)
    else:
        data = os.pread(fid.file.fd, count, offset)
    return _NUMBER.pack(len(data)) + data


def write(share: "Share", message: "bytes | memoryview") -> bytes:
    _, _, _, number, offset, count = wire.READ.unpack_from(message)
    if count != len(message) - wire.READ.size:
        refuse(errno.EINVAL)
    fid = share.fids.get(number)
    data = memoryview(message)[wire.READ.size :]
    if fid.attribute is not None:
        fid.attribute.write(offset, data)
        return _NUMBER.pack(count)
    file = fid.file
    if file is None or not file.writes:
        refuse(errno.EBADF)
    if not count:
        return _NUMBER.pack(0)
    # Where set-id bits are withheld, nobody's content gets those of the host, whoever the guest says that it is.
    if fid.uid or fid.node.rules.no_set_id:
        clear_set_id(file.fd)
    return _NUMBER.pack(os.pwrite(file.fd, data, offset))


def clear_set_id(fd: int) -> None:
    """Clear set-id bits as a write of an ordinary user does (Linux, file_remove_privs); the server's own write would not."""
    mode = os.fstat(fd).st_mode
    if mode & stat.S_ISUID or mode & (stat.S_ISGID | stat.S_IXGRP) == stat.S_ISGID | stat.S_IXGRP:
        runs_as_group = stat.S_ISGID if mode & stat.S_IXGRP else 0
        os.fchmod(fd, stat.S_IMODE(mode) & ~(stat.S_ISUID | runs_as_group))


def fsync(share: "Share", message: bytes) -> bytes:
    # Old clients send no flag.
    whole = len(message) >= wire.BODY + _FSYNC.size
    number, data_only = _FSYNC.unpack_from(message, wire.BODY) if whole else (*_NUMBER.unpack_from(message, wire.BODY), 0)
    file = share.fids.get(number).file
    if file is None:
        refuse(errno.EBADF)
    (os.fdatasync if data_only else os.fsync)(file.fd)
    return b""
