"""How the container's root filesystem travels: who asked for what, and what of it can be."""

from typing import Literal, NamedTuple

from runx.compiler.diagnostics import Path, Report, quote
from runx.compiler.facts import Facts
from runx.compiler.frontends.container import Container
from runx.compiler.frontends.own_boot import ROOT_CARRIER_ANNOTATION
from runx.compiler.host_config import CARRIERS, HostConfig
from runx.compiler.root_facts import RootFacts
from runx.errors import RunxError

PROGRAMS = {"mkfs.erofs": "erofs-utils", "mke2fs": "e2fsprogs"}
"""What makes the disks of a root, and Debian's packages of it."""


class RootChoice(NamedTuple):
    """`facts`: what the disks are made of; None unless runx makes them."""

    carrier: Literal["9p", "disk", "none"]
    reason: str
    facts: RootFacts | None = None


def choose_root(container: Container, host: HostConfig, option: str, facts: Facts, report: Report) -> RootChoice:
    """The carrier. Faults go to `report`; the choice is good enough for further checks then.

    option: of the command line; it goes before the annotation, which goes before runx.toml. Raises RunxError for one that is
    none.
    """
    if container.is_sandbox:
        return RootChoice("none", "the sandbox of a pod runs no program")
    asked, by, origin = _asked(container, host, option, report)
    if container.image is not None and container.ramdisk is None:
        if asked == "9p" and origin:
            report.error(origin, f"{by} is 9p, but the root filesystem is vm.image, a disk", "leave one of them out")
        return RootChoice("disk", "vm.image")
    if container.ramdisk is not None:
        if asked == "disk" and origin:
            report.error(origin, f"{by} is disk, but the container's own ramdisk would not know of it", "leave it out")
        return RootChoice("9p", "the container's own ramdisk mounts the share")
    if asked == "9p" or facts.kind(container.root_path) != "directory":
        return RootChoice("9p", by)
    if asked == "auto":
        return _automatic(container, host, facts)
    made = facts.root(container.root_path)
    if not (made.upper_is_engines or container.root_read_only):
        made = made._replace(identity=facts.identity(made.upper or made.path))
    obstacle, hint = _obstacle(container, made, facts)
    if obstacle:
        report.error(origin or ("root", "path"), f"{by} is disk, but {obstacle}", hint)
        return RootChoice("9p", by)
    return RootChoice("disk", by, made)


def _asked(container: Container, host: HostConfig, option: str, report: Report) -> tuple[str, str, Path | None]:
    """The carrier asked for, by what, and where in the configuration that is; None for the host's own word."""
    if option:
        if option not in CARRIERS:
            raise RunxError(f"--root-carrier: {option!r} is none of {', '.join(CARRIERS)}")
        return option, "--root-carrier", ("root",)
    name = ROOT_CARRIER_ANNOTATION
    if name in container.annotations:
        value = container.annotations[name]
        if value in CARRIERS:
            return value, name, ("annotations", name)
        report.error(("annotations", name), f"must be {', '.join(CARRIERS[:-1])} or {CARRIERS[-1]}, not {quote(value)}")
    return host.root_carrier, "root.carrier of runx.toml" if "root.carrier" in host.lines else "auto", None


def _automatic(container: Container, host: HostConfig, facts: Facts) -> RootChoice:
    """A disk behaves as a root filesystem should and needs no QEMU; 9p is for what no disk is made of, or not once for all."""
    if container.kernel is not None or host.kernel:
        return RootChoice("9p", "auto: another kernel than runx's may lack what a root by disk needs")
    made = facts.root(container.root_path)
    if not (made.lower and made.upper_is_engines):
        return RootChoice("9p", "auto: it is a directory that may change, of which an image would have to be made each time")
    obstacle, _ = _obstacle(container, made, facts)
    if obstacle:
        return RootChoice("9p", f"auto: {obstacle}")
    return RootChoice("disk", "auto: it has layers that never change", made)


def _obstacle(container: Container, made: RootFacts, facts: Facts) -> tuple[str, str]:
    """What keeps the root from being made a disk, and what would help. "" for nothing."""
    lacking = [program for program in PROGRAMS if not facts.has_program(program)]
    if lacking:
        packages = " ".join(PROGRAMS[program] for program in lacking)
        return f"this host has no {' and no '.join(lacking)}", f"apt-get install {packages}"
    if made.mounts_below:
        return (
            f"{quote(made.mounts_below[0])} is a mount point in the root filesystem",
            "9p carries what is mounted there, a disk does not",
        )
    if not (made.identity or made.upper_is_engines or container.root_read_only):
        what = "the file system of root.path keeps no time of birth, so that its changes could be taken for another directory's"
        return what, "use root.readonly, or a root filesystem on ext4, xfs, btrfs or a newer tmpfs"
    return "", ""
