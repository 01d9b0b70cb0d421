"""Files that are there whole, or not at all; room for files to come; and standard input."""

import errno
import os
import sys

from runx.errors import RunxError, reason


def standard_input(limit: int) -> bytes:
    """At most `limit` bytes of standard input. Raises RunxError if it cannot be read."""
    data = b""
    try:
        while len(data) < limit and (piece := os.read(0, limit - len(data))):
            data += piece
    except OSError as error:
        raise RunxError(f"standard input: {reason(error)}") from None
    return data


def write_atomically(path: str, content: bytes, mode: int = 0o600, *, directory: int | None = None) -> None:
    """Write a file that takes the place of what is at `path`: whoever opens it finds the old content or the new one.

    A symbolic link there is replaced, not followed. mode: permissions, less the caller's umask. directory: a descriptor of the
    directory that a relative path begins at (openat(2)); None: the current one. Raises OSError that names `path`, which is as it
    was before then.
    """
    above, slash, name = path.rpartition("/")
    temporary = f"{above}{slash}.{name}.{os.getpid()}"
    try:
        file = _create(temporary, mode, directory)
        try:
            try:
                write_all(file, content)
            finally:
                os.close(file)
            os.rename(temporary, path, src_dir_fd=directory, dst_dir_fd=directory)
        except BaseException:
            os.unlink(temporary, dir_fd=directory)
            raise
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from None


def _create(path: str, mode: int, directory: int | None) -> int:
    """A new file. One that is there already was left by a process of our number that was killed, or is a trap: it goes."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    try:
        return os.open(path, flags, mode, dir_fd=directory)
    except FileExistsError:
        os.unlink(path, dir_fd=directory)
        return os.open(path, flags, mode, dir_fd=directory)


def write_all(file: int, content: bytes) -> None:
    """Write all of it, however little a call takes. Raises OSError."""
    rest = memoryview(content)
    while rest:
        rest = rest[os.write(file, rest) :]


FULL = (errno.ENOSPC, errno.EDQUOT)
"""Errors of a file system that is full, or of a quota."""
_KEEP_SIZE = 1
"""FALLOC_FL_KEEP_SIZE (linux/falloc.h)"""


def reserve_room(file: int, size: int) -> None:
    """Give the first `size` bytes of a file their blocks now, whatever it holds; its length stays. Raises OSError if it is full.

    Not where a number of the C library has 32 bits, nor on a file system that cannot: there nothing is reserved.
    """
    if sys.maxsize < 1 << 32:
        return
    from runx.linux import libc

    try:
        libc.check(libc.function("fallocate", "iill")(file, _KEEP_SIZE, 0, size), "fallocate")
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.ENOSYS):
            raise
