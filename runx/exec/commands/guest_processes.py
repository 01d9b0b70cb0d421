"""The processes of a container as PID 1 of its guest sees them, for `runx ps`."""

import os
import select
import time

from runx.errors import RunxError
from runx.exec.supervisor import control

_LIMIT_S = 10.0
"""How long the guest may take. One that is busy answers late, one that hangs never."""
_SIZE_LIMIT = 1 << 20
"""Bytes of the list: the guest may be hostile."""


def rows(directory: str) -> list[list[str]]:
    """Number, number of the parent, user and command of each process, from a container that allows exec and runs.

    Raises RunxError if the guest does not answer.
    """
    text = _ask(directory).decode("utf-8", "replace")
    found = []
    for line in text.split("\n"):
        *numbers, command = line.split(" ", 3)
        if len(numbers) == 3 and all(number.isascii() and number.isdigit() for number in numbers):
            found.append([*numbers, "".join(c if c.isprintable() else "?" for c in command)])
    return sorted(found, key=lambda row: int(row[0]))


def _ask(directory: str) -> bytes:
    """What the guest says to a session without a record (docs/console-link.md, "Sessions")."""
    null, record = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC), os.memfd_create("record", os.MFD_CLOEXEC)
    output, told = os.pipe2(os.O_CLOEXEC)
    try:
        connection = control.begin(directory, "exec", (record, null, told, null))
    except OSError:
        raise RunxError("container not running") from None
    finally:
        for fd in (null, record, told):
            os.close(fd)
    deadline = time.monotonic() + _LIMIT_S
    said = {output: b"", connection.fileno(): b""}
    waiting = set(said)
    try:
        while waiting:
            poller = select.poll()
            for fd in waiting:
                poller.register(fd, select.POLLIN)
            ready = poller.poll(max(0.0, deadline - time.monotonic()) * 1000)
            if not ready:
                raise RunxError(f"the guest did not list its processes within {_LIMIT_S:g} s")
            for fd, _ in ready:
                data = os.read(fd, 65536)
                said[fd] += data
                if not data or len(said[fd]) > _SIZE_LIMIT:
                    waiting.discard(fd)
        lines = said[connection.fileno()].decode("utf-8", "replace").splitlines()
        if lines[-1:] != ["exit 0"]:
            raise RunxError(f"the guest did not list its processes: {lines[-1] if lines else 'its supervisor has gone'}")
        return said[output]
    finally:
        os.close(output)
        connection.close()
