"""Files of the host as the server holds them: by descriptors, never by paths.

A node is a descriptor that names a file and does nothing else (O_PATH). It is made by one step from the node of a directory, and
nothing is followed in that step. So it is always that file, whatever becomes of its name, and none outside the share.

Some calls of Linux take no such descriptor. For these, the working directory of the server is /proc/self/fd, in which the name of
a node is the number of its descriptor. The kernel goes to the very file by it.
"""

import errno
import os
import stat

from runx.exec.ninep import wire

TYPE_CHECKING = False  # as typing's, which costs the server memory
if TYPE_CHECKING:
    from typing import NoReturn, Protocol

    from runx.exec.ninep.limits import Budget

    class Taker(Protocol):
        """What is written in the place of a file: what a container has written (changes.py)."""

        value: bytes

        def write(self, offset: int, data: "bytes | memoryview") -> None:
            """Take what follows. Raises OSError."""

        def finish(self, node: "Node") -> None:
            """The guest has closed it. Raises OSError."""

        def settled(self) -> str:
            """See changes.py."""

        def close(self) -> None:
            """Take nothing more."""


STEP = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_QID_TYPES = {stat.S_IFDIR: wire.QID_DIRECTORY, stat.S_IFLNK: wire.QID_SYMLINK}
_PATH_BITS = (1 << 64) - 1
NAME_MAX = 255


def refuse(code: int) -> "NoReturn":
    """Answer the request with an error: raise OSError with this errno."""
    raise OSError(code, "")


class Rules:
    """What the guest may do below a certain directory."""

    __slots__ = ("changes", "no_capabilities", "no_devices", "no_set_id", "read_only")

    def __init__(
        self,
        *,
        read_only: bool = False,
        no_devices: bool = False,
        no_set_id: bool = False,
        no_capabilities: bool = False,
        changes: "Taker | None" = None,
    ) -> None:
        self.read_only = read_only
        self.changes = changes
        """Of a file that takes what a container has written."""
        self.no_devices = no_devices
        """Nodes of devices cannot be made."""
        self.no_set_id = no_set_id
        """Files cannot be given set-id bits. For directories they mean no rights."""
        self.no_capabilities = no_capabilities
        """Files cannot be given capabilities."""

    def change(self, other: "Rules") -> None:
        """Become as other rules, for all that has these."""
        for name in self.__slots__:
            setattr(self, name, getattr(other, name))

    @classmethod
    def of_words(cls, words: "list[str]") -> "Rules":
        """Rules from the words of exports.Bind."""
        return cls(
            read_only="read-only" in words,
            no_devices="no-devices" in words,
            no_set_id="no-set-id" in words,
            no_capabilities="no-capabilities" in words,
        )

    def check_mode(self, mode: int) -> None:
        """Raise OSError if a file that is no directory must not get this mode."""
        if self.no_set_id and mode & (stat.S_ISUID | stat.S_ISGID):
            refuse(errno.EPERM)


class Devices:
    """Small numbers for the file systems of a share. Files of two may have one inode number, but not one qid."""

    __slots__ = ("_numbers",)

    def __init__(self) -> None:
        self._numbers: dict[int, int] = {}

    def mark(self, device: int) -> int:
        """The bits of `qid.path` that tell this file system (st_dev) from others; 0 for the first one."""
        return (self._numbers.setdefault(device, len(self._numbers)) & 0xFFFF) << 48


class Node:
    """A file, directory, link or other node. It goes with the last fid that holds it."""

    __slots__ = ("fd", "is_index", "mark", "qid", "rules", "type")

    def __init__(self, fd: int, devices: Devices, rules: Rules, name: bytes = b"") -> None:
        """fd: its O_PATH descriptor, which is this node's from now on. name: by which it was found or made."""
        self.fd = fd
        status = os.fstat(fd)
        self.type = stat.S_IFMT(status.st_mode)
        self.mark = devices.mark(status.st_dev)
        # The version is always 0: Linux takes another version for another file, of which it has a second inode.
        self.qid = wire.QID.pack(_QID_TYPES.get(self.type, 0), 0, (status.st_ino ^ self.mark) & _PATH_BITS)
        self.rules = rules
        self.is_index = name.endswith(b"-shm")
        """Whether it may be that of a database (wal.py)."""

    def __del__(self) -> None:
        os.close(self.fd)

    @property
    def is_symlink(self) -> bool:
        return self.type == stat.S_IFLNK

    @property
    def name(self) -> bytes:
        """Its name in the working directory of the server."""
        return b"%d" % self.fd


class OpenFile:
    """A file or directory that is open for reading, writing or listing."""

    __slots__ = ("_held", "at", "fd", "nowait", "writes")

    def __init__(self, fd: int, held: "Held", *, writes: bool) -> None:
        """fd is this object's from now on. held: one part of the limit of open files, given back at the end."""
        self.fd = fd
        self._held = held
        self.writes = writes
        self.nowait = True
        """Whether its file system may know reads that do not wait (RWF_NOWAIT of preadv2(2))."""
        self.at = 0
        """The offset of a directory."""

    def __del__(self) -> None:
        os.close(self.fd)


class Held:
    """A part of a budget; gives it back when nothing refers to it any more."""

    __slots__ = ("_amount", "_budget")

    def __init__(self, budget: "Budget", amount: int, code: int) -> None:
        """Raises OSError with errno `code` if there is not so much left."""
        self._amount = 0
        self._budget = budget
        if not budget.take(amount):
            raise OSError(code, "")
        self._amount = amount

    def __del__(self) -> None:
        self._budget.give_back(self._amount)


def checked(name: bytes) -> bytes:
    """A name of one entry of a directory. Raises OSError for anything else."""
    if not name or name in (b".", b"..") or b"/" in name or b"\0" in name:
        refuse(errno.EINVAL)
    if len(name) > NAME_MAX:
        refuse(errno.ENAMETOOLONG)
    return name


def step(directory: Node, name: bytes, devices: Devices, rules: Rules) -> Node:
    """The node of an entry of a directory. Raises OSError."""
    checked(name)
    if directory.type != stat.S_IFDIR:
        refuse(errno.ENOTDIR)
    return Node(os.open(name, STEP, dir_fd=directory.fd), devices, rules, name)
