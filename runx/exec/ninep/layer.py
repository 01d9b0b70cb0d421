"""A root filesystem of the host while it takes what a container has written, when the container ends (docs/decisions/0014, 0016).

What has come is in the order of the directories: each entry is begun, gets its data and attributes, and is placed. It is made
complete in a directory of its own and then renamed (making.py): whenever this ends, each name of the root filesystem is the old
file, or the new one, or is missing. A guest sees the same in all three cases, as its layer stays above until everything is there.

The guest names single entries of the directory that it has entered, and paths for links. Each step is one name, from a
descriptor, and follows nothing (nodes.py). So nothing outside the root filesystem is touched, whatever a guest sends.
"""

import errno
import os
import stat

from runx.errors import reason
from runx.exec.ninep import nodes
from runx.exec.ninep.making import Entry, Facts, Scratch, remove_scratch
from runx.exec.ninep.nodes import checked
from runx.exec.ninep.removal import LIST, remove_all
from runx.linux.mount import sync_file_system

TYPE_CHECKING = False  # as typing's, which costs the server memory
if TYPE_CHECKING:
    from typing import NoReturn

DEPTH_MAX = 8192
"""Directories in each other; a descriptor of the server's for each."""
_ENTRY_BYTES = 1024
"""A file system has one file for so many bytes of its own, at most (mke2fs(8), -i)."""
_STEP = nodes.STEP | os.O_DIRECTORY
_NOT_TAKEN = (errno.EOPNOTSUPP, errno.EPERM)
_KINDS = (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK, stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFCHR, stat.S_IFBLK)
_PATH_SHOWN = 300
"""Bytes of a path in a message, at most."""


class _Level:
    """A directory that has been entered."""

    __slots__ = ("facts", "fd", "name")

    def __init__(self, fd: int, name: bytes, facts: Facts) -> None:
        self.fd = fd
        self.name = name
        self.facts = facts
        """Set when it is left: each name that is made in it changes its time."""


class Problem(Exception):
    """The root filesystem cannot take it: with the place, for people."""


class Root:
    """See the module. Methods raise Problem, after which nothing more is taken."""

    def __init__(self, directory: int) -> None:
        """directory: an O_PATH descriptor of the root filesystem; it is this object's from now on."""
        self._directory = directory
        self._levels: list[_Level] = []
        self._entry: Entry | None = None
        self._scratch: Scratch | None = None
        self._path: bytes | None = None
        self.bytes_left = 0
        self.entries_left = 0
        self.bytes = 0
        """Of data."""
        self.names = 0
        """Names that were made, replaced or removed."""
        self.problem = ""
        """What was left out, though all else goes on: the first of it."""

    def allow(self, size: int) -> None:
        """Take no more data than `size` bytes in all, and no more files than a file system of that size may have."""
        self.bytes_left = size
        self.entries_left = size // _ENTRY_BYTES

    # -- what a guest sends --------------------------------------------------------------------------------------------

    def begin(self, name: bytes, facts: Facts, device: int, size: int, target: bytes, *, is_opaque: bool) -> None:
        """Begin an entry of the directory that was entered last; the first one is the top, without a name.

        device: of a node. size: of a file. target: of a symbolic link. is_opaque: a directory hides all that was there.
        """
        self._finished()
        entry = self._entry = Entry(name, facts, size)
        try:
            if not self._levels:
                self._begin_top(name, entry)
                return
            checked(name)
            if len(self._levels) >= DEPTH_MAX:
                self._fail(f"more than {DEPTH_MAX} directories in each other")
            if entry.kind == stat.S_IFDIR and not is_opaque and self._enter_existing(entry):
                return
            self.entries_left -= 1
            if self.entries_left < 0:
                self._fail("more files than its layer can hold")
            self._check_kind(entry, device, target)
            self._made.make(entry, device, target)
        except OSError as error:
            self._fail("making it", error)

    def data(self, offset: int, data: "bytes | memoryview") -> None:
        """Write data of a file, in the order of its offsets."""
        entry = self._entry
        if entry is None or entry.kind != stat.S_IFREG or entry.has_facts or offset < entry.at:
            self._break()
        self.bytes_left -= len(data)
        if self.bytes_left < 0:
            self._fail("more data than its layer can hold")
        try:
            while data:
                count = os.pwrite(entry.fd, data, offset)
                offset += count
                self.bytes += count
                data = data[count:]
        except OSError as error:
            self._fail("writing it", error)
        entry.at = offset

    def attribute(self, name: bytes, value: bytes) -> None:
        """Set an extended attribute. One that the guest must not set is a problem that lets the others go on."""
        entry = self._entry
        if entry is None or b"\0" in name:
            self._break()
        try:
            self._made.set_attribute(entry, name, value)
        except OSError as error:
            what = name.decode("utf-8", "backslashreplace")
            if error.errno not in _NOT_TAKEN:
                self._fail(what, error)
            self.problem = self.problem or self._words(what, error)

    def place(self) -> None:
        """Give the entry its name, and enter it if it is a directory."""
        entry = self._entry
        if entry is None:
            self._break()
        what = "owner, mode and times"
        try:
            if entry.is_there:
                what = "its attributes"
                entry.remove_other_attributes()
            else:
                self._made.give_facts(entry)
                what = "giving it its name"
                self._made.name(self._here(), entry.name)
                self.names += 1
        except OSError as error:
            self._fail(what, error)
        self._entry = None
        if entry.kind == stat.S_IFDIR:
            self._levels.append(_Level(entry.fd, entry.name, entry.facts))
        elif entry.fd >= 0:
            os.close(entry.fd)

    def leave(self) -> None:
        """Leave the directory that was entered last."""
        self._finished()
        if len(self._levels) < 2:
            self._break()
        try:
            self._levels[-1].facts.give(self._levels[-1].fd)
        except OSError as error:
            self._fail("owner, mode and times", error)
        os.close(self._levels.pop().fd)

    def remove(self, name: bytes) -> None:
        """Remove an entry with all below it; it need not exist."""
        self._finished()
        self._path = name
        try:
            checked(name)
            remove_all(self._here(), name)
        except OSError as error:
            self._fail("removing it", error)
        self.names += 1
        self._path = None

    def link(self, name: bytes, path: bytes) -> None:
        """Give a file a further name. path: its first one, from the top."""
        self._finished()
        self._here()
        self._path = name
        *above, last = path.split(b"/")
        try:
            checked(name)
            directory = os.open(b".", _STEP, dir_fd=self._levels[0].fd)
            try:
                for part in above:
                    below = os.open(checked(part), _STEP, dir_fd=directory)
                    os.close(directory)
                    directory = below
                self._made.link(directory, checked(last), self._here(), name)
            finally:
                os.close(directory)
            self.names += 1
        except OSError as error:
            self._fail("linking it", error)
        self._path = None

    def finish(self) -> None:
        """All has come: the top is left as the last one."""
        self._finished()
        if len(self._levels) != 1:
            self._break()
        (top,) = self._levels
        try:
            remove_scratch(top.fd)
            top.facts.give(top.fd)
        except OSError as error:
            self._fail("owner, mode and times", error)

    def clean_up(self) -> None:
        """Remove what is not complete, after a problem, as far as that goes."""
        try:
            remove_scratch(self._directory)
        except OSError:
            pass  # the next one does

    def close(self) -> None:
        """Let go of all that is open. Nothing can be taken then."""
        entry = self._entry
        for fd in (self._directory, entry.fd if entry else -1, *(level.fd for level in self._levels)):
            if fd >= 0:
                os.close(fd)
        if self._scratch:
            self._scratch.close()
        self._directory, self._scratch = -1, None
        self._entry = None
        self._levels = []

    def sync(self) -> None:
        """Have the host's file system write all to its disk. Raises OSError."""
        fd = os.open(b".", LIST, dir_fd=self._directory)
        try:
            sync_file_system(fd)
        finally:
            os.close(fd)

    # -- entries -------------------------------------------------------------------------------------------------------

    def _begin_top(self, name: bytes, entry: Entry) -> None:
        if name or entry.kind != stat.S_IFDIR:
            self._break()
        entry.fd = os.open(b".", LIST, dir_fd=self._directory)
        entry.is_there = True
        self._scratch = Scratch(entry.fd)

    def _enter_existing(self, entry: Entry) -> bool:
        try:
            entry.fd = os.open(entry.name, LIST, dir_fd=self._here())
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                raise
            return False
        entry.is_there = True
        return True

    # -- rules and words -----------------------------------------------------------------------------------------------

    def _check_kind(self, entry: Entry, device: int, target: bytes) -> None:
        is_mark = entry.kind == stat.S_IFCHR and not device  # of an overlay, for a name that was removed
        if entry.kind not in _KINDS or is_mark or (entry.kind == stat.S_IFLNK and b"\0" in target):
            self._break()

    @property
    def _made(self) -> Scratch:
        """Where entries are made."""
        if self._scratch is None:
            self._break()
        return self._scratch

    def _here(self) -> int:
        """The directory that was entered last."""
        if not self._levels:
            self._break()
        return self._levels[-1].fd

    def _finished(self) -> None:
        if self._entry is not None:
            self._break()

    def _break(self) -> "NoReturn":
        self._fail("the virtual machine broke a rule of what it sends")

    def _fail(self, what: str, error: "OSError | None" = None) -> "NoReturn":
        raise Problem(self._words(what, error)) from None

    def _words(self, what: str, error: "OSError | None") -> str:
        last = self._entry.name if self._entry else self._path
        names = [level.name for level in self._levels[1:]] + ([last] if last else [])
        path = b"/" + b"/".join(names)[:_PATH_SHOWN]
        return f"{path.decode('utf-8', 'backslashreplace')}: {what}" + (f": {_why(error)}" if error else "")


def _why(error: OSError) -> str:
    return reason(error) if error.strerror else os.strerror(error.errno or errno.EIO).lower()
