"""How much memory a virtual machine needs for its container to have its limit.

Measured: docs/pipeline.md, "Memory", has the numbers and how to get them again.
"""

GUEST_MIB = 20
"""What the guest's kernel and the ramdisk take whatever the size, and 3 MiB more than was measured: for a larger overlay and the
first pages of a process."""
UNPACKING_MIB = 16
"""What has to be free beyond that when the kernel has unpacked its ramdisk and not yet given it back: 14 MiB were measured."""
LIMIT_PER_MIB = 32
"""One MiB in so many goes to what grows with memory: the descriptions of page frames, page tables, what the kernel keeps back."""
SHARE_MIB = 4
"""The ring of one 9p share."""
DISK_MIB = 4
"""What one queue of a disk keeps once it was busy: 32 requests of 32 pages (Linux, drivers/block/xen-blkfront.c,
xen_blkif_max_segments and persistent grants)."""
MAX_DISK_QUEUES = 4
"""Of one disk, which has one for each virtual CPU up to as many as dom0 has; taken to be these."""
VCPU_MIB = 1
"""What the kernel keeps for one more virtual CPU."""
QUEUE_MIB = 1
"""What one queue of a network interface keeps ready: 256 pages (Linux, drivers/net/xen-netfront.c, NET_RX_RING_SIZE)."""
MAX_QUEUES = 8
"""Of one interface, which has one for each virtual CPU up to this (xen-netback's max_queues)."""


def kept_mib(images_mib: int) -> int:
    """What the images of a root in memory take for good: there is no swap, and nothing from which they could be read again."""
    return images_mib + -(-images_mib // LIMIT_PER_MIB)


def start_mib(images_mib: int) -> int:
    """The least with which a machine with such images starts: they are in the ramdisk, and in the file system that the kernel
    unpacks from it before it gives the ramdisk back (Linux, init/initramfs.c)."""
    return GUEST_MIB + UNPACKING_MIB + 2 * kept_mib(images_mib)


def memory_mib(limit_bytes: int, *, shares: int, vcpus: int, interfaces: int, disks: int = 0) -> int:
    """The machine's memory for a container that may use `limit_bytes`, without the images of a root in memory."""
    limit_mib = -(-limit_bytes // 2**20)
    around = GUEST_MIB + shares * SHARE_MIB + (vcpus - 1) * VCPU_MIB
    around += disks * min(vcpus, MAX_DISK_QUEUES) * DISK_MIB
    queues = interfaces * min(vcpus, MAX_QUEUES)
    return limit_mib + -(-limit_mib // LIMIT_PER_MIB) + around + queues * QUEUE_MIB
