"""A container's terminal on the host: a pty whose master goes to the engine (runc's docs/terminals.md, `--console-socket`).

The terminal with its line discipline is in the guest. This pty only carries bytes, so its slave is raw.
"""

import fcntl
import os
import struct
import termios

from runx.errors import RunxError, reason
from runx.linux import descriptors


def open_raw() -> tuple[int, int]:
    """Make a pty whose slave only carries bytes: master and slave."""
    master, slave = os.openpty()
    mode = termios.tcgetattr(slave)
    mode[0] = mode[1] = mode[3] = 0
    termios.tcsetattr(slave, termios.TCSANOW, mode)
    # O_NONBLOCK, as a write to a tty blocks until all of it is taken. Nobody else uses this open file.
    os.set_blocking(slave, False)
    return master, slave


def open_terminal(console_socket: str, rows: int, columns: int, fds: tuple[int, ...]) -> None:
    """Make a pty, send its master to the engine's socket, and make its slave the controlling terminal and these descriptors.

    rows and columns: its first size, 0 to leave it to the engine. Raises RunxError if the engine does not take the master.
    """
    master, slave = open_raw()
    try:
        if rows or columns:
            fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        descriptors.send(console_socket, master, b"/dev/ptmx")  # the text is the file's name, as runc sends it
    except OSError as error:
        os.close(slave)
        raise RunxError(f"--console-socket {console_socket}: {reason(error)}", "does its engine still listen?") from None
    finally:
        os.close(master)
    # The kernel signals a new size to the session's leader (SIGWINCH). poll reports that the master is closed.
    fcntl.ioctl(slave, termios.TIOCSCTTY, 0)
    for fd in fds:
        os.dup2(slave, fd)
    os.close(slave)


def size(fd: int) -> tuple[int, int]:
    """Rows and columns of a terminal."""
    rows, columns, _, _ = struct.unpack("HHHH", fcntl.ioctl(fd, termios.TIOCGWINSZ, bytes(8)))
    return rows, columns
