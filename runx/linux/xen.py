"""Memory and events that guests of Xen share with this machine: /dev/xen/gntdev and /dev/xen/evtchn (Linux, include/uapi/xen)."""

import fcntl
import mmap
import os
import struct
from _thread import allocate_lock

PAGE = 4096
MODULES_HINT = "load it: modprobe -a xen-gntdev xen-evtchn"
"""What to do where a device is missing."""
_MAP_GRANT_REF = 0x184700
"""IOCTL_GNTDEV_MAP_GRANT_REF (xen/gntdev.h), whatever the number of references."""
_UNMAP_GRANT_REF = 0x104701
_BIND_INTERDOMAIN = 0x84501  # IOCTL_EVTCHN_BIND_INTERDOMAIN (xen/evtchn.h)
_UNBIND = 0x44503
_NOTIFY = 0x44504
_RESTRICT = 0x24506
"""IOCTL_EVTCHN_RESTRICT_DOMID"""
IOCTLS = (_MAP_GRANT_REF, _UNMAP_GRANT_REF, _BIND_INTERDOMAIN, _UNBIND, _NOTIFY, _RESTRICT)

_ORDERED = ("x86_64", "i686")
"""Processors that keep the order of reads, of writes, and of a read before a write, which a ring needs (memory-barriers.txt)."""
_lock = allocate_lock()
_lock.acquire()


def none_needed() -> None:
    pass


def by_lock() -> None:
    """Order memory accesses by a lock, as Python has no memory barrier of its own. Releasing the lock orders what comes before,
    taking it orders what follows, and Arm never exchanges the two (glibc, sem_post and sem_trywait: a store-release and a
    load-acquire of one word)."""
    _lock.release()
    _lock.acquire()


barrier = none_needed if os.uname().machine in _ORDERED else by_lock
"""Accesses before the call are done, as the guest's processors see them, before those after it. It stands where Linux has mb()
and wmb() (drivers/tty/hvc/hvc_xen.c)."""


def open_grants() -> int:
    """A descriptor of the device of grants. Raises OSError."""
    return os.open("/dev/xen/gntdev", os.O_RDWR | os.O_CLOEXEC)


def map_grants(fd: int, domid: int, references: "list[int]") -> tuple[mmap.mmap, int]:
    """Map pages that a domain has granted, one after the other; the mapping, and its offset for `unmap_grants`.

    fd: of `open_grants`. The pages are mapped until both the mapping and the descriptor are closed. Raises OSError.
    """
    request = bytearray(struct.pack("<IIQ", len(references), 0, 0))
    for reference in references:
        request += struct.pack("<II", domid, reference)
    fcntl.ioctl(fd, _MAP_GRANT_REF, request)  # a mutable buffer may have any size
    (offset,) = struct.unpack_from("<Q", request, 8)
    size = len(references) * PAGE
    return mmap.mmap(fd, size, mmap.MAP_SHARED, mmap.PROT_READ | mmap.PROT_WRITE, offset=offset), offset


def unmap_grants(fd: int, offset: int, count: int) -> None:
    """Let go of pages whose mapping has been closed, while the descriptor stays open. Raises OSError."""
    fcntl.ioctl(fd, _UNMAP_GRANT_REF, struct.pack("<QII", offset, count, 0))


def open_channels() -> int:
    """A descriptor of the device of event channels: reading gives the ports that have events, as 32-bit numbers, and masks them;
    writing them back unmasks them. Raises OSError."""
    return os.open("/dev/xen/evtchn", os.O_RDWR | os.O_NONBLOCK | os.O_CLOEXEC)


def restrict_channels(fd: int, domid: int) -> None:
    """Let no channels of other domains be bound by this descriptor any more. Raises OSError."""
    fcntl.ioctl(fd, _RESTRICT, struct.pack("<H2x", domid))


def bind_channel(fd: int, domid: int, port: int) -> int:
    """Bind an event channel that a domain offers; its port here. Raises OSError."""
    found: int = fcntl.ioctl(fd, _BIND_INTERDOMAIN, bytearray(struct.pack("<II", domid, port)))
    return found


def unbind_channel(fd: int, port: int) -> None:
    fcntl.ioctl(fd, _UNBIND, struct.pack("<I", port))


def notify(fd: int, port: int) -> None:
    """Send an event. Raises OSError."""
    fcntl.ioctl(fd, _NOTIFY, struct.pack("<I", port))
