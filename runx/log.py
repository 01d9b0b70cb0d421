"""The log of --log. An engine shows its last error to the user when a command fails.

containerd and podman read lines of JSON with `time`, `level` and `msg`, or lines of text in the form of logfmt. They show the
last line of level `error`; a malformed line would hide it. No json module here: fast commands load this file.
"""

import os
import time

from runx.errors import reason

_ESCAPES = {ord('"'): '\\"', ord("\\"): "\\\\", ord("\n"): "\\n", ord("\r"): "\\r", ord("\t"): "\\t"}
_ESCAPES |= {c: f"\\u{c:04x}" for c in (*range(0x20), 0x7F) if c not in _ESCAPES}


class Log:
    """The file at `path`; "" for none. `as_json`: the format of its lines."""

    __slots__ = ("as_json", "path")
    has_told = False
    """The user knows that the file cannot be written."""

    def __init__(self, path: str, as_json: bool) -> None:
        self.path = path
        self.as_json = as_json

    def append(self, level: str, message: str) -> str:
        """Append one line. Why the file cannot be written, "" if it can: an error about the log would hide the error to log."""
        if not self.path:
            return ""
        try:
            fd = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                os.write(fd, line(level, message, as_json=self.as_json).encode())
            finally:
                os.close(fd)
        except OSError as error:
            return reason(error)
        return ""

    def warn(self, message: str) -> None:
        """Append a warning, and write it to standard error."""
        why = self.append("warning", message)
        _tell(message)
        self.tell_if_lost(why)

    def tell_if_lost(self, why: str) -> None:
        """Warn on standard error of a line that is lost, once in a program. why: as `append` says it."""
        if why and not Log.has_told:
            Log.has_told = True
            _tell(f"--log {self.path}: {why}")


def _tell(warning: str) -> None:
    try:
        os.write(2, f"runx: warning: {warning}\n".encode("utf-8", "replace"))
    except OSError:
        pass


def line(level: str, message: str, *, as_json: bool) -> str:
    """One line of the log, with its newline. `time` is RFC 3339 in UTC."""
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    if as_json:
        return f'{{"level":{json_string(level)},"msg":{json_string(message)},"time":"{now}"}}\n'
    return f'time="{now}" level={level} msg={json_string(message)}\n'


def json_string(text: str) -> str:
    """`text` as a JSON string (RFC 8259, section 7). A lone surrogate becomes `?`."""
    return '"' + text.encode("utf-8", "replace").decode("utf-8").translate(_ESCAPES) + '"'
