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
    from runx.exec.ninep.nodes import Taker


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
        """Have an entry exist no more. One that takes changes takes nothing more, whoever has it open."""
        rules = self.entries.pop(name, None) if self.entries else None
        if rules and rules.changes:
            rules.changes.close()

    def take_changes(self, name: bytes, root: bytes, size: int) -> None:
        """Have an entry take what a container has written, at most `size` bytes, for the directory beside it that is its root
        filesystem. Raises OSError."""
        # Few servers do this. A server in its jail has loaded it before (process.py).
        from runx.exec.ninep.changes import Changes
        from runx.exec.ninep.layer import Root

        self.withdraw(name)
        changes = Changes(Root(os.open(root, nodes.STEP | os.O_DIRECTORY, dir_fd=self.root.fd)))
        changes.allow(size)
        self.offer(name, Rules(read_only=True, changes=changes))

    def changes(self, name: bytes) -> "Taker | None":
        """What an entry has taken; None if it takes nothing."""
        rules = self.entries.get(name) if self.entries else None
        return rules.changes if rules else None

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
