"""Databases of SQLite with a write-ahead log: one machine at a time (SQLite, walformat.html, "The WAL-Index File Format").

Processes that use such a database agree by memory that they map of the file NAME-shm. Two machines do not see what the other
one has in its memory, so commits would be lost without an error. Each process has a lock for reading of one byte of that file
as long as it uses the database (os_unix.c, UNIX_SHM_DMS). Here, that is a lock for writing, which all processes of a machine
have in common: SQLite tells other machines, and the host, that the database is locked.
"""

import errno
from _thread import allocate_lock

from runx.exec.ninep import holders, limits
from runx.exec.ninep.holders import WRITE, Holder
from runx.exec.ninep.nodes import refuse

TYPE_CHECKING = False  # as typing's, which costs the server memory
if TYPE_CHECKING:
    from runx.exec.ninep.fids import Fid
    from runx.exec.ninep.nodes import Node

_BYTE, _LENGTH = 128, 1


def is_use(node: "Node", start: int, length: int) -> bool:
    """Whether a lock of this range says that a process uses a database. Who cannot write may only look."""
    return node.is_index and (start, length) == (_BYTE, _LENGTH) and not node.rules.read_only


class Users:
    """The databases that the processes of a machine use."""

    __slots__ = ("_files", "_guard")

    def __init__(self) -> None:
        self._files: dict[tuple[int, int], tuple[Holder, dict[tuple[bytes, int], Fid]]] = {}
        """By file: the machine's lock, and the fids of processes."""
        self._guard = allocate_lock()

    def take(self, fid: "Fid", owner: tuple[bytes, int], *, alone: bool) -> bool:
        """Use a database; False if another machine does, or, if this process wants to be alone, another one here. Raises
        OSError."""
        key = holders.key(fid.node)
        with self._guard:
            holder, users = self._files.get(key) or (Holder(holders.open_for(fid.node), (b"", 0), fid), {})
            if alone and any(user != owner for user in users):
                return False
            if not users and not holder.set(WRITE, _BYTE, _LENGTH):
                return False
            if owner not in users and sum(len(known) for _, known in self._files.values()) >= limits.DATABASES_MAX:
                refuse(errno.ENOLCK)
            users[owner] = fid
            self._files[key] = holder, users
            fid.has_locks = True
            return True

    def leave(self, node: "Node", owner: tuple[bytes, int]) -> None:
        """Do not use it any more."""
        key = holders.key(node)
        with self._guard:
            _, users = self._files.get(key, (None, {}))
            users.pop(owner, None)
            if not users:
                self._files.pop(key, None)

    def forget(self, fid: "Fid") -> None:
        """Give up what was used by a fid that goes."""
        with self._guard:
            for key, (_, users) in list(self._files.items()):
                for owner in [owner for owner, used in users.items() if used is fid]:
                    del users[owner]
                if not users:
                    del self._files[key]

    def in_the_way(self, node: "Node", kind: int) -> "tuple[int, int, int, int] | None":
        """As Holder.in_the_way; None if no process of this machine uses the database."""
        found = self._files.get(holders.key(node))
        return found[0].in_the_way(kind, _BYTE, _LENGTH) if found else None

    def clear(self) -> None:
        with self._guard:
            self._files = {}
