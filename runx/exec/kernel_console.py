"""hvc0, the console xenconsoled serves: kernel messages of the guest, kept in the container's log with a bound."""

import os
import termios

from runx.exec.xenstore import XenStore

_LIMIT = 1024 * 1024
_LAST_WORDS = 1500


class KernelConsole:
    """Reads the pty of hvc0 into a file; also keeps what PID 1 of the guest logs."""

    def __init__(self, store: XenStore, domid: int, log_path: str) -> None:
        self._store = store
        self._tty_path = f"/local/domain/{domid}/console/tty"
        self.fd = -1
        """The pty, to be polled; -1 until xenconsoled has published it, and after its end."""
        self._log = os.open(log_path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        self._size = 0
        store.watch(self._tty_path, "kernel-console")  # xenconsoled may need a moment after boot

    def try_open(self) -> None:
        """Open the pty once its path is in xenstore. Failing is no error: kernel messages are a help, not a duty."""
        path = self._store.read(self._tty_path)
        if self.fd >= 0 or not path:
            return
        try:
            self.fd = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
            mode = termios.tcgetattr(self.fd)
            mode[0] = mode[1] = mode[3] = 0  # raw: without it the pty would echo the guest's output back as input
            termios.tcsetattr(self.fd, termios.TCSANOW, mode)
        except (OSError, termios.error):
            self._close_pty()

    def read(self) -> None:
        """Take what there is; to be called when the descriptor is readable or hung up."""
        try:
            data = os.read(self.fd, 4096)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if data:
            self.keep(data)
        else:
            self._close_pty()

    def keep(self, data: bytes) -> None:
        """Append to the log, up to its bound."""
        data = data[: _LIMIT - self._size]
        if data:
            os.write(self._log, data)
            self._size += len(data)

    def last_words(self) -> str:
        """The end of the log, for an error message."""
        return os.pread(self._log, _LAST_WORDS, max(0, self._size - _LAST_WORDS)).decode("utf-8", "replace").strip()

    def _close_pty(self) -> None:
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1
