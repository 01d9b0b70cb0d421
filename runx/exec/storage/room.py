"""Room on the file systems that images and layers are on."""

import os

TYPE_CHECKING = False  # as typing's, which would cost each supervisor memory
if TYPE_CHECKING:
    from collections.abc import Iterable

    from runx.errors import RunxError

_BLOCK = 4096
"""A block of an image."""
_INODE = 128
"""Of an image, with small attributes."""
_SMALL = 8
"""An image is small if it needs no more than this part of what is free."""


def reserve(size: int, keep_free_mib: int) -> int:
    """What to leave free on a file system of `size` bytes: root.keep_free, but at most a tenth of it."""
    return min(keep_free_mib << 20, size // 10)


def spare(system: os.statvfs_result, keep_free_mib: int) -> int:
    """Bytes that may be used of a file system (statvfs(2)); negative if less is free than it should be."""
    # Bytes for root alone are no room: others' programs need them when the disk is full.
    return system.f_bavail * system.f_frsize - reserve(system.f_blocks * system.f_frsize, keep_free_mib)


def on(path: str, keep_free_mib: int) -> int:
    """`spare` of the file system that a directory is on. Raises OSError."""
    return spare(os.statvfs(path), keep_free_mib)


def for_an_image(path: str, keep_free_mib: int) -> int:
    """How many bytes an image in a directory may take. Raises OSError.

    Small ones may come from what is to be left free: a container that has filled the disk can be started again.
    """
    system = os.statvfs(path)
    return max(spare(system, keep_free_mib), system.f_bavail * system.f_frsize // _SMALL)


def none(what: str, path: str, needed: int, keep_free_mib: int) -> "RunxError":
    """The error that says that there is no room. path: a directory on the file system; needed: bytes."""
    from runx.errors import RunxError  # as `create` alone comes here

    system = os.statvfs(path)
    kept = reserve(system.f_blocks * system.f_frsize, keep_free_mib)
    free = system.f_bavail * system.f_frsize
    return RunxError(
        f"root.path: no room for {what}: {path} has {free >> 20} MiB free, and {max(needed >> 20, 1)} MiB are needed "
        f"beside {kept >> 20} MiB that are left free (root.keep_free)",
        "remove images and containers that nobody needs, or set root.keep_free or paths.images in /etc/runx/runx.toml",
    )


def estimate(tops: "Iterable[str]") -> int:
    """About how many bytes an image of these directories together takes. Raises OSError.

    Files that a layer hides are counted as well.
    """
    size = 0
    for top in tops:
        linked: set[tuple[int, int]] = set()
        for _, directories, files, fd in os.fwalk(top, follow_symlinks=False):
            entries = 0
            for name in (*directories, *files):
                try:
                    status = os.stat(name, dir_fd=fd, follow_symlinks=False)
                except FileNotFoundError:
                    continue  # it was removed just now
                entries += 12 + len(os.fsencode(name))
                if status.st_nlink > 1 and name not in directories:
                    if (status.st_dev, status.st_ino) in linked:
                        continue
                    linked.add((status.st_dev, status.st_ino))
                size += _INODE + (0 if name in directories else _blocks(status.st_size))
            size += _blocks(entries)
    return size


def _blocks(size: int) -> int:
    return -(-size // _BLOCK) * _BLOCK
