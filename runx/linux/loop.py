"""Loop devices (loop(4)) that go by themselves when the last who has them open lets go, however that comes about.

A loop device holds the file that it was given as long as there is the device: a lock of that file (flock(2)) lasts as long,
whoever took it may be killed.
"""

import errno
import fcntl
import os

from runx.errors import RunxError, reason

_GET_FREE, _CONFIGURE = 0x4C82, 0x4C0A
_READ_ONLY, _AUTOCLEAR = 1, 4


def attach(file: int, read_only: bool) -> tuple[int, str]:
    """A descriptor of a new loop device of an open file, and its path. Raises RunxError when the host cannot."""
    # struct loop_config: fd, block_size, struct loop_info64 with its flags after 52 bytes, reserved (linux/loop.h).
    flags = _AUTOCLEAR | (_READ_ONLY if read_only else 0)
    config = file.to_bytes(4, "little") + bytes(4) + bytes(52) + flags.to_bytes(4, "little") + bytes(176 + 64)
    try:
        control = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise RunxError(f"/dev/loop-control: {reason(error)}", "a disk needs it: modprobe loop") from None
    try:
        while True:
            path = f"/dev/loop{fcntl.ioctl(control, _GET_FREE)}"
            device = os.open(path, (os.O_RDONLY if read_only else os.O_RDWR) | os.O_CLOEXEC)
            try:
                fcntl.ioctl(device, _CONFIGURE, config)
                return device, path
            except OSError as error:
                os.close(device)
                if error.errno != errno.EBUSY:  # somebody else was quicker
                    raise
    except OSError as error:
        raise RunxError(f"no loop device could be made: {reason(error)}") from None
    finally:
        os.close(control)
