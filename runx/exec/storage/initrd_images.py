"""A root filesystem in memory, whose images travel in the ramdisk."""

import os
import stat
from typing import TYPE_CHECKING, BinaryIO

from runx import cpio
from runx.errors import RunxError
from runx.exec.storage import disk_lock, image_cache

if TYPE_CHECKING:
    from runx.exec.plan_json import VmPlan

PLACE = "runx/root"
"""Directory in the ramdisk. Its files are the images: 0, 1 and so on."""


def make(directory: str, plan: "VmPlan") -> None:
    """Make the images that do not exist yet, and append all to the ramdisk. Raises RunxError.

    directory: the container's.
    """
    root, domain = plan["root"], plan["domain"]
    assert domain, "a plan with images has a guest"
    images: list[int] = []
    try:
        images = image_cache.make(directory, plan)
        add_images(domain["ramdisk"], images, root["images_mib"] << 20)
    finally:
        for fd in images:
            os.close(fd)
        for made in root["images"]:
            disk_lock.forget_file(made["source"])


def add_images(ramdisk: str, images: list[int], limit: int) -> None:
    """Append an archive of the images to the file of a ramdisk, which ends with an archive.

    images: descriptors. limit: bytes of all images together. Raises RunxError when they have more, since the tree has grown after
    it was measured.
    """
    sizes = [os.fstat(source).st_size for source in images]
    if sum(sizes) > limit:
        raise RunxError(
            f"root.path: the images of the root filesystem are larger than the {limit >> 20} MiB measured before",
            "the files changed while they were read: try again, or use the carrier disk",
        )
    with open(ramdisk, "r+b", buffering=0) as file:
        start = file.seek(0, os.SEEK_END)
        _write(file, cpio.header(1, PLACE, stat.S_IFDIR | 0o700, 0))
        for number, (source, size) in enumerate(zip(images, sizes, strict=True)):
            _write(file, cpio.header(number + 2, f"{PLACE}/{number}", stat.S_IFREG | 0o400, size))
            _copy(source, file.fileno(), size)
            _write(file, cpio.padding(size))
        _write(file, cpio.end(file.tell() - start))


def _write(file: BinaryIO, data: bytes) -> None:
    if file.write(data) != len(data):
        raise RunxError(f"{file.name}: no space left on device")


def _copy(source: int, target: int, size: int) -> None:
    done = 0
    while done < size:
        count = os.sendfile(target, source, done, size - done)
        if not count:
            raise RunxError("root.path: an image of the root filesystem became shorter while it was read")
        done += count
