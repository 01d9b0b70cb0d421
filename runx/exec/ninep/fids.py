"""Fids: the numbers by which the guest names files."""

import errno

from runx.exec.ninep import limits, wire
from runx.exec.ninep.limits import Budget
from runx.exec.ninep.nodes import refuse

TYPE_CHECKING = False  # as typing's, which costs the server memory
if TYPE_CHECKING:
    from runx.exec.ninep.attribute import Attribute
    from runx.exec.ninep.nodes import Node, OpenFile, Taker


class Fid:
    """A file that the guest names by a number. A request that is under way holds it, even if the guest gives it up meanwhile."""

    __slots__ = ("attribute", "file", "has_locks", "node", "uid")

    def __init__(self, node: "Node", uid: int) -> None:
        self.node = node
        self.uid = uid
        """The guest's user that it is for: owner of what is made by it."""
        self.file: OpenFile | None = None
        self.attribute: Attribute | Taker | None = None
        """An extended attribute that is read or written by it, or what a container has written, in place of the file."""
        self.has_locks = False


class Fids:
    """The fids of a share."""

    __slots__ = ("_fids", "attributes", "opened")

    def __init__(self) -> None:
        self._fids: dict[int, Fid] = {}
        self.opened = Budget(limits.OPEN_MAX)
        self.attributes = Budget(limits.ATTRIBUTES_MAX)
        """Bytes of extended attributes."""

    def get(self, number: int) -> Fid:
        """Raises OSError EBADF if there is none of this number."""
        fid = self._fids.get(number)
        if fid is None:
            refuse(errno.EBADF)
        return fid

    def find(self, number: int) -> Fid | None:
        return self._fids.get(number)

    def add(self, number: int, fid: Fid) -> None:
        """Raises OSError if the number is taken, or there are too many."""
        if number == wire.NOFID:
            refuse(errno.EBADF)
        if len(self._fids) >= limits.FIDS_MAX:
            refuse(errno.ENFILE)
        if self._fids.setdefault(number, fid) is not fid:
            refuse(errno.EBADF)

    def replace(self, number: int, fid: Fid) -> None:
        self._fids[number] = fid

    def remove(self, number: int) -> Fid:
        """Raises OSError EBADF if there is none of this number."""
        fid = self._fids.pop(number, None)
        if fid is None:
            refuse(errno.EBADF)
        return fid

    def clear(self) -> None:
        self._fids = {}

    def __len__(self) -> int:
        return len(self._fids)
