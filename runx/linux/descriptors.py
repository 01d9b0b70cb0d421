"""Descriptors: given to other processes over unix sockets (unix(7), SCM_RIGHTS), and closed."""

import _socket  # the socket module costs the supervisor 1.5 MiB
import os
import stat

_MANY = 1 << 20
"""Where close_range(2) is missing, descriptors above this are not looked for."""


def send(path: str, fd: int, text: bytes) -> None:
    """Send one message with one descriptor to the unix socket at a path. Raises OSError."""
    import array  # few containers have a terminal

    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    try:
        connection.connect(path)
        connection.sendmsg([text], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, array.array("i", [fd]))])
    finally:
        connection.close()


def close_all_but(kept: "tuple[int, ...]") -> None:
    """Close what this process has open above the standard streams, but for these."""
    first = 3
    for fd in (*sorted(kept), max(os.sysconf("SC_OPEN_MAX"), _MANY)):
        os.closerange(first, fd)
        first = fd + 1


def null_streams() -> str:
    """Digits of the standard streams of this process that are /dev/null."""
    return "".join(str(fd) for fd in range(3) if is_null_device(fd))


def is_null_device(fd: int) -> bool:
    """Whether a descriptor is open and is that of /dev/null (null(4))."""
    try:
        status = os.fstat(fd)
    except OSError:
        return False
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == os.makedev(1, 3)
