"""Descriptors for other processes, over unix sockets (unix(7), SCM_RIGHTS)."""

import _socket  # the socket module costs the supervisor 1.5 MiB
import array


def send(path: str, fd: int, text: bytes) -> None:
    """Send one message with one descriptor to the unix socket at a path. Raises OSError."""
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    try:
        connection.connect(path)
        connection.sendmsg([text], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, array.array("i", [fd]))])
    finally:
        connection.close()
