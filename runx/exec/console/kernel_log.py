"""hvc0 of a guest that has the console link: kernel messages, in a log of limited size."""

import os
import select

from runx.errors import RunxError, reason
from runx.exec.console.pty import ConsolePty
from runx.exec.xen.xenstore import XenStore
from runx.linux.files import reserve_room

_LIMIT = 1024 * 1024
_RESERVED = 16 * 1024
"""Bytes that are kept when the file system is full: what a kernel says before it ends."""
_LAST_WORDS = 1500
"""Bytes of the log that an error message quotes."""


class KernelConsole:
    """The part of the supervisor's loop that reads the pty of hvc0 into a file. It also keeps the log of the guest's PID 1."""

    def __init__(self, store: XenStore, domid: int, log_path: str) -> None:
        """Raises RunxError if there is no room for a log."""
        try:
            self._log = os.open(log_path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
            reserve_room(self._log, _RESERVED)
        except OSError as error:
            raise RunxError(f"cannot make {log_path}: {reason(error)}") from None
        self._size = 0
        self._pty = ConsolePty(store, domid, "kernel-console")

    def try_open(self) -> None:
        """Open the pty if there is one. A failure is no error: the container does not need its kernel's messages."""
        self._pty.try_open()

    def watch(self, poller: select.poll) -> None:
        """Register the pty, once it is open."""
        if self._pty.fd >= 0:
            poller.register(self._pty.fd, select.POLLIN)

    def handle(self, ready: dict[int, int]) -> None:
        """Take what there is, if the pty is readable or hung up."""
        if self._pty.fd in ready:
            self.keep(self._pty.read())

    def keep(self, data: bytes) -> None:
        """Append to the log, up to its limit and as far as there is room: the container does not need its log."""
        data = data[: _LIMIT - self._size]
        try:
            while data:
                count = os.write(self._log, data)
                self._size += count
                data = data[count:]
        except OSError:
            pass  # the file system is full, or broken

    def last_words(self) -> str:
        """The end of the log, for an error message."""
        return os.pread(self._log, _LAST_WORDS, max(0, self._size - _LAST_WORDS)).decode("utf-8", "replace").strip()

    def close(self) -> None:
        """Let go of the pty and the log."""
        self._pty.close()
        os.close(self._log)
