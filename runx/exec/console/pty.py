"""The host's end of hvc0, the console that xenconsoled serves: a pty (Xen's docs/misc/console.txt).

xenconsoled takes at most 30 events of a guest in 200 ms. While nobody reads the pty it keeps 1 MiB, and discards the rest.
"""

import os
import termios

from runx.exec.console import streams
from runx.exec.xen.xenstore import XenStore


class ConsolePty:
    """The pty of a domain's first console, once xenconsoled has published it."""

    def __init__(self, store: XenStore, domid: int, token: str) -> None:
        """token: of the watch whose events call for `try_open`, since xenconsoled may publish the pty after boot."""
        self._store = store
        self._path = f"/local/domain/{domid}/console/tty"
        self.fd = -1
        """The descriptor to poll; -1 until there is a pty, and after its end."""
        store.watch(self._path, token)

    def try_open(self) -> None:
        """Open the pty once its path is in xenstore. A failure is no error: another pty brings another event."""
        path = self._store.read(self._path)
        if self.fd >= 0 or not path:
            return
        try:
            self.fd = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
            mode = termios.tcgetattr(self.fd)
            mode[0] = mode[1] = mode[3] = 0  # raw: else the pty would echo the guest's output back as input
            termios.tcsetattr(self.fd, termios.TCSANOW, mode)
        except (OSError, termios.error):
            self.close()

    def read(self) -> bytes:
        """The bytes there are, at most 4096. Call it when the descriptor is readable or hung up; it closes the pty at its end."""
        data = streams.read(self.fd, 4096)
        if data == b"":
            self.close()
        return data or b""

    def write(self, data: bytes | bytearray) -> int:
        """Write what the pty has room for; how many bytes that was.

        Pretend that all was written if the other end has gone: `read` reports it, after the bytes that are left.
        """
        try:
            return os.write(self.fd, data)
        except BlockingIOError:
            return 0
        except OSError:
            return len(data)

    def close(self) -> None:
        """Close the pty, if it is open."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
