"""The `vm` object (OCI config-vm.md): kernel, image and hardware of a virtual machine.

Go writes a missing object or string as an empty one, so those count as absent.
"""

import re
from typing import Any

from runx.compiler.diagnostics import Path, Report, quote
from runx.compiler.model.plan import IoMemory
from runx.compiler.model.request import BootFile, Hardware, ImageRequest


def read_vm_boot(vm: dict[str, Any], report: Report) -> tuple[BootFile | None, BootFile | None, tuple[str, ...]]:
    """Kernel, ramdisk, and the parameters for the kernel's command line. Faults of parameters go to `report`."""
    kernel = vm.get("kernel", {})
    parameters = tuple(kernel.get("parameters", ()))
    for index, parameter in enumerate(parameters):
        if not re.fullmatch(r"[!#-~]+", parameter):
            hint = "one parameter a string, without spaces and double quotes"
            report.error("RX233", ("vm", "kernel", "parameters", index), f"not a kernel parameter: {quote(parameter)}", hint)
    files = [BootFile(kernel[name], False, ("vm", "kernel", name)) if kernel.get(name) else None for name in ("path", "initrd")]
    return files[0], files[1], parameters


def read_image(vm: dict[str, Any], report: Report) -> ImageRequest | None:
    """`image`: the container's root filesystem as a disk; None without one, and for a fault."""
    image = vm.get("image", {})
    path, image_format = image.get("path"), image.get("format")
    if not path and not image_format:
        return None
    origin: Path = ("vm", "image")
    if not path:
        report.error("RX220", (*origin, "path"), "must name the image's file")
    elif not path.startswith("/"):
        report.error("RX220", (*origin, "path"), f"must be an absolute path, not {quote(path)}")
    elif image_format in ("vdi", "vmdk"):
        hint = f"qemu-img convert -f {image_format} -O qcow2 FILE NEW"
        report.error("RX221", (*origin, "format"), f"xl cannot attach images of format {image_format}", hint)
    elif image_format not in ("raw", "qcow2", "vhd"):
        # No format is ever guessed: a guest could write data into a raw image that make it look like another format.
        report.error("RX221", (*origin, "format"), f"must be raw, qcow2 or vhd, not {quote(image_format or '')}")
    else:
        return ImageRequest(path, image_format)
    return None


def read_hardware(vm: dict[str, Any], report: Report) -> Hardware:
    """`hwConfig`, which the specification's Go types write as `hwconfig`."""
    spellings = [name for name in ("hwConfig", "hwconfig") if any(vm.get(name, {}).values())]
    if len(spellings) > 1:
        report.error("RX234", ("vm", spellings[1]), "given twice, as hwConfig and as hwconfig", "keep one of them")
    if not spellings:
        return Hardware()
    path: Path = ("vm", spellings[0])
    section = vm[spellings[0]]
    dtdevs = tuple(section.get("dtdevs", ()))
    for index, node in enumerate(dtdevs):
        if not node.startswith("/"):
            report.error(
                "RX237", (*path, "dtdevs", index), f"must be the path of a node in the host's device tree, not {quote(node)}"
            )
    return Hardware(
        vcpus=section.get("vcpus") or None,
        memory_bytes=section.get("memory") or None,
        device_tree=section.get("deviceTree") or None,
        dtdevs=dtdevs,
        iomems=tuple(
            IoMemory(first_mfn=entry.get("firstMFN", 0), pages=entry.get("nrMFNs", 0), first_gfn=entry.get("firstGFN"))
            for entry in section.get("iomems", ())
        ),
        irqs=tuple(section.get("irqs", ())),
        origin=path,
    )
