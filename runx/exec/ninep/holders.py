"""Who holds locks on files: processes of the guest, each by a descriptor of its own for each file.

The locks are those of open file descriptions (fcntl(2), F_OFD_SETLK), which meet those of fcntl(2) of other processes of the
host. A lock of the whole file may be one of flock(2) in the guest, so it is taken as one of flock(2), too. All end with their
descriptors: with the fid, the client, the machine.
"""

import errno
import fcntl
import os
from _thread import allocate_lock
from struct import Struct

from runx.exec.ninep import limits
from runx.exec.ninep.nodes import Node, refuse

TYPE_CHECKING = False  # as typing's, which costs the server memory
if TYPE_CHECKING:
    from runx.exec.ninep.fids import Fid

READ, WRITE, UNLOCK = 0, 1, 2
"""P9_LOCK_TYPE_*"""
_TYPES = (fcntl.F_RDLCK, fcntl.F_WRLCK, fcntl.F_UNLCK)
_FLOCK = Struct("hhqqi4x")
"""struct flock: type, whence, start, length, pid"""
_OFD_GETLK, _OFD_SETLK = 36, 37
_NOT_WHOLE = -1


class Holder:
    """A process of the guest with locks on one file."""

    __slots__ = ("fd", "fid", "owner", "whole")

    def __init__(self, fd: int, owner: tuple[bytes, int], fid: "Fid") -> None:
        """fd: open for writing if that is possible, and this object's from now on. owner: names of the client and the process."""
        self.fd = fd
        self.owner = owner
        self.fid = fid
        self.whole = _NOT_WHOLE
        """The type of its lock of the whole file, which may be one of flock(2)."""

    def __del__(self) -> None:
        os.close(self.fd)

    @property
    def has_whole(self) -> bool:
        return self.whole != _NOT_WHOLE

    def set(self, kind: int, start: int, length: int) -> bool:
        """Take or give up a lock; False if another one is in the way. Raises OSError."""
        everything = start == 0 and length == 0
        whole = kind if everything and kind != UNLOCK else _NOT_WHOLE
        try:
            if whole != _NOT_WHOLE or self.has_whole:
                self._flock(whole)
            try:
                fcntl.fcntl(self.fd, _OFD_SETLK, _FLOCK.pack(_TYPES[kind], os.SEEK_SET, start, length, 0))
            except OSError as error:
                # A file that cannot be written to can be locked by flock(2) alone.
                if error.errno != errno.EBADF or not everything:
                    if whole != self.whole:
                        self._flock(self.whole)
                    raise
        except OSError as error:
            if error.errno in (errno.EAGAIN, errno.EACCES):
                return False
            raise
        self.whole = whole
        return True

    def _flock(self, kind: int) -> None:
        how = fcntl.LOCK_UN if kind == _NOT_WHOLE else (fcntl.LOCK_SH, fcntl.LOCK_EX)[kind]
        fcntl.flock(self.fd, how | fcntl.LOCK_NB)

    def in_the_way(self, kind: int, start: int, length: int) -> tuple[int, int, int, int]:
        """Type, start, length and process of a lock that is in the way of this one; the type is UNLOCK if none is."""
        asked = _FLOCK.pack(_TYPES[kind], os.SEEK_SET, start, length, 0)
        found, _, start, length, process = _FLOCK.unpack(fcntl.fcntl(self.fd, _OFD_GETLK, asked))
        return _TYPES.index(found), start, length, max(process, 0)


class Locks:
    """The locks of a share, by file."""

    __slots__ = ("_count", "_files", "_guard")

    def __init__(self) -> None:
        self._files: dict[tuple[int, int], list[Holder]] = {}
        self._count = 0
        self._guard = allocate_lock()

    def clear(self) -> None:
        with self._guard:
            self._files, self._count = {}, 0

    def forget(self, fid: "Fid") -> None:
        """Give up what was locked by a fid that goes."""
        with self._guard:
            for key, holders in list(self._files.items()):
                kept = [holder for holder in holders if holder.fid is not fid]
                self._count -= len(holders) - len(kept)
                if kept:
                    self._files[key] = kept
                else:
                    del self._files[key]

    def holders(self, node: Node) -> list[Holder]:
        """All that have locks on a file."""
        return self._files.get(key(node), [])

    def holder(self, fid: "Fid", owner: tuple[bytes, int]) -> Holder:
        """The holder for a process, which is made if there is none. Raises OSError."""
        place = key(fid.node)
        found = self._find(place, owner)
        if found:
            return found
        made = Holder(open_for(fid.node), owner, fid)
        with self._guard:
            found = self._find(place, owner)
            if found:
                return found
            if self._count >= limits.LOCKS_MAX:
                refuse(errno.ENOLCK)
            self._files.setdefault(place, []).append(made)
            self._count += 1
            fid.has_locks = True
        return made

    def _find(self, key: tuple[int, int], owner: tuple[bytes, int]) -> Holder | None:
        for holder in self._files.get(key, ()):
            if holder.owner == owner:
                return holder
        return None

    def __len__(self) -> int:
        return self._count


def key(node: Node) -> tuple[int, int]:
    """What tells a file from all others of the host."""
    status = os.fstat(node.fd)
    return status.st_dev, status.st_ino


def open_for(node: Node) -> int:
    """A descriptor for locks of a file. Raises OSError."""
    flags = os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY
    if not node.rules.read_only:
        try:
            return os.open(node.name, os.O_RDWR | flags)
        except OSError:
            pass  # on a file system that is read-only, or a program that runs
    return os.open(node.name, os.O_RDONLY | flags)
