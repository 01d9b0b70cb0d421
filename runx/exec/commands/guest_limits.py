"""The limits of a container in its pod's machine: files of its control group in the guest, for `runx update`."""

import os

from runx.errors import RunxError
from runx.exec.commands import carrier
from runx.exec.container import process_record


def write(directory: str, files: "tuple[tuple[str, str], ...]") -> None:
    """Have PID 1 of the guest write files of the control group. Raises RunxError with its words; some may be written then.

    files: names such as `memory.max`, and what is written to them.
    """
    if not files:
        return
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    connection = carrier.Carrier()
    try:
        words = [word.encode() for pair in files for word in pair]
        connection.begin(directory, process_record.limits(words), (null, null, null), while_paused=False)
    finally:
        os.close(null)
    connection.await_start()
    if connection.await_end():
        raise RunxError("the guest did not change the limits")
