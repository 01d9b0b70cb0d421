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
