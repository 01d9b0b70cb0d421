"""A container's terminal on the host: a pty whose master goes to the engine (runc's docs/terminals.md, `--console-socket`).

The guest has the terminal proper; this pty only carries bytes, so its slave is raw.
"""

import _socket  # the socket module costs the supervisor 1.5 MiB
import array
import fcntl
import os
import struct
import termios

from runx.errors import RunxError


def open_terminal(console_socket: str, rows: int, columns: int) -> None:
    """Make a pty, send its master to the engine's socket, and make its slave our standard streams and controlling terminal.

    rows and columns: its first size, 0 to leave it to the engine. Raises RunxError when the engine does not take it.
    """
    master, slave = os.openpty()
    try:
        mode = termios.tcgetattr(slave)
        mode[0] = mode[1] = mode[3] = 0
        termios.tcsetattr(slave, termios.TCSANOW, mode)
        if rows or columns:
            fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        _send(console_socket, master)
    except OSError as error:
        os.close(slave)
        raise RunxError(f"--console-socket {console_socket}: {error.strerror}", "does its engine still listen?") from None
    finally:
        os.close(master)
    # The kernel tells the session's leader of a new size (SIGWINCH). That the master is closed is seen by poll instead.
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
    # This open file is ours alone, and a write to a tty blocks until all of it is taken.
    os.set_blocking(slave, False)
    for fd in (0, 1, 2):
        os.dup2(slave, fd)
    os.close(slave)


def size() -> tuple[int, int]:
    """Rows and columns of our terminal as the engine has set them."""
    rows, columns, _, _ = struct.unpack("HHHH", fcntl.ioctl(0, termios.TIOCGWINSZ, bytes(8)))
    return rows, columns


def _send(path: str, fd: int) -> None:
    """One message with one descriptor; its text is the file's name, as runc sends it."""
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    try:
        connection.connect(path)
        rights = array.array("i", [fd])
        connection.sendmsg([b"/dev/ptmx"], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)])
    finally:
        connection.close()
