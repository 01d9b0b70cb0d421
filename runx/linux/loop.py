"""Loop devices (loop(4)) that disappear when the last process that has one open closes it or is killed.

A loop device keeps its file open. So a lock of that file (flock(2)) lasts as long as the device, whatever becomes of the process
that took it.

While the process that made a device has it open, no other can mount it, or put RAID or a logical volume on it (open(2), O_EXCL):
such users would keep the device. The kernel's backend of Xen's disks takes it all the same (Linux, drivers/block/xen-blkback).
"""

import errno
import fcntl
import os
import struct
import time

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
_ATTEMPTS = 100
"""How often a device that was free may be taken by another process."""

TYPE_CHECKING = False  # as typing's, which would cost each supervisor memory
if TYPE_CHECKING:
    from collections.abc import Callable


def attach(
    file: int, read_only: bool, announce: "Callable[[str], None] | None" = None, *, exclusive: bool = True
) -> tuple[int, str]:
    """A descriptor of a new loop device of an open file, and the device's path. Raises RunxError when there can be none.

    announce: is called with the name of each device, such as loop7, that may become the one. It has no file then.
    exclusive: whether others are kept from mounting it, as the module says.
    """
    config = _CONFIG.pack(file, _AUTOCLEAR | (_READ_ONLY if read_only else 0))
    flags = (os.O_RDONLY if read_only else os.O_RDWR) | (os.O_EXCL if exclusive else 0) | os.O_CLOEXEC
    try:
        control = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
    except OSError as error:
        raise RunxError(f"/dev/loop-control: {reason(error)}", "a disk needs it: modprobe loop") from None
    try:
        for attempt in range(1, _ATTEMPTS + 1):
            name = f"loop{fcntl.ioctl(control, _GET_FREE)}"
            if announce:
                announce(name)
            try:
                return _configured(f"/dev/{name}", flags, config), f"/dev/{name}"
            except OSError as error:
                if error.errno != errno.EBUSY or attempt == _ATTEMPTS:
                    raise
                # Who has it open may not have given it its file yet; until then it is the free one for all.
                time.sleep(min(attempt, 50) / 1000)
        raise AssertionError("the last attempt raises")
    except OSError as error:
        raise RunxError(f"no loop device could be made: {reason(error)}") from None
    finally:
        os.close(control)


def _configured(path: str, flags: int, config: bytes) -> int:
    """Open a free device and give it its file. Raises OSError: with EBUSY if it is not free any more."""
    device = os.open(path, flags)
    try:
        fcntl.ioctl(device, _CONFIGURE, config)
    except OSError:
        os.close(device)
        raise
    return device
