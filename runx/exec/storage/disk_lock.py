"""Locks of the files behind disks: one container writes to a file, or any number of containers read it."""

import fcntl
import os
import time

from runx.errors import RunxError, reason

TYPE_CHECKING = False  # as typing's, which would cost each supervisor memory
if TYPE_CHECKING:
    from collections.abc import Sequence

ONCE = "once-"
"""Prefix of names of files that one container alone uses. The name is removed once the domain has the file open."""
RELEASE_S = 5.0
"""How long the kernel may take to close a file after its domain has ended."""
_OF_THE_ROOT = ("base", "engine", "added", "layer")
"""Kinds of disks with parts of the root filesystem (plan.Disk.holds)."""

_QCOW2 = b"QFI\xfb"
_EXTERNAL_DATA = 4
"""Bit of the incompatible features of a qcow2 image (QEMU, docs/interop/qcow2.txt)."""


def lock(image: str) -> int:
    """Check and lock the file of a disk; a descriptor that holds the lock until it is closed.

    image: a line of Record.disks. With `ro` the lock is shared, with `rw` it is exclusive.

    The lock lasts as long as the disk is in use, even if processes of runx are killed: a loop device keeps the descriptor that it
    is made of (linux/loop.py). A QEMU that serves the disk inherits the descriptor from `xl create`, since QEMU itself does not
    lock disks of Xen domains.

    Raises RunxError when another container has the lock, or when QEMU would open other files of the host.
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
    """Whether QEMU serves the disk. If not, the kernel does."""
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
    """Remove the names of files that this container alone uses, once its domain has them open or will not be created."""
    for disk in disks:
        forget_file(disk.split(" ", 2)[2])


def forget_file(path: str) -> None:
    """Remove the name of a file, if one container alone uses it."""
    if path.rpartition("/")[2].startswith(ONCE):
        try:
            os.unlink(path)
        except FileNotFoundError:
            pass  # it does not exist yet


def _name(kind: str) -> str:
    return "root.path" if kind in _OF_THE_ROOT else "vm.image.path"


def _hint(kind: str) -> str:
    if kind == "layer":
        return "two containers cannot write to one root filesystem by disk: use root.readonly, another root, or the carrier 9p"
    return "give each container an image of its own, or let all of them read it with root.readonly"


def _check_qcow2(path: str, header: bytes) -> None:
    """Refuse an image that names another file. QEMU would open that file as root of this host, whichever it is."""
    if len(header) < 72 or header[:4] != _QCOW2:
        raise RunxError(f"vm.image.path: {path} is no qcow2 image", "vm.image.format says what it is: raw, qcow2 or vhd")
    version = int.from_bytes(header[4:8], "big")
    backing = int.from_bytes(header[8:16], "big")
    features = int.from_bytes(header[72:80], "big") if version >= 3 else 0
    if backing or features & _EXTERNAL_DATA:
        what = "a backing file" if backing else "an external data file"
        hint = "make it one file: qemu-img convert -O qcow2 FILE NEW"
        raise RunxError(f"vm.image.path: {path} has {what}, which could be any file of this host", hint)
