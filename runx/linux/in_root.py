"""Files inside a root filesystem that is hostile: no symbolic link in it leads to a file outside."""

import ctypes
import errno
import os
import stat
from io import FileIO

from runx.errors import RunxError, reason
from runx.linux import kernel_files
from runx.linux.files import write_all

_SYS_OPENAT2 = 437
"""Number of the system call, the same on every architecture."""
_RESOLVE_NO_MAGICLINKS = 0x02
_RESOLVE_IN_ROOT = 0x10


_TRIES = 1000
"""The kernel gives EAGAIN for a path with `..` if anything on this machine was mounted or renamed meanwhile (openat2(2))."""


class _OpenHow(ctypes.Structure):
    """struct open_how of openat2(2)."""

    _fields_ = (("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64))


def find(root: str, path: str) -> int:
    """An O_PATH descriptor of `path`, resolved as if `root` were the root directory (openat2(2)). Raises OSError."""
    libc = ctypes.CDLL(None, use_errno=True)
    top = os.open(root, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        how = _OpenHow(os.O_PATH | os.O_CLOEXEC, 0, _RESOLVE_IN_ROOT | _RESOLVE_NO_MAGICLINKS)
        found, tries = -1, 0
        while found < 0 and tries < _TRIES and (not tries or ctypes.get_errno() == errno.EAGAIN):
            tries += 1
            found = libc.syscall(
                ctypes.c_long(_SYS_OPENAT2),
                ctypes.c_int(top),
                ctypes.c_char_p(os.fsencode(path)),
                ctypes.byref(how),
                ctypes.c_size_t(ctypes.sizeof(how)),
            )
    finally:
        os.close(top)
    if found < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), path)
    return found


def mode(root: str, path: str) -> int:
    """The st_mode of the file at `path` in `root`. The file is not opened, so a fifo or device does nothing. Raises OSError."""
    found = find(root, path)
    try:
        return os.fstat(found).st_mode
    finally:
        os.close(found)


_PIECE = 1 << 20
"""Bytes that are copied at a time."""


def _read(file: FileIO, size: int, name: str) -> bytes:
    try:
        return file.read(size)
    except OSError as error:
        raise RunxError(f"{name}: {reason(error)}") from None


def copy(root: str, path: str, target: str, limit: int) -> None:
    """Copy the regular file at `path` in `root` to the new file `target` (0600).

    All checks and the copy use one descriptor, so to exchange the file meanwhile has no effect. Raises RunxError when the file is
    missing, not regular, of the host's kernel, or larger than `limit` bytes, also when it grows while it is copied.
    """
    too_large = RunxError(f"{path} in {root}: larger than {limit >> 20} MiB")
    try:
        found = find(root, path)
        try:
            status = os.fstat(found)
            if not stat.S_ISREG(status.st_mode):
                raise RunxError(f"{path} in {root}: not a file")
            if kind := kernel_files.type_of(found):
                raise RunxError(
                    f"{path} in {root}: it is on a {kind} of the host's kernel, which no virtual machine gets",
                    f"nothing of the host should be mounted below {root}",
                )
            if status.st_size > limit:
                raise too_large
            source = os.open(f"/proc/self/fd/{found}", os.O_RDONLY | os.O_CLOEXEC)
        finally:
            os.close(found)
    except OSError as error:
        raise RunxError(f"{path} in {root}: {reason(error)}") from None
    with open(source, "rb", buffering=0) as file:
        try:
            with open(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600), "wb", buffering=0) as copied:
                left = limit + 1
                while left and (data := _read(file, min(left, _PIECE), f"{path} in {root}")):
                    left -= len(data)
                    write_all(copied.fileno(), data)
        except OSError as error:
            raise RunxError(f"cannot write {target}: {reason(error)}", f"it is the copy of {path} in {root}") from None
    if not left:  # it has grown meanwhile
        os.unlink(target)
        raise too_large


_STATX_BTIME = 0x800
_AT_FDCWD = -100


def directory_identity(path: str) -> str:
    """A name for the directory at `path` that no other directory has: a digest of path, file system, inode and time of birth.

    The time is needed because the number of an inode is used again. "" when the file system keeps no such time. Raises OSError.
    """
    import hashlib

    libc = ctypes.CDLL(None, use_errno=True)
    buffer = ctypes.create_string_buffer(256)
    if libc.statx(_AT_FDCWD, os.fsencode(path), 0, _STATX_BTIME, buffer):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), path)
    # struct statx (statx(2)): stx_mask, stx_ino, stx_btime, stx_dev_major and stx_dev_minor.
    fields = memoryview(buffer)
    mask, inode = int.from_bytes(fields[0:4], "little"), int.from_bytes(fields[32:40], "little")
    if not mask & _STATX_BTIME:
        return ""
    born, device = bytes(fields[80:92]).hex(), bytes(fields[136:144]).hex()
    text = "\0".join((path, device, str(inode), born))
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:40]
