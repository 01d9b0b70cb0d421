"""A disk image of the host: it has one container that writes to it, or any number that read it, and stands alone."""

import fcntl
import os

from runx.errors import RunxError

_QCOW2 = b"QFI\xfb"
_EXTERNAL_DATA = 4
"""Of the incompatible features of a qcow2 image (QEMU, docs/interop/qcow2.txt)."""


def lock(image: str) -> int:
    """Check and lock an image, given as Record.image has it; `ro` shares the lock, `rw` does not. The descriptor that holds the
    lock until it is closed.

    `xl create` is given the descriptor, and with it the QEMU that serves the disk: should the supervisor be killed and leave
    its guest, the lock is held as long as the disk is used (QEMU itself locks no disks of Xen's). Where no QEMU is needed
    xl's block script refuses to attach a file that another domain writes to. Raises RunxError when another container has it,
    or when it would lead QEMU to other files of the host.
    """
    access, kind, path = image.split(" ", 2)
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise RunxError(f"vm.image.path: {path}: {(error.strerror or str(error)).lower()}") from None
    try:
        if kind == "qcow2":
            _check_qcow2(path, os.pread(fd, 80, 0))
        fcntl.flock(fd, (fcntl.LOCK_SH if access == "ro" else fcntl.LOCK_EX) | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(fd)
        hint = "give each container an image of its own, or let all of them read it with root.readonly"
        raise RunxError(f"vm.image.path: {path} is in use by another container", hint) from None
    except BaseException:
        os.close(fd)
        raise
    return fd


def _check_qcow2(path: str, header: bytes) -> None:
    """An image names its backing and its data file itself, and QEMU opens them as root of this host: it could be any file."""
    if len(header) < 72 or header[:4] != _QCOW2:
        raise RunxError(f"vm.image.path: {path} is no qcow2 image", "vm.image.format says what it is: raw, qcow2 or vhd")
    version = int.from_bytes(header[4:8], "big")
    backing = int.from_bytes(header[8:16], "big")
    features = int.from_bytes(header[72:80], "big") if version >= 3 else 0
    if backing or features & _EXTERNAL_DATA:
        what = "a backing file" if backing else "an external data file"
        hint = "make it one file: qemu-img convert -O qcow2 FILE NEW"
        raise RunxError(f"vm.image.path: {path} has {what}, which could be any file of this host", hint)
