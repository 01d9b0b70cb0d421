"""Loop devices of containers, marked so that udev leaves them alone.

A mark is a symbolic link in paths.LOOPS, with the device's name, that leads to the container's directory. udev's rules of runx
(host-assets/udev.rules) follow it: as long as it leads somewhere, udev looks for no file system, volume group or RAID on the
device. The mark is there before the device has its file, and so before udev hears of that.
"""

import os

from runx import paths
from runx.errors import RunxError, reason
from runx.linux import loop


def attach(directory: str, file: int, read_only: bool) -> tuple[int, str]:
    """Make a loop device of an open file for the container with this directory, as loop.attach. Raises RunxError."""
    import fcntl

    announced: list[str] = []

    def announce(name: str) -> None:
        announced.append(name)
        _unlink(name)  # of a supervisor that was killed; the device is free now
        os.symlink(directory, f"{paths.LOOPS}/{name}")

    try:
        os.makedirs(paths.LOOPS, 0o755, exist_ok=True)
        lock = os.open(paths.LOOPS, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)  # so that no other supervisor marks the same free device
            device, path = -1, ""
            try:
                device, path = loop.attach(file, read_only, announce)
            finally:
                for name in announced:
                    if path != f"/dev/{name}":
                        _unlink(name)
            return device, path
        finally:
            os.close(lock)
    except OSError as error:
        raise RunxError(f"cannot mark a loop device in {paths.LOOPS}: {reason(error)}") from None


def release(directory: str) -> None:
    """Remove the marks of a container whose devices are closed."""
    for name in os.listdir(paths.LOOPS) if os.path.isdir(paths.LOOPS) else ():
        try:
            if os.readlink(f"{paths.LOOPS}/{name}") == directory:
                _unlink(name)
        except FileNotFoundError:
            pass  # another container has removed its own


def _unlink(name: str) -> None:
    try:
        os.unlink(f"{paths.LOOPS}/{name}")
    except FileNotFoundError:
        pass
