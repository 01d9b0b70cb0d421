"""The program's standard streams: there in any case, with errors in the words of every command.

An error of standard output or input is an error of the command. One of standard error is none: the log and the exit status tell
what it would have told. containerd's shim gives a sandbox's runtime a /dev/null that was opened for reading.
"""

import io
import os
import sys

from runx.errors import RunxError, reason


class StandardOutput(io.FileIO):
    """The descriptor of standard output. The first write that fails says so, those after it are lost without a word.

    So a flush at the end of the program does not tell the same again.
    """

    _has_failed = False

    def write(self, data: bytes | bytearray | memoryview, /) -> int:  # type: ignore[override]  # what a BufferedWriter gives
        """As FileIO's. Raises RunxError, or BrokenPipeError when the reader has gone."""
        if not self._has_failed:
            try:
                return super().write(data)
            except OSError as error:
                self._has_failed = True
                if isinstance(error, BrokenPipeError):
                    raise
                raise RunxError(f"standard output: {reason(error)}") from None
        return len(data)


class StandardError(io.FileIO):
    """The descriptor of standard error. What cannot be written is lost without a word."""

    def write(self, data: bytes | bytearray | memoryview, /) -> int:  # type: ignore[override]  # as above
        """As FileIO's, but never fails: the buffer above would keep the bytes, and fail again at the program's end."""
        try:
            return super().write(data) or len(data)
        except OSError:
            return len(data)


def take() -> None:
    """Set the streams up for the program. Characters that the locale cannot write are escaped.

    The numbers 0, 1 and 2 are taken where the caller closed them: a file that is opened later must not get one. Programs that
    this one starts find them closed nevertheless.
    """
    if sys.stdin is None:
        sys.stdin = os.fdopen(os.open(os.devnull, os.O_RDONLY))
    encoding = sys.stdout.encoding if sys.stdout else "utf-8"
    # Of a stream that was closed only the number is there, and writing to it fails as it would have.
    fd = sys.stdout.fileno() if sys.stdout else os.open(os.devnull, os.O_RDONLY)
    raw = StandardOutput(fd, "w", closefd=False)
    sys.stdout = io.TextIOWrapper(io.BufferedWriter(raw), encoding, "backslashreplace", line_buffering=raw.isatty())
    encoding = sys.stderr.encoding if sys.stderr else "utf-8"
    lost = StandardError(sys.stderr.fileno() if sys.stderr else os.open(os.devnull, os.O_WRONLY), "w", closefd=False)
    sys.stderr = io.TextIOWrapper(io.BufferedWriter(lost), encoding, "backslashreplace", line_buffering=True)
