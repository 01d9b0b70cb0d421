"""System calls for which Python 3.11 has no function."""

import ctypes
import os

CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
MS_BIND, MS_REC, MS_PRIVATE = 4096, 16384, 1 << 18

_libc = ctypes.CDLL(None, use_errno=True)


def _checked(what: str, result: int) -> None:
    if result:
        error = ctypes.get_errno()
        raise OSError(error, f"{what}: {os.strerror(error)}")


def mount(source: str, target: str, fstype: str = "", flags: int = 0, data: str = "") -> None:
    """Call mount(2). Raises OSError that names the target."""
    words = [word.encode() or None for word in (source, target, fstype)]
    _checked(target, _libc.mount(*words, ctypes.c_ulong(flags), data.encode() or None))


def unmount(target: str) -> None:
    """Call umount2(2) with MNT_DETACH. Raises OSError."""
    _checked(target, _libc.umount2(target.encode(), 2))


def unshare(flags: int) -> None:
    """Call unshare(2). Raises OSError."""
    _checked("unshare", _libc.unshare(flags))


def private_mounts() -> None:
    """Enter a mount namespace of our own, without propagation to or from others."""
    unshare(CLONE_NEWNS)
    mount("none", "/", flags=MS_REC | MS_PRIVATE)


_SYS_OPEN_TREE, _SYS_MOVE_MOUNT = 428, 429
"""Numbers of the system calls, the same on every architecture."""
_OPEN_TREE_CLONE, _AT_RECURSIVE, _MOVE_FROM_EMPTY_PATH = 1, 0x8000, 4
_AT_FDCWD = -100


def tree_of(pid: int, path: str) -> int:
    """A descriptor of a copy of the mounts at and below a path, as a process sees it in its mount namespace. Raises OSError.

    This process must have no other thread.
    """
    own = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    theirs = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    try:
        _checked("setns", _libc.setns(theirs, CLONE_NEWNS))
        try:
            flags = _OPEN_TREE_CLONE | os.O_CLOEXEC | _AT_RECURSIVE
            tree: int = _libc.syscall(_SYS_OPEN_TREE, _AT_FDCWD, path.encode(), flags)
            _checked(path, tree if tree < 0 else 0)
        finally:
            _checked("setns", _libc.setns(own, CLONE_NEWNS))
    finally:
        os.close(own)
        os.close(theirs)
    return tree


_SYS_PIDFD_GETFD = 438


def descriptor_of(pid: int, number: int) -> int:
    """A copy of a descriptor of another process (pidfd_getfd(2)). Raises OSError."""
    process = os.pidfd_open(pid)
    try:
        found: int = _libc.syscall(_SYS_PIDFD_GETFD, process, number, 0)
        _checked(f"pidfd_getfd of {pid}", found if found < 0 else 0)
        return found
    finally:
        os.close(process)


def end_with_parent() -> None:
    """Have this process be killed when its parent ends (PR_SET_PDEATHSIG)."""
    _checked("prctl", _libc.prctl(1, 9, 0, 0, 0))


def move_tree(tree: int, target: str) -> None:
    """Attach the mounts of a descriptor, and close it. Raises OSError."""
    try:
        _checked(target, _libc.syscall(_SYS_MOVE_MOUNT, tree, b"", _AT_FDCWD, target.encode(), _MOVE_FROM_EMPTY_PATH))
    finally:
        os.close(tree)
