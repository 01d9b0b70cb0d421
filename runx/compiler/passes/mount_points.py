"""Mount points that the root filesystem has already, as something on which the mount does not fit.

Each message has the words "not a directory": docker adds an explanation of its own to them, as to runc's.
"""

import posixpath

from runx.compiler.diagnostics import Path, Report, quote
from runx.compiler.host.facts import Facts, Kind
from runx.compiler.model.request import Container, MountRequest
from runx.compiler.passes.mount_carrier import is_node_of_guest

_HINT = "mount a directory on a directory, and a file on a file"


def check_mount_points(container: Container, facts: Facts, report: Report) -> None:
    """Report mounts of directories on files of the root filesystem, or below them, and of files on its directories. What lies
    in another mount is the guest's business."""
    if container.ramdisk or container.image or container.is_sandbox or report.has_errors_below(("root",)):
        return
    kinds: dict[str, Kind] = {}

    def kind_of(place: str) -> Kind:
        if place not in kinds:
            kinds[place] = facts.kind_in_root(container.root_path, place)
        return kinds[place]

    before: set[str] = set()
    for mount in container.mounts:
        place, path = mount.destination, (*mount.path, "destination")
        above = _above(place)
        if place not in before and not before.intersection(above) and not report.has_errors_below(mount.path):
            kind = kind_of(place)
            parent = next((part for part in above if kind_of(part) != "missing"), "/") if kind == "missing" else "/"
            if parent != "/" and kind_of(parent) != "directory":
                what = f"{quote(parent)} of the root filesystem is a {kind_of(parent)}, not a directory"
                report.error("RX326", path, f"{quote(place)} cannot be made: {what}", "name another place for the mount")
            else:
                _check(mount, kind, facts, report)
        before.add(place)


def _above(path: str) -> list[str]:
    """The directories above a path, the lowest first."""
    parts = []
    while (path := posixpath.dirname(path)) != "/":
        parts.append(path)
    return parts


def _check(mount: MountRequest, kind: Kind, facts: Facts, report: Report) -> None:
    """Report a mount on something of this kind."""
    path: Path = (*mount.path, "destination")
    if kind in ("missing", "unreadable"):
        return
    is_file = mount.type == "bind" and not mount.options.data and facts.kind(mount.source) != "directory"
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
