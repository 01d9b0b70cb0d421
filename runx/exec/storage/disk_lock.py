"""The file behind a disk: it has one container that writes to it, or any number that read it, and stands alone."""

import fcntl
import os
import time

from runx.errors import RunxError, reason

TYPE_CHECKING = False  # as typing's, which a supervisor does not load
if TYPE_CHECKING:
    from collections.abc import Sequence

ONCE = "once-"
"""The names of files of one container's alone begin so. They go when its domain holds them open."""
RELEASE_S = 5.0
"""How long the kernel may take to let a file go after the domain that had it has."""
_OF_THE_ROOT = ("base", "added", "layer")
"""Disks that runx has made of the root filesystem (plan.Disk.holds)."""

_QCOW2 = b"QFI\xfb"
_EXTERNAL_DATA = 4
"""Of the incompatible features of a qcow2 image (QEMU, docs/interop/qcow2.txt)."""


def lock(image: str) -> int:
    """Check and lock the file of a disk, given as Record.disks has it;
    `ro` shares the lock, `rw` does not. The descriptor that holds the
    lock until it is closed.

    Nobody can take the lock as long as the disk is in use, whoever is killed. A loop device keeps the descriptor it is made of
    (loop.py), and so does the QEMU of a disk that QEMU serves, which inherits it from `xl create`: QEMU itself locks no disks of
    Xen's.

    Raises RunxError when another container has it, or when it would lead QEMU to other files of the host.
    """
    access, kind, path = image.split(" ", 2)
    try:
        written = access == "rw" and not by_qemu(image)
        fd = os.open(path, (os.O_RDWR if written else os.O_RDONLY) | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise RunxError(f"{_name(kind)}: {path}: {reason(error)}") from None
    try:
        if kind == "qcow2":
            _check_qcow2(path, os.pread(fd, 80, 0))
        _lock(fd, fcntl.LOCK_SH if access == "ro" else fcntl.LOCK_EX)
    except BlockingIOError:
        os.close(fd)
        raise RunxError(f"{_name(kind)}: {path} is in use by another container", _hint(kind)) from None
    except BaseException:
        os.close(fd)
        raise
    return fd


def by_qemu(disk: str) -> bool:
    """Whether QEMU serves the disk, and not the kernel."""
    return disk.split(" ", 2)[1] in ("qcow2", "vhd")


def _lock(fd: int, operation: int) -> None:
    limit = time.monotonic() + RELEASE_S
    while True:
        try:
            return fcntl.flock(fd, operation | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > limit:
                raise
            time.sleep(0.05)


def forget(disks: "Sequence[str]") -> None:
    """Remove the names of files that only this container has, once its domain holds them or will never be."""
    for disk in disks:
        forget_file(disk.split(" ", 2)[2])


def forget_file(path: str) -> None:
    """Remove the name of one file, if only this container has it."""
    if path.rpartition("/")[2].startswith(ONCE):
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass  # it was not made yet


def _name(kind: str) -> str:
    return "root.path" if kind in _OF_THE_ROOT else "vm.image.path"


def _hint(kind: str) -> str:
    if kind == "layer":
        return "two containers cannot write to one root filesystem by disk: use root.readonly, another root, or the carrier 9p"
    return "give each container an image of its own, or let all of them read it with root.readonly"


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
