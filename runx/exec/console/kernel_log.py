"""hvc0 of a guest that has the console link: kernel messages, kept in the container's log with a bound."""

import os

from runx.exec.console.pty import ConsolePty
from runx.exec.xen.xenstore import XenStore

_LIMIT = 1024 * 1024
_LAST_WORDS = 1500


class KernelConsole:
    """Reads the pty of hvc0 into a file; also keeps what PID 1 of the guest logs."""

    def __init__(self, store: XenStore, domid: int, log_path: str) -> None:
        self._log = os.open(log_path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        self._size = 0
        self._pty = ConsolePty(store, domid, "kernel-console")

    @property
    def fd(self) -> int:
        """To be polled; -1 when there is nothing to poll."""
        return self._pty.fd

    def try_open(self) -> None:
        """Open the pty if there is one. Failing is no error: kernel messages are a help, not a duty."""
        self._pty.try_open()

    def read(self) -> None:
        """Take what there is; to be called when the descriptor is readable or hung up."""
        self.keep(self._pty.read())

    def keep(self, data: bytes) -> None:
        """Append to the log, up to its bound."""
        data = data[: _LIMIT - self._size]
        if data:
            os.write(self._log, data)
            self._size += len(data)

    def last_words(self) -> str:
        """The end of the log, for an error message."""
        return os.pread(self._log, _LAST_WORDS, max(0, self._size - _LAST_WORDS)).decode("utf-8", "replace").strip()
