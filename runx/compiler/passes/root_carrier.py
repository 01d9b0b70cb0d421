"""How the container's root filesystem travels: the carrier that is asked for, and whether it is possible."""

import re
from typing import Literal, NamedTuple

from runx.compiler.diagnostics import Elsewhere, Path, Report, quote
from runx.compiler.frontends.oci.runx_extensions import ROOT_CARRIER_ANNOTATION
from runx.compiler.host.config import CARRIERS, HostConfig
from runx.compiler.host.facts import Facts
from runx.compiler.host.overlay_layers import RootFacts
from runx.compiler.model.request import Container
from runx.compiler.passes.memory import start_mib

_OPTION = "--root-carrier"
_CARRIER_HINT = "use one of them, or leave it out"

PROGRAMS = {"mkfs.erofs": "erofs-utils", "mke2fs": "e2fsprogs"}
"""Programs that make the disks of a root filesystem, and Debian's packages with them."""
_OF = {"disk": tuple(PROGRAMS), "ram": ("mkfs.erofs",)}
"""The programs that a carrier needs."""

_BUILDAH = re.compile(r"/buildah[0-9]+/mnt/rootfs$")
"""The end of root.path for steps of an image's build by buildah and podman (buildah 1.28 to 1.43, run_common.go): nothing else in
the configuration tells them from other containers."""


class RootChoice(NamedTuple):
    """The carrier, and why it is this one. `facts`: the parts of the root filesystem, if runx makes disks or images of it.
    `images_mib`: the most that the images occupy."""

    carrier: Literal["9p", "disk", "ram", "none"]
    reason: str
    facts: RootFacts | None = None
    images_mib: int = 0


def choose_root(container: Container, host: HostConfig, option: str, facts: Facts, report: Report) -> RootChoice:
    """Choose the carrier. Faults go to `report`. With a fault, the choice is only good for further checks.

    option: of the command line. It goes before the annotation, which goes before runx.toml.
    """
    if option and option not in CARRIERS:
        message = f"{quote(option)} is none of {', '.join(CARRIERS)}"
        report.error("RX210", (Elsewhere(_OPTION),), message, _CARRIER_HINT)
        option = ""
    if container.is_sandbox:
        return RootChoice("none", "the sandbox of a pod runs no program")
    asked, by, origin = _asked(container, host, option, report)
    if container.joins and asked == "ram":
        if by in (_OPTION, ROOT_CARRIER_ANNOTATION):
            message = "the carrier is ram, but images in memory come with the start of a machine, and this one is the pod's"
            report.error("RX225", origin, message, "use disk or 9p, or leave it out")
        asked, by = "auto", "ram comes with the start of a machine, and this one is the pod's"
    is_hosts = by not in (_OPTION, ROOT_CARRIER_ANNOTATION)
    if container.image is not None and container.ramdisk is None:
        if asked in ("9p", "ram") and not is_hosts:
            message = f"the carrier is {asked}, but the root filesystem is vm.image, a disk"
            report.error("RX211", origin, message, "leave one of them out")
        return RootChoice("disk", "vm.image")
    if container.ramdisk is not None:
        if asked in ("disk", "ram") and not is_hosts:
            message = f"the carrier is {asked}, but the container's own ramdisk would not know about it"
            report.error("RX212", origin, message, "leave it out")
        return RootChoice("9p", "the container's own ramdisk mounts the share")
    if asked == "9p" or facts.kind(container.root_path) != "directory":
        return RootChoice("9p", by)
    if asked == "auto":
        return _automatic(container, host, facts)
    made = facts.root(container.root_path)
    if asked == "ram":
        return _in_memory(container, host, facts, made, by, origin, report)
    if not (made.upper_is_engines or container.root_read_only):
        made = made._replace(identity=facts.identity(made.upper or made.path))
    obstacle, hint = _obstacle("disk", made, facts)
    if not obstacle:
        obstacle, hint = _no_identity(container, made)
    if obstacle:
        report.error("RX213", origin, f"the carrier is disk, but {obstacle}", hint)
        return RootChoice("9p", by)
    return RootChoice("disk", by, made)


def _in_memory(
    container: Container, host: HostConfig, facts: Facts, made: RootFacts, by: str, origin: Path, report: Report
) -> RootChoice:
    """The choice of the carrier `ram`."""
    if made.upper and made.upper in made.added:
        # As layers, hidden files would occupy memory. And the size of the images must be known now.
        made = RootFacts(made.path)
    obstacle, hint = _obstacle("ram", made, facts)
    images_mib = 0
    if not obstacle:
        limit = host.ram_limit_mib << 20
        parts = [made.path, *(made.added if made.lower else ())]
        images_mib = -(-sum(facts.image_bytes(part, limit) for part in parts) // 2**20)
        if images_mib > host.ram_limit_mib:
            obstacle = f"an image of the root filesystem may take more than {host.ram_limit_mib} MiB, root.ram_limit"
            hint = "use the carrier disk, or raise root.ram_limit in /etc/runx/runx.toml"
    if obstacle:
        report.error("RX214", origin, f"the carrier is ram, but {obstacle}", hint)
        return RootChoice("9p", by)
    given = container.hardware.memory_bytes
    if given and given < start_mib(images_mib) << 20:
        what = f"the root filesystem in memory, {images_mib} MiB, needs {start_mib(images_mib)} MiB to start"
        report.error("RX215", (*container.hardware.origin, "memory"), what, "give it more, or use the carrier disk")
    return RootChoice("ram", by, made, images_mib)


def _asked(container: Container, host: HostConfig, option: str, report: Report) -> tuple[str, str, Path]:
    """The carrier, what asks for it, and the place of that."""
    if option:
        return option, _OPTION, (Elsewhere(_OPTION),)
    name = ROOT_CARRIER_ANNOTATION
    if name in container.annotations:
        value = container.annotations[name]
        if value in CARRIERS:
            return value, name, ("annotations", name)
        report.error("RX210", ("annotations", name), f"{quote(value)} is none of {', '.join(CARRIERS)}", _CARRIER_HINT)
    if "root.carrier" in host.lines:
        return host.root_carrier, "root.carrier of runx.toml", host.origin("root.carrier")
    return host.root_carrier, "auto", ("root", "path")


def _automatic(container: Container, host: HostConfig, facts: Facts) -> RootChoice:
    """The choice of `auto`: disks if they are made once for all containers, as they behave like other root filesystems and need
    no QEMU; else 9p. Never memory: each container would need more of it, and would lose its changes at its end."""
    if container.kernel is not None or host.kernel:
        return RootChoice("9p", "auto: another kernel than runx's may lack the drivers for a root on disks")
    if _BUILDAH.search(container.root_path):
        return RootChoice("9p", "auto: buildah makes an image of what the container writes, which it would not find on a disk")
    made = facts.root(container.root_path)
    if not (made.lower and made.upper_is_engines):
        return RootChoice("9p", "auto: it is a directory that may change, so an image would have to be made each time")
    obstacle, _ = _obstacle("disk", made, facts)
    if obstacle:
        return RootChoice("9p", f"auto: {obstacle}")
    return RootChoice("disk", "auto: it has layers that never change", made)


def _obstacle(carrier: str, made: RootFacts, facts: Facts) -> tuple[str, str]:
    """Why images of the root filesystem cannot be made, and a hint. "" if they can."""
    lacking = [program for program in _OF[carrier] if not facts.has_program(program)]
    if lacking:
        packages = " ".join(PROGRAMS[program] for program in lacking)
        return f"this host has no {' and no '.join(lacking)}", f"apt-get install {packages}"
    if made.mounts_below:
        return (
            f"{quote(made.mounts_below[0])} is a mount point in the root filesystem",
            "9p carries mounts below the root filesystem, the other carriers do not",
        )
    return "", ""


def _no_identity(container: Container, made: RootFacts) -> tuple[str, str]:
    """The same for the layer with its changes."""
    if not (made.identity or made.upper_is_engines or container.root_read_only):
        what = "the file system of root.path keeps no time of birth, so a layer could be taken for that of another directory"
        return what, "use root.readonly, or a root filesystem on ext4, xfs, btrfs or a newer tmpfs"
    return "", ""
