"""Entries of a root filesystem, made complete in a directory of their own, SCRATCH, before they get their names.

Each step is one name, from a descriptor, and follows nothing. What a guest may send is checked by the caller (layer.py), but for
values that calls of the host would take for something else.
"""

import errno
import os
import stat

from runx.exec.ninep import wire
from runx.exec.ninep.attribute import is_guests
from runx.exec.ninep.export_names import SCRATCH
from runx.exec.ninep.nodes import refuse
from runx.exec.ninep.removal import LIST, remove_all

_NEW = b"new"
_SCRATCH = SCRATCH.encode()
_MAKE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_IN_THE_WAY = (errno.EISDIR, errno.ENOTDIR, errno.ENOTEMPTY, errno.EEXIST)


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


class Entry:
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

    def remove_other_attributes(self) -> None:
        """Remove what has not come, of a directory that was there before. Raises OSError."""
        try:
            names = [os.fsencode(name) for name in os.listxattr(b"%d" % self.fd)]
        except OSError as error:
            if error.errno != errno.EOPNOTSUPP:
                raise
            return
        for name in names:
            if is_guests(name) and name not in self.attributes:
                os.removexattr(b"%d" % self.fd, name)


class Scratch:
    """The directory in which entries are made. It may be left if the server, or dom0, was killed: it is made anew. Methods raise
    OSError."""

    def __init__(self, top: int) -> None:
        """top: of the root filesystem, to read; it stays its owner's."""
        remove_all(top, _SCRATCH)
        os.mkdir(_SCRATCH, 0o700, dir_fd=top)
        self._fd = os.open(_SCRATCH, LIST, dir_fd=top)
        os.fchmod(self._fd, 0o700)  # without the set-id bit of the group, which files in it would inherit
        try:
            os.removexattr(b"%d" % self._fd, b"system.posix_acl_default")
        except OSError as error:
            if error.errno not in (errno.ENODATA, errno.EOPNOTSUPP):
                raise

    def make(self, entry: Entry, device: int, target: bytes) -> None:
        """Make a file, directory, symbolic link, fifo, socket or node of a device, without its facts."""
        if entry.kind == stat.S_IFREG:
            entry.fd = os.open(_NEW, _MAKE, 0o600, dir_fd=self._fd)
        elif entry.kind == stat.S_IFDIR:
            os.mkdir(_NEW, 0o700, dir_fd=self._fd)
            entry.fd = os.open(_NEW, LIST, dir_fd=self._fd)
        elif entry.kind == stat.S_IFLNK:
            os.symlink(target, _NEW, dir_fd=self._fd)
        else:
            os.mknod(_NEW, entry.kind | 0o600, device, dir_fd=self._fd)

    def give_facts(self, entry: Entry) -> None:
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
        os.chown(_NEW, facts.uid, facts.gid, dir_fd=self._fd, follow_symlinks=False)
        if entry.kind != stat.S_IFLNK:
            os.chmod(_NEW, facts.mode & 0o7777, dir_fd=self._fd)
        os.utime(_NEW, ns=(facts.atime_ns, facts.mtime_ns), dir_fd=self._fd, follow_symlinks=False)

    def set_attribute(self, entry: Entry, name: bytes, value: bytes) -> None:
        """Set an extended attribute, one that a guest may set."""
        entry.attributes.add(name)
        self.give_facts(entry)
        if not is_guests(name):
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
        if entry.fd >= 0:
            os.setxattr(b"%d" % entry.fd, name, value)
        else:
            os.setxattr(b"%d/%s" % (self._fd, _NEW), name, value, follow_symlinks=False)

    def name(self, here: int, name: bytes) -> None:
        """Give what was made its name in a directory, in the place of what has it."""
        try:
            os.rename(_NEW, name, src_dir_fd=self._fd, dst_dir_fd=here)
        except OSError as error:
            if error.errno not in _IN_THE_WAY:
                raise
            remove_all(here, name)
            os.rename(_NEW, name, src_dir_fd=self._fd, dst_dir_fd=here)

    def link(self, directory: int, old: bytes, here: int, name: bytes) -> None:
        """Give a file a further name, as `name`. old: its first one, in a directory."""
        os.link(old, _NEW, src_dir_fd=directory, dst_dir_fd=self._fd, follow_symlinks=False)
        self.name(here, name)
        self.remove_new()  # rename(2) does nothing if both names are of one file already: then it came earlier

    def remove_new(self) -> None:
        """Remove what was made and has no name yet, if there is something."""
        remove_all(self._fd, _NEW)

    def close(self) -> None:
        """Let go of the directory, which stays."""
        os.close(self._fd)


def remove_scratch(top: int) -> None:
    """Remove the directory of the entries. Raises OSError."""
    remove_all(top, _SCRATCH)
