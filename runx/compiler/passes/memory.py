"""The memory that a virtual machine needs so that its container can use its whole limit.

The constants are measured: docs/pipeline.md, "Memory", has the numbers, and how to measure them again.
"""

GUEST_MIB = 20
"""Memory of the guest's kernel and the ramdisk, whatever the size of the machine. This is 3 MiB more than measured, for a larger
overlay and the first pages of a process."""
UNPACKING_MIB = 16
"""Memory that must be free beyond that when the kernel has unpacked its ramdisk and not yet freed it: 14 MiB were measured."""
LIMIT_PER_MIB = 32
"""One MiB in so many is for data that grow with memory: descriptions of page frames, page tables, the kernel's reserve."""
SHARE_MIB = 2
"""The two rings of one 9p share (exec/ninep/ring.py)."""
DISK_MIB = 1
"""Memory that one queue of a disk keeps: descriptions of 32 requests of 32 pages, and their indirect segments (Linux,
drivers/block/xen-blkfront.c, without persistent grants)."""
MAX_DISK_QUEUES = 4
"""The most queues of one disk. It has one for each virtual CPU, up to the number of dom0's CPUs, which is taken to be this."""
VCPU_MIB = 1
"""Memory of the kernel for one more virtual CPU."""
QUEUE_MIB = 1
"""Memory that one queue of a network interface keeps ready: 256 pages (Linux, drivers/net/xen-netfront.c, NET_RX_RING_SIZE)."""
MAX_QUEUES = 8
"""The most queues of one interface. It has one for each virtual CPU, up to this number (xen-netback's max_queues)."""


def kept_mib(images_mib: int) -> int:
    """Memory of the images of a root in memory. They stay there: there is no swap, and no file to read them from again."""
    return images_mib + -(-images_mib // LIMIT_PER_MIB)


def start_mib(images_mib: int) -> int:
    """The least memory with which a machine with such images starts. They are in memory twice: in the ramdisk, and in the file
    system that the kernel unpacks from it before it frees the ramdisk (Linux, init/initramfs.c)."""
    return GUEST_MIB + UNPACKING_MIB + 2 * kept_mib(images_mib)


def memory_mib(limit_bytes: int, *, shares: int, vcpus: int, interfaces: int, disks: int = 0) -> int:
    """The machine's memory for a container that can use `limit_bytes`, without the images of a root in memory."""
    limit_mib = -(-limit_bytes // 2**20)
    around = GUEST_MIB + shares * SHARE_MIB + (vcpus - 1) * VCPU_MIB
    around += disks * min(vcpus, MAX_DISK_QUEUES) * DISK_MIB
    queues = interfaces * min(vcpus, MAX_QUEUES)
    return limit_mib + -(-limit_mib // LIMIT_PER_MIB) + around + queues * QUEUE_MIB
