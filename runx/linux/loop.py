"""Loop devices (loop(4)) that disappear when the last process that has one open closes it or is killed.

A loop device keeps its file open. So a lock of that file (flock(2)) lasts as long as the device, whatever becomes of the process
that took it.
"""

import errno
import fcntl
import os
import struct

from runx.errors import RunxError, reason

# linux/loop.h
_GET_FREE, _CONFIGURE = 0x4C82, 0x4C0A
_READ_ONLY, _AUTOCLEAR = 1, 4
_CONFIG = struct.Struct(
    "=I4x"  # struct loop_config: fd, block_size
    "40x12xI"  # its struct loop_info64: five numbers of 64 bits, three of 32, lo_flags,
    "64x64x32x16x"  # lo_file_name, lo_crypt_name, lo_encrypt_key, lo_init
    "64x"  # __reserved
)


def attach(file: int, read_only: bool) -> tuple[int, str]:
    """A descriptor of a new loop device of an open file, and the device's path. Raises RunxError when there can be none."""
    config = _CONFIG.pack(file, _AUTOCLEAR | (_READ_ONLY if read_only else 0))
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
                if error.errno != errno.EBUSY:  # another process took the free one first
                    raise
    except OSError as error:
        raise RunxError(f"no loop device could be made: {reason(error)}") from None
    finally:
        os.close(control)
