"""Mounts and namespaces: mount(2), unshare(2) and setns(2), for which Python 3.11 has no functions."""

import os
import struct

from runx.linux import libc

CLONE_NEWNS = 0x00020000
"""A mount namespace. These and the flags below are the kernel's numbers, the same on every architecture (linux/sched.h)."""
CLONE_NEWNET = 0x40000000
"""A network namespace."""
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
NAMESPACES = CLONE_NEWNS | CLONE_NEWNET | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER | CLONE_NEWPID
"""All that clone(2) makes."""

# linux/mount.h
MS_RDONLY = 1 << 0
MS_NOSUID = 1 << 1
MS_NODEV = 1 << 2
MS_NOEXEC = 1 << 3
MS_REMOUNT = 1 << 5
MS_NOSYMFOLLOW = 1 << 8
MS_BIND = 1 << 12
MS_REC = 1 << 14
MS_PRIVATE = 1 << 18
MS_SLAVE = 1 << 19
MS_SHARED = 1 << 20

_mount = libc.function("mount", "zzzLz")
_umount2 = libc.function("umount2", "zi")
_pivot_root = libc.function("pivot_root", "zz")
_unshare = libc.function("unshare", "i")
_setns = libc.function("setns", "ii")
_syncfs = libc.function("syncfs", "i")
_open_tree = libc.function("syscall", "lizL")
_move_mount = libc.function("syscall", "lizizL")
_mount_setattr = libc.function("syscall", "lizLPL")


def mount(source: str, target: str, flags: int, kind: str = "", data: str = "") -> None:
    """Mount `source` at `target`, or change the mount there. Raises OSError that names `source`.

    flags: MS_*. kind: the type of the file system; a bind has none. data: the file system's own options, separated by commas.
    """
    words = (os.fsencode(source), os.fsencode(target), os.fsencode(kind) or None)
    libc.check(_mount(*words, flags, os.fsencode(data) or None), source)


_MNT_DETACH = 2


def unmount(target: str) -> None:
    """Take a mount and those below it out of this mount namespace; they last as long as they are in use. Raises OSError."""
    libc.check(_umount2(os.fsencode(target), _MNT_DETACH), target)


_SYS_MOUNT_SETATTR = 442
"""Number of the system call, the same on every architecture."""
_AT_FDCWD, _AT_RECURSIVE, _MOUNT_ATTR_RDONLY = -100, 0x8000, 1


def make_read_only(target: str) -> None:
    """Make a mount and all mounts below it read-only, in this mount namespace alone (mount_setattr(2)). Raises OSError."""
    attributes = struct.pack("=QQQQ", _MOUNT_ATTR_RDONLY, 0, 0, 0)  # set, clear, propagation, user namespace
    result = _mount_setattr(_SYS_MOUNT_SETATTR, _AT_FDCWD, os.fsencode(target), _AT_RECURSIVE, attributes, len(attributes))
    libc.check(result, target)


_SYS_OPEN_TREE, _SYS_MOVE_MOUNT = 428, 429
_OPEN_TREE_CLONE, _MOVE_FROM_EMPTY_PATH = 1, 4


def copy_tree(path: str) -> int:
    """A descriptor of a copy of the mounts at and below a path, attached nowhere (open_tree(2)). Raises OSError."""
    flags = _OPEN_TREE_CLONE | os.O_CLOEXEC | _AT_RECURSIVE
    return libc.check(_open_tree(_SYS_OPEN_TREE, _AT_FDCWD, os.fsencode(path), flags), path)


def attach_tree(tree: int, target: str) -> None:
    """Attach the mounts of such a descriptor at a path of this mount namespace (move_mount(2)). Raises OSError."""
    words = (tree, b"", _AT_FDCWD, os.fsencode(target), _MOVE_FROM_EMPTY_PATH)
    libc.check(_move_mount(_SYS_MOVE_MOUNT, *words), target)


def sync_file_system(fd: int) -> None:
    """Have the file system of a descriptor write all to its disk (syncfs(2)). Raises OSError."""
    libc.check(_syncfs(fd), "")


def pivot_root(new: str, old: str) -> None:
    """Make the mount `new` the root directory, and attach the old one at `old` (pivot_root(2)). Raises OSError."""
    libc.check(_pivot_root(os.fsencode(new), os.fsencode(old)), new)


def unshare(namespaces: int) -> None:
    """Move this process into new namespaces, CLONE_NEW*. Raises OSError."""
    libc.check(_unshare(namespaces), "unshare")


def private_mounts() -> None:
    """Move this process into a new mount namespace, out of which and into which no mount is propagated. Raises OSError."""
    unshare(CLONE_NEWNS)
    mount("none", "/", MS_REC | MS_PRIVATE)


def setns(descriptor: int, kind: int) -> None:
    """Move this process into the namespace that a descriptor stands for, of the kind CLONE_NEW*. Raises OSError."""
    libc.check(_setns(descriptor, kind), "setns")
