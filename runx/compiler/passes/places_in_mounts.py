"""Places of mounts, of the working directory and of devices inside of other mounts, where the guest could not make them.

Mounts are made one after the other, and each covers what was below its destination. Symbolic links of the container are the
guest's business: only places that certainly cannot be made are faults.
"""

from dataclasses import dataclass, field

from runx.compiler.diagnostics import Path, Report, path_text, quote
from runx.compiler.frontends.oci import paths
from runx.compiler.host.facts import Facts
from runx.compiler.model.request import Container, MountRequest
from runx.compiler.passes.mount_points import is_directory


@dataclass(slots=True)
class _Directory:
    """What mounts have made at a path: a mount point, or a directory above one."""

    mount: MountRequest | None = None
    is_fault: bool = False
    """The mount cannot be made, so nothing is known of what is there and below."""
    entries: dict[str, "_Directory"] = field(default_factory=dict)


@dataclass(slots=True)
class _Place:
    """Where a path leads."""

    around: MountRequest | None
    """The innermost mount that it is in, or at; None in the root filesystem."""
    rest: list[str]
    """The names below that mount."""
    kind: str = ""
    """Of what is there: directory, file or missing; "" if it is not known."""
    above: str = ""
    """A file above the path, as the container sees it."""

    @property
    def is_closed(self) -> bool:
        """Whether nothing can be made there."""
        mount = self.around
        return mount is not None and mount.type == "bind" and not mount.options.data and "ro" in mount.options.flags


class _Mounts:
    """The mounts made so far."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts
        self._top = _Directory()

    def add(self, mount: MountRequest, is_fault: bool) -> None:
        at = self._top
        for name in mount.destination.split("/")[1:]:
            at = at.entries.setdefault(name, _Directory(is_fault=is_fault))
        at.mount, at.is_fault, at.entries = mount, is_fault, {}

    def place(self, path: str) -> _Place:
        names = path.split("/")[1:] if path != "/" else []
        at: _Directory | None = self._top
        around: MountRequest | None = None
        depth = 0
        for index, name in enumerate(names, 1):
            at = at.entries.get(name) if at else None
            if not at:
                break
            if at.is_fault:
                return _Place(None, [])
            if at.mount:
                around, depth = at.mount, index
        found = _Place(around, names[depth:])
        if around and not self.is_directory(around):
            if found.rest:
                found.above = around.destination
            else:
                found.kind = "file"
        elif at is not None:
            found.kind = "directory" if at is not self._top else ""
        elif around and around.type == "bind" and not around.options.data:
            self._look_into(around, found)
        return found

    def is_directory(self, mount: MountRequest) -> bool:
        return is_directory(mount, self._facts)

    def _look_into(self, mount: MountRequest, found: _Place) -> None:
        """Say of a place in a bind mount what its source has there."""
        below = ""
        for name in found.rest:
            below += f"/{name}"
            kind = self._facts.kind(mount.source + below)
            if kind != self._facts.kind_in_root(mount.source, below):
                return  # a symbolic link, which leads elsewhere in the container
            if kind == "unreadable":
                return
            if kind == "missing":
                found.kind = kind
                return
            if kind != "directory" and below.count("/") < len(found.rest):
                found.above = mount.destination + below
                return
            found.kind = "directory" if kind == "directory" else "file"


def check_places_in_mounts(container: Container, facts: Facts, report: Report) -> None:
    """Report mounts, the working directory and devices that other mounts leave no place for."""
    if container.ramdisk or container.is_sandbox:
        return
    mounts = _Mounts(facts)
    for mount in container.mounts:
        if not report.has_errors_below(mount.path):
            _check_mount(mount, mounts, report)
        mounts.add(mount, report.has_errors_below(mount.path))
    _check_cwd(paths.absolute(container.document.get("process", {}).get("cwd", "")), mounts, report)
    for index, entry in enumerate(container.document.get("linux", {}).get("devices", ())):
        path: Path = ("linux", "devices", index)
        if not report.has_errors_below(path) and path not in report.notices:
            _check_device(paths.absolute(entry.get("path", "")), (*path, "path"), mounts, report)


def _check_mount(mount: MountRequest, mounts: _Mounts, report: Report) -> None:
    at, found, name = (*mount.path, "destination"), mounts.place(mount.destination), quote(mount.destination)
    kind = "directory" if mounts.is_directory(mount) else "file"
    if found.above:
        hint = "name another place for the mount"
        report.error("RX326", at, f"{name} cannot be made: {quote(found.above)} is a file{_of(found)}, not a directory", hint)
    elif found.kind == "missing" and found.is_closed:
        _report_closed(at, mount.destination, found, kind, report)
    elif found.kind in ("directory", "file") and found.kind != kind:
        source = mount.source if mount.type == "bind" and not mount.options.data else f"a {mount.type}"
        if kind == "file":
            message = f"{name} is a directory{_of(found)}, and the file {source} is not a directory"
        else:
            message = f"{name} is a file{_of(found)}, not a directory, and {source} is one"
        report.error("RX326", at, message, "mount a directory on a directory, and a file on a file")


def _check_cwd(cwd: str, mounts: _Mounts, report: Report) -> None:
    at, found = ("process", "cwd"), mounts.place(cwd)
    if found.above or found.kind == "file":
        message = f"{quote(found.above or cwd)} is a file{_of(found)}, not a directory"
        report.error("RX117", at, message, "name a directory, or one that can be made")
    elif found.kind == "missing" and found.is_closed:
        _report_closed(at, cwd, found, "directory", report)


def _check_device(place: str, at: Path, mounts: _Mounts, report: Report) -> None:
    found = mounts.place(place)
    if found.above:
        message = f"{quote(place)} cannot be made: {quote(found.above)} is a file{_of(found)}, not a directory"
        report.error("RX415", at, message, "name another place for it, such as /dev/x")
    elif found.kind == "directory":
        report.error("RX413", at, f"{quote(place)} is a directory{_of(found)}", "name a file such as /dev/x")


def _report_closed(at: Path, place: str, found: _Place, kind: str, report: Report) -> None:
    assert found.around
    message = (
        f"{quote(place)} cannot be made: the bind mount at {quote(found.around.destination)} is read-only, and has no such {kind}"
    )
    report.error("RX329", at, message, f"make {found.around.source}/{'/'.join(found.rest)} before the container")


def _of(found: _Place) -> str:
    """Whose the place is, for messages."""
    return f" of {path_text(found.around.path)}" if found.around else " above another mount"
