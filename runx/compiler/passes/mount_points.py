"""Mount points that the root filesystem has already, as something on which the mount does not fit.

Each message has the words "not a directory": docker adds an explanation of its own to them, as to runc's.
"""

from runx.compiler.diagnostics import Path, Report, quote
from runx.compiler.frontends.oci import paths
from runx.compiler.host.facts import Facts, Kind
from runx.compiler.model.request import Container, MountRequest
from runx.compiler.passes.mount_carrier import is_node_of_guest

_HINT = "mount a directory on a directory, and a file on a file"


def check_mount_points(container: Container, facts: Facts, report: Report) -> None:
    """Report mounts of directories on files of the root filesystem, or below them, and of files on its directories; and a
    working directory and devices with the same fault. What lies in another mount is the guest's business."""
    if container.ramdisk or container.image or container.is_sandbox or report.has_errors_below(("root",)):
        return
    kinds: dict[str, Kind] = {}

    def kind_of(place: str) -> Kind:
        if place not in kinds:
            kinds[place] = facts.kind_in_root(container.root_path, place)
        return kinds[place]

    def file_above(place: str) -> str:
        """The lowest part of the root filesystem above a missing place, if it is not a directory."""
        part = next((part for part in paths.parents(place) if kind_of(part) != "missing"), "/")
        return part if part != "/" and kind_of(part) not in ("directory", "unreadable") else ""

    before: set[str] = set()
    for mount in container.mounts:
        place, path = mount.destination, (*mount.path, "destination")
        if place not in before and not before.intersection(paths.parents(place)) and not report.has_errors_below(mount.path):
            if kind_of(place) == "missing" and (parent := file_above(place)):
                what = f"{quote(parent)} of the root filesystem is a {kind_of(parent)}, not a directory"
                report.error("RX326", path, f"{quote(place)} cannot be made: {what}", "name another place for the mount")
            else:
                _check(mount, kind_of(place), facts, report)
        before.add(place)
    cwd = paths.absolute(container.document.get("process", {}).get("cwd", ""))
    if not before.intersection((cwd, *paths.parents(cwd))) and kind_of(cwd) != "directory":
        part = file_above(cwd) if kind_of(cwd) == "missing" else cwd if kind_of(cwd) != "unreadable" else ""
        if part:
            message = f"{quote(part)} of the root filesystem is a {kind_of(part)}, not a directory"
            report.error("RX117", ("process", "cwd"), message, "name a directory, or one that can be made")
    for index, entry in enumerate(container.document.get("linux", {}).get("devices", ())):
        place, path = paths.absolute(entry.get("path", "")), ("linux", "devices", index)
        if before.intersection((place, *paths.parents(place))) or report.has_errors_below(path):
            continue
        if kind_of(place) == "directory":
            message = f"{quote(place)} is a directory of the root filesystem"
            report.error("RX413", (*path, "path"), message, "name a file such as /dev/x")
        elif kind_of(place) == "missing" and (parent := file_above(place)):
            what = f"{quote(parent)} of the root filesystem is a {kind_of(parent)}, not a directory"
            report.error("RX415", (*path, "path"), f"{quote(place)} cannot be made: {what}", "name another place for it")


def is_directory(mount: MountRequest, facts: Facts) -> bool:
    """Whether what is mounted is a directory. Only a bind of a file is none."""
    return mount.type != "bind" or bool(mount.options.data) or facts.kind(mount.source) == "directory"


def _check(mount: MountRequest, kind: Kind, facts: Facts, report: Report) -> None:
    """Report a mount on something of this kind."""
    path: Path = (*mount.path, "destination")
    if kind in ("missing", "unreadable"):
        return
    is_file = not is_directory(mount, facts)
    if is_file and mount.source and kind == "directory":
        what = "device" if is_node_of_guest(mount, facts) else "file"
        message = (
            f"{quote(mount.destination)} is a directory of the root filesystem, and the {what} {mount.source} is not a directory"
        )
        report.error("RX326", path, message, _HINT)
    elif not is_file and kind != "directory":
        source = mount.source if mount.type == "bind" else f"a {mount.type}"
        message = f"{quote(mount.destination)} is a {kind} of the root filesystem, not a directory, and {source} is one"
        report.error("RX326", path, message, _HINT)
