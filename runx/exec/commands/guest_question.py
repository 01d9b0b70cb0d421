"""What PID 1 of a container's guest can be asked while the container runs: sessions that are no processes of the container."""

import os
import select
import time

from runx.errors import RunxError
from runx.exec.container import record as records
from runx.exec.supervisor import control
from runx.linux.files import write_all

TYPE_CHECKING = False  # as typing's, which takes longer to import than a fast command has
if TYPE_CHECKING:
    from runx.exec.container.record import Record

_LIMIT_S = 10.0
"""How long the guest may take. One that is busy answers late, one that hangs never."""
_SIZE_LIMIT = 1 << 20
"""Bytes of the answer: the guest may be hostile."""


def ask(record: "Record", text: bytes, what: str, *, while_paused: bool = False) -> bytes:
    """The output of a session that is no process of the container.

    text: the session's record. what: it is asked to do, for messages. while_paused: in a container that is paused, too. Raises
    RunxError if the guest does not do it.
    """
    records.check_machine(record)
    null, question = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC), os.memfd_create("record", os.MFD_CLOEXEC)
    write_all(question, text)
    os.lseek(question, 0, os.SEEK_SET)
    output, told = os.pipe2(os.O_CLOEXEC)
    try:
        line = "exec paused" if while_paused else "exec running"
        connection = control.begin(record.directory, line, (question, null, told, null))
    except OSError:
        raise RunxError("container not running") from None
    finally:
        for fd in (null, question, told):
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
                raise RunxError(f"the guest did not {what} within {_LIMIT_S:g} s")
            for fd, _ in ready:
                data = os.read(fd, 65536)
                said[fd] += data
                if not data or len(said[fd]) > _SIZE_LIMIT:
                    waiting.discard(fd)
        lines = said[connection.fileno()].decode("utf-8", "replace").splitlines()
        if lines[-1:] != ["exit 0"]:
            raise RunxError(f"the guest did not {what}: {_reason(lines)}")
        return said[output]
    finally:
        os.close(output)
        connection.close()


def _reason(lines: list[str]) -> str:
    """What the supervisor said last, without the words of its protocol (sessions.py)."""
    words = lines[-1] if lines else "its supervisor has gone"
    for start in ("error ", "failed 125 "):
        words = words.removeprefix(start)
    return words
