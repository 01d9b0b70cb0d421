"""`runx console`: output of the guest's kernel and its PID 1, kept in the container's directory (console/kernel_log.py)."""

import codecs
import os
import select
import sys
from collections.abc import Callable

from runx.errors import RunxError
from runx.exec.container import record as records
from runx.exec.container.record import Record

_LOOK_AGAIN_MS = 200
_Write = Callable[[bytes], None]


def console(root: str, container_id: str, *, follow: bool = False) -> None:
    """Write the log of a container's first console to standard output; with follow, also what is added until the container ends.

    Control characters, which a hostile guest may write, do not reach a terminal. Raises RunxError when there is no such
    container, or its console is its standard output.
    """
    record = records.load(root, container_id)
    if record.console == "passthrough":
        hint = "it brings its own ramdisk; see the engine's logs"
        raise RunxError(f'the console of container "{container_id}" is its standard output', hint)
    if record.is_sandbox:
        raise RunxError(f'container "{container_id}" is the sandbox of a pod, which has no virtual machine, and so no console')
    if record.joins:
        hint = f"runx console {record.pod}"
        raise RunxError(f'container "{container_id}" is in the virtual machine of its pod, which has the console', hint)
    try:
        log = os.open(record.directory + "/console.log", os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise RunxError(f'container "{container_id}" has no virtual machine yet, and so no console') from None
    write = _Terminal().write if sys.stdout.isatty() else _write
    try:
        _copy(log, write)
        if follow:
            _follow(record, log, write)
    finally:
        os.close(log)


def _follow(record: Record, log: int, write: _Write) -> None:
    supervisor = record.supervisor()
    if supervisor >= 0:
        try:
            poller = select.poll()
            poller.register(supervisor, select.POLLIN)
            while not poller.poll(_LOOK_AGAIN_MS):
                _copy(log, write)
        finally:
            os.close(supervisor)
    _copy(log, write)


def _copy(log: int, write: _Write) -> None:
    while data := os.read(log, 65536):
        write(data)


def _write(data: bytes) -> None:
    sys.stdout.buffer.write(data)
    sys.stdout.buffer.flush()


class _Terminal:
    """Writes text to a terminal, with U+FFFD in place of control characters."""

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def write(self, data: bytes) -> None:
        text = self._decoder.decode(data).replace("\r", "")
        _write("".join(c if c.isprintable() or c in "\n\t" else "\ufffd" for c in text).encode())
