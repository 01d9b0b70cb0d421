"""A root filesystem of the host while it takes what a container has written, when the container ends (docs/decisions/0014, 0016).

What has come is in the order of the directories: each entry is begun, gets its data and attributes, and is placed. It is made
complete in a directory of its own, SCRATCH, and then renamed: whenever this ends, each name of the root filesystem is the old
file, or the new one, or is missing. A guest sees the same in all three cases, as its layer stays above until everything is there.

The guest names single entries of the directory that it has entered, and paths for links. Each step is one name, from a
descriptor, and follows nothing (nodes.py). So nothing outside the root filesystem is touched, whatever a guest sends.
"""

import errno
import os
import stat

from runx.errors import reason
from runx.exec.ninep import nodes, wire
from runx.exec.ninep.attribute import is_guests
from runx.exec.ninep.export_names import SCRATCH
from runx.exec.ninep.nodes import checked, refuse
from runx.linux.mount import sync_file_system

TYPE_CHECKING = False  # as typing's, which costs the server memory
if TYPE_CHECKING:
    from typing import NoReturn

DEPTH_MAX = 8192
"""Directories in each other; a descriptor of the server's for each."""
_ENTRY_BYTES = 1024
"""A file system has one file for so many bytes of its own, at most (mke2fs(8), -i)."""
_REMOVE_ATTEMPTS = 16
_NEW = b"new"
_SCRATCH = SCRATCH.encode()
_LIST = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MAKE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_STEP = nodes.STEP | os.O_DIRECTORY
_IN_THE_WAY = (errno.EISDIR, errno.ENOTDIR, errno.ENOTEMPTY, errno.EEXIST)
_NOT_TAKEN = (errno.EOPNOTSUPP, errno.EPERM)
_NODES = (stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFCHR, stat.S_IFBLK)
_PATH_SHOWN = 300
"""Bytes of a path in a message, at most."""


class Facts:
    """Owner, mode and times of an entry."""

    __slots__ = ("atime_ns", "gid", "mode", "mtime_ns", "uid")

    def __init__(self, mode: int, uid: int, gid: int, atime_ns: int, mtime_ns: int) -> None:
        """Raises OSError for a user or group that is none; chown(2) would take it for no change."""
        if wire.NOBODY in (uid, gid):
            refuse(errno.EINVAL)
        self.mode, self.uid, self.gid = mode, uid, gid
        self.atime_ns, self.mtime_ns = atime_ns, mtime_ns

    def give(self, fd: int) -> None:
        """Set them, of an open file or directory. The mode comes after the owner, whose change clears set-id bits."""
        os.fchown(fd, self.uid, self.gid)
        os.fchmod(fd, self.mode & 0o7777)
        os.utime(fd, ns=(self.atime_ns, self.mtime_ns))


class _Level:
    """A directory that has been entered."""

    __slots__ = ("facts", "fd", "name")

    def __init__(self, fd: int, name: bytes, facts: Facts) -> None:
        self.fd = fd
        self.name = name
        self.facts = facts
        """Set when it is left: each name that is made in it changes its time."""


class _Entry:
    """The entry that is being made."""

    __slots__ = ("at", "attributes", "facts", "fd", "has_facts", "is_there", "kind", "name", "size")

    def __init__(self, name: bytes, facts: Facts, size: int) -> None:
        self.name = name
        self.facts = facts
        self.kind = stat.S_IFMT(facts.mode)
        self.size = size
        self.fd = -1
        """Of a file or directory."""
        self.at = 0
        """The end of what has come of a file's data."""
        self.is_there = False
        """It is a directory that stays, with what is in it."""
        self.has_facts = False
        self.attributes: set[bytes] = set()


class Problem(Exception):
    """The root filesystem cannot take it: with the place, for people."""


class Root:
    """See the module. Methods raise Problem, after which nothing more is taken."""

    def __init__(self, directory: int) -> None:
        """directory: an O_PATH descriptor of the root filesystem; it is this object's from now on."""
        self._directory = directory
        self._levels: list[_Level] = []
        self._entry: _Entry | None = None
        self._scratch = -1
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
        entry = self._entry = _Entry(name, facts, size)
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
            self._make(entry, device, target)
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
        entry.attributes.add(name)
        try:
            self._give_facts(entry)
            if not is_guests(name):
                raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
            if entry.fd >= 0:
                os.setxattr(b"%d" % entry.fd, name, value)
            else:
                os.setxattr(b"%d/%s" % (self._scratch, _NEW), name, value, follow_symlinks=False)
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
                self._remove_other_attributes(entry)
            else:
                self._give_facts(entry)
                what = "giving it its name"
                self._rename(entry.name)
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
            _remove_all(self._here(), name)
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
                os.link(checked(last), _NEW, src_dir_fd=directory, dst_dir_fd=self._scratch, follow_symlinks=False)
            finally:
                os.close(directory)
            self._rename(name)
            self._remove_new()  # rename(2) does nothing if both names are of one file already: then it came earlier
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
            _remove_all(top.fd, _SCRATCH)
            top.facts.give(top.fd)
        except OSError as error:
            self._fail("owner, mode and times", error)

    def clean_up(self) -> None:
        """Remove what is not complete, after a problem, as far as that goes."""
        try:
            self._remove_new()
            os.rmdir(_SCRATCH, dir_fd=self._directory)
        except OSError:
            pass  # the next one does

    def close(self) -> None:
        """Let go of all that is open. Nothing can be taken then."""
        entry = self._entry
        for fd in (self._directory, self._scratch, entry.fd if entry else -1, *(level.fd for level in self._levels)):
            if fd >= 0:
                os.close(fd)
        self._directory = self._scratch = -1
        self._entry = None
        self._levels = []

    def sync(self) -> None:
        """Have the host's file system write all to its disk. Raises OSError."""
        fd = os.open(b".", _LIST, dir_fd=self._directory)
        try:
            sync_file_system(fd)
        finally:
            os.close(fd)

    # -- entries -------------------------------------------------------------------------------------------------------

    def _begin_top(self, name: bytes, entry: _Entry) -> None:
        if name or entry.kind != stat.S_IFDIR:
            self._break()
        entry.fd = os.open(b".", _LIST, dir_fd=self._directory)
        entry.is_there = True
        # It may be left of a call that was interrupted.
        _remove_all(entry.fd, _SCRATCH)
        os.mkdir(_SCRATCH, 0o700, dir_fd=entry.fd)
        self._scratch = os.open(_SCRATCH, _LIST, dir_fd=entry.fd)
        os.fchmod(self._scratch, 0o700)  # without the set-id bit of the group, which files in it would inherit
        try:
            os.removexattr(b"%d" % self._scratch, b"system.posix_acl_default")
        except OSError as error:
            if error.errno not in (errno.ENODATA, errno.EOPNOTSUPP):
                raise

    def _enter_existing(self, entry: _Entry) -> bool:
        try:
            entry.fd = os.open(entry.name, _LIST, dir_fd=self._here())
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.ELOOP):
                raise
            return False
        entry.is_there = True
        return True

    def _make(self, entry: _Entry, device: int, target: bytes) -> None:
        self._here()
        if entry.kind == stat.S_IFREG:
            entry.fd = os.open(_NEW, _MAKE, 0o600, dir_fd=self._scratch)
        elif entry.kind == stat.S_IFDIR:
            os.mkdir(_NEW, 0o700, dir_fd=self._scratch)
            entry.fd = os.open(_NEW, _LIST, dir_fd=self._scratch)
        elif entry.kind == stat.S_IFLNK:
            if b"\0" in target:
                self._break()
            os.symlink(target, _NEW, dir_fd=self._scratch)
        elif entry.kind in _NODES and not (entry.kind == stat.S_IFCHR and not device):  # that would be a mark of an overlay
            os.mknod(_NEW, entry.kind | 0o600, device, dir_fd=self._scratch)
        else:
            self._break()

    def _give_facts(self, entry: _Entry) -> None:
        """Set what follows the data, once: writing changes times and clears attributes."""
        if entry.has_facts or entry.is_there:
            return
        entry.has_facts = True
        facts = entry.facts
        if entry.kind == stat.S_IFREG and entry.at < entry.size:
            os.ftruncate(entry.fd, entry.size)
        if entry.fd >= 0:
            facts.give(entry.fd)
            return
        os.chown(_NEW, facts.uid, facts.gid, dir_fd=self._scratch, follow_symlinks=False)
        if entry.kind != stat.S_IFLNK:
            os.chmod(_NEW, facts.mode & 0o7777, dir_fd=self._scratch)
        os.utime(_NEW, ns=(facts.atime_ns, facts.mtime_ns), dir_fd=self._scratch, follow_symlinks=False)

    def _remove_other_attributes(self, entry: _Entry) -> None:
        """Of a directory that was there before."""
        try:
            names = [os.fsencode(name) for name in os.listxattr(b"%d" % entry.fd)]
        except OSError as error:
            if error.errno != errno.EOPNOTSUPP:
                raise
            return
        for name in names:
            if is_guests(name) and name not in entry.attributes:
                os.removexattr(b"%d" % entry.fd, name)

    def _rename(self, name: bytes) -> None:
        here = self._here()
        try:
            os.rename(_NEW, name, src_dir_fd=self._scratch, dst_dir_fd=here)
        except OSError as error:
            if error.errno not in _IN_THE_WAY:
                raise
            _remove_all(here, name)
            os.rename(_NEW, name, src_dir_fd=self._scratch, dst_dir_fd=here)
        self.names += 1

    def _remove_new(self) -> None:
        try:
            _remove_all(self._scratch, _NEW)
        except FileNotFoundError:
            pass

    # -- rules and words -----------------------------------------------------------------------------------------------

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


class _Tree:
    """A directory that is being removed."""

    __slots__ = ("attempts", "fd", "left", "name")

    def __init__(self, directory: int, name: bytes) -> None:
        self.name = name
        self.fd = os.open(name, _LIST, dir_fd=directory)
        self.attempts = 0
        self.look()

    def look(self) -> None:
        self.left = iter(os.listdir(self.fd))


def _remove_all(directory: int, name: bytes) -> None:
    """Remove an entry with all below it; it need not exist. Raises OSError. A tree may be deeper than Python calls functions."""
    if _unlink(directory, name):
        return
    trees = [_Tree(directory, name)]
    try:
        while trees:
            tree = trees[-1]
            below = next((found for found in map(os.fsencode, tree.left) if not _unlink(tree.fd, found)), None)
            if below is not None:
                trees.append(_Tree(tree.fd, below))
                continue
            try:
                os.rmdir(tree.name, dir_fd=trees[-2].fd if len(trees) > 1 else directory)
            except OSError as error:
                # Names may be left out of a list while others are removed.
                tree.attempts += 1
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST) or tree.attempts >= _REMOVE_ATTEMPTS:
                    raise
                tree.look()
                continue
            os.close(trees.pop().fd)
    finally:
        for tree in trees:
            os.close(tree.fd)


def _unlink(directory: int, name: bytes) -> bool:
    """Remove an entry that is no directory; True if there is none of that name now. Raises OSError."""
    try:
        os.unlink(name, dir_fd=directory)
    except FileNotFoundError:
        pass
    except OSError as error:
        if error.errno not in (errno.EISDIR, errno.EPERM):
            raise
        return False
    return True


def _why(error: OSError) -> str:
    return reason(error) if error.strerror else os.strerror(error.errno or errno.EIO).lower()
