"""Remove a container's control group (cgroup.py). `delete`, a fast command, loads this file."""

import errno
import os
import time

from runx.errors import RunxError, reason
from runx.exec import spawn

BUSCTL_TIMEOUT_S = 30.0
_SYSTEMD = ("org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager")
_END_S = 2.0


def remove(directories: list[str], scope: str) -> None:
    """Remove a container's group in all trees. systemd removes it if it is a scope. A group that does not exist is no error.

    Raises RunxError when there are processes in it.
    """
    present = [directory for directory in directories if os.path.isdir(directory)]
    if scope and present:
        systemd("StopUnit", "ss", scope, "replace")
        systemd("ResetFailedUnit", "s", scope)
        return
    for directory in present:
        try:
            _remove(directory)
        except FileNotFoundError:
            pass  # the engine removed it first
        except OSError as error:
            raise RunxError(f"cannot remove the group {directory}: {reason(error)}", "is a process in it?") from None


def _remove(directory: str) -> None:
    """Remove one group. A process that has ended may stay in it for a moment, so try again."""
    limit = time.monotonic() + _END_S
    while True:
        try:
            os.rmdir(directory)
        except OSError as error:
            if error.errno != errno.EBUSY or time.monotonic() >= limit:
                raise
            time.sleep(0.01)
        else:
            return


def systemd(method: str, signature: str, *words: str) -> tuple[int, str]:
    """Call systemd (org.freedesktop.systemd1(5)); busctl's exit status and output."""
    argv = ["busctl", "--system", "--quiet", "call", *_SYSTEMD, method, signature, *words]
    return spawn.run(argv, timeout_s=BUSCTL_TIMEOUT_S)
