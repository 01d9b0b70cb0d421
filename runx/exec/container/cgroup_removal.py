"""The end of a container's control group (cgroup.py). A fast verb loads this file."""

import errno
import os
import time

from runx.errors import RunxError, reason
from runx.exec import spawn

BUSCTL_TIMEOUT_S = 30.0
_SYSTEMD = ("org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager")
_END_S = 2.0


def remove(directories: list[str], scope: str) -> None:
    """Remove a container's group, of all trees; with a scope, have systemd do it. One that is not there is no error.

    Raises RunxError while there are processes in it.
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
            pass  # the engine was quicker
        except OSError as error:
            raise RunxError(f"cannot remove the group {directory}: {reason(error)}", "is a process in it?") from None


def _remove(directory: str) -> None:
    """A process that has ended may be in its group for a moment more."""
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
    """Call systemd (org.freedesktop.systemd1(5)); busctl's exit status and words."""
    argv = ["busctl", "--system", "--quiet", "call", *_SYSTEMD, method, signature, *words]
    return spawn.run(argv, timeout_s=BUSCTL_TIMEOUT_S)
