"""The log of --log: what an engine shows its user when a verb fails.

containerd and podman read this file as lines of JSON with `time`, `level` and `msg` (or as logfmt-like text) and show the
last line whose level is `error`; one malformed line would hide it. No json module here: the fast verbs load this file.
"""

import os
import time

_ESCAPES = {ord('"'): '\\"', ord("\\"): "\\\\", ord("\n"): "\\n", ord("\r"): "\\r", ord("\t"): "\\t"}
_ESCAPES |= {c: f"\\u{c:04x}" for c in (*range(0x20), 0x7F) if c not in _ESCAPES}


def json_string(text: str) -> str:
    """`text` as a JSON string (RFC 8259, section 7). What is no Unicode (a lone surrogate) becomes U+FFFD."""
    return '"' + text.encode("utf-8", "replace").decode("utf-8").translate(_ESCAPES) + '"'


def line(level: str, message: str, *, as_json: bool) -> str:
    """One line of the log, with its newline. `time` is RFC 3339 in UTC."""
    now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    if as_json:
        return f'{{"level":{json_string(level)},"msg":{json_string(message)},"time":"{now}"}}\n'
    return f'time="{now}" level={level} msg={json_string(message)}\n'


def append(path: str, level: str, message: str, *, as_json: bool) -> None:
    """Append one line to the log at `path`. Does nothing without a path; a log that cannot be written never hides the error."""
    if not path:
        return
    try:
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError:
        return
    try:
        os.write(fd, line(level, message, as_json=as_json).encode())
    except OSError:
        pass
    finally:
        os.close(fd)
