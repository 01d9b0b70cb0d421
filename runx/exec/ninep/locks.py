"""Locks of the guest, which are locks on the host.

Linux's client sends locks of fcntl(2) and of flock(2) in one form, and settles itself what its own processes have against each
other. What comes here is held against other machines and the host (holders.py).
"""

import errno
import stat
from struct import Struct

from runx.exec.ninep import wal, wire
from runx.exec.ninep.holders import READ, UNLOCK, WRITE
from runx.exec.ninep.nodes import refuse

TYPE_CHECKING = False  # as typing's, which costs the server memory
if TYPE_CHECKING:
    from runx.exec.ninep.fids import Fid
    from runx.exec.ninep.share import Share

_LOCK = Struct("<IBIQQI")
"""fid, type, flags, start, length, process; the client's name follows"""
_GETLOCK = Struct("<IBQQI")
_FOUND = Struct("<BQQI")
_WAITS = 1
"""P9_LOCK_FLAGS_BLOCK"""
_SUCCESS, _BLOCKED = b"\0", b"\1"
_SIGNED_MAX = (1 << 63) - 1


def _target(share: "Share", number: int) -> "Fid":
    fid = share.fids.get(number)
    if fid.file is None or fid.node.type not in (stat.S_IFREG, stat.S_IFDIR):
        refuse(errno.EBADF)
    return fid


def _check_range(start: int, length: int) -> None:
    if start > _SIGNED_MAX or length > _SIGNED_MAX or start + length > _SIGNED_MAX + 1:
        refuse(errno.EINVAL)


def lock(share: "Share", message: bytes) -> bytes:
    number, kind, flags, start, length, process = _LOCK.unpack_from(message, wire.BODY)
    ((client,), _) = wire.texts(message, wire.BODY + _LOCK.size, 1)
    if kind not in (READ, WRITE, UNLOCK):
        refuse(errno.EINVAL)
    _check_range(start, length)
    fid = _target(share, number)
    owner = client, process
    if wal.is_use(fid.node, start, length) and kind != UNLOCK:
        return _SUCCESS if share.databases.take(fid, owner, alone=kind == WRITE) else _BLOCKED
    if kind != UNLOCK:
        # A lock that is in the way is no error. Linux's client asks again, at intervals of its mount option locktimeout.
        return _SUCCESS if share.locks.holder(fid, owner).set(kind, start, length) else _BLOCKED
    everything = start == 0 and length == 0
    if fid.node.is_index and (everything or wal.is_use(fid.node, start, length)):
        share.databases.leave(fid.node, owner)
    holders = share.locks.holders(fid.node)
    chosen = [holder for holder in holders if holder.owner == owner]
    if not chosen and everything and flags & _WAITS:
        # A lock of flock(2) may be given up by another process, which has inherited the descriptor. When a process closes a
        # descriptor, Linux's client sends nearly the same: without this flag.
        chosen = [holder for holder in holders if holder.fid is fid and holder.has_whole]
    for holder in chosen:
        holder.set(kind, start, length)
    return _SUCCESS


def getlock(share: "Share", message: bytes) -> bytes:
    number, kind, start, length, process = _GETLOCK.unpack_from(message, wire.BODY)
    ((client,), _) = wire.texts(message, wire.BODY + _GETLOCK.size, 1)
    if kind not in (READ, WRITE, UNLOCK):
        refuse(errno.EINVAL)
    _check_range(start, length)
    fid = _target(share, number)
    if kind == UNLOCK:
        # Linux's client sends this for every F_GETLK, whose type it has overwritten. A file that is open for reading alone can
        # have no lock for writing; of another one, look for whatever may be in the way.
        assert fid.file is not None
        kind = WRITE if fid.file.writes else READ
    way = share.databases.in_the_way(fid.node, kind) if wal.is_use(fid.node, start, length) else None
    if way is None:
        way = share.locks.holder(fid, (client, process)).in_the_way(kind, start, length)
    found, start, length, other = way
    return _FOUND.pack(found, start, length, other if found != UNLOCK else 0) + wire.text(client)
