"""One share: a directory of the host, and the state of the guest's client that uses it."""

import errno
import os
import stat

from runx.exec.ninep import nodes
from runx.exec.ninep.fids import Fids
from runx.exec.ninep.holders import Locks
from runx.exec.ninep.nodes import Devices, Node, Rules, refuse
from runx.exec.ninep.wal import Users

TYPE_CHECKING = False  # as typing's, which costs the server memory
if TYPE_CHECKING:
    from runx.exec.ninep.changes import Changes


class Share:
    """See the module."""

    def __init__(self, directory: int, rules: Rules, entries: "dict[bytes, Rules] | None" = None) -> None:
        """directory: an O_PATH descriptor of the directory that is shared; it is the share's from now on.

        entries: rules for the entries of that directory, which itself cannot be written to then; others do not exist for the
        guest.
        """
        self.devices = Devices()
        self.entries = entries
        self.root = Node(directory, self.devices, Rules(read_only=True, no_devices=True) if entries is not None else rules)
        self.message_max = 0
        """Bytes of a message, as agreed with the guest; 0 before that."""
        self.fids = Fids()
        self.locks = Locks()
        self.databases = Users()
        self.changes: Changes | None = None
        """What takes a container's changes, if the share is for that."""

    def offer(self, name: bytes, rules: Rules) -> None:
        """Have an entry of the directory exist for the guest, with these rules; for one that exists they hold from now on."""
        if self.entries is None:
            self.entries = {}
        known = self.entries.get(name)
        if known is None:
            self.entries[name] = rules
        else:
            known.change(rules)  # nodes that the guest has of it share the object

    def withdraw(self, name: bytes) -> None:
        """Have an entry exist no more."""
        if self.entries:
            self.entries.pop(name, None)

    def reset(self) -> None:
        """Forget the client: its fids, its locks, and what was agreed."""
        self.message_max = 0
        self.fids.clear()
        self.locks.clear()
        self.databases.clear()

    def step(self, node: Node, name: bytes) -> Node:
        """The node of an entry of a directory. Raises OSError."""
        rules = node.rules
        if node is self.root and self.entries is not None:
            found = self.entries.get(name)
            if found is None:
                refuse(errno.ENOENT)
            rules = found
        return nodes.step(node, name, self.devices, rules)


def open_directory(path: str) -> int:
    """An O_PATH descriptor of a directory, for Share. Raises OSError."""
    fd = os.open(path, nodes.STEP)
    if not stat.S_ISDIR(os.fstat(fd).st_mode):
        os.close(fd)
        refuse(errno.ENOTDIR)
    return fd
