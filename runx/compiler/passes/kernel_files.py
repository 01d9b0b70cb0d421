"""Bind mounts of proc, sysfs and the like of the host, which no guest gets: under other runtimes they are the container's own, or
guarded by the kernel that the container shares with the host."""

from runx.compiler.diagnostics import Path, Report
from runx.compiler.frontends.oci.overlay_options import directories_of
from runx.compiler.host.facts import Facts
from runx.compiler.model.request import Container, MountRequest

_FRESH = {"/proc": "proc", "/sys": "sysfs", "/sys/fs/cgroup": "cgroup2", "/dev/mqueue": "mqueue"}
"""What a bind of all of such a file system, at its usual place, becomes: one of the guest's."""
_SHOWN = 6


def without_kernel_files(container: Container, facts: Facts, report: Report) -> Container:
    """The container with file systems of its own in place of those of the host's kernel. Others of the host's are errors."""
    return container._replace(mounts=tuple(_own(mount, facts, report) for mount in container.mounts))


def _own(mount: MountRequest, facts: Facts, report: Report) -> MountRequest:
    if mount.type != "bind" or not mount.source:
        return mount
    if mount.options.data:
        _check_overlay(mount, facts, report)
        return mount
    path: Path = (*mount.path, "source")
    found = facts.kernel_files(mount.source)
    if found.is_whole and _FRESH.get(mount.destination) == found.type:
        report.ignore("RX316", path, f"the virtual machine has its own {found.type} there, not the host's")
        options = mount.options._replace(bind=False, recursive=False)
        return mount._replace(type=found.type, source=found.type, options=options)
    if found.type:
        message = f"{mount.source} is on a {found.type} of the host's kernel, which no virtual machine gets"
        fresh = next((place for place, kind in _FRESH.items() if kind == found.type), "")
        hint = "leave out the mount"
        if fresh and found.is_whole:
            hint = f'mount the guest\'s own: {{"destination": "{fresh}", "type": "{found.type}"}}'
        elif fresh:
            hint += f": the virtual machine has a {found.type} of its own at {fresh}, with what is true for it"
        report.error("RX308", path, message, hint)
    elif found.below and mount.options.recursive:
        more = f" and {len(found.below) - _SHOWN} more" if len(found.below) > _SHOWN else ""
        report.ignore("RX317", path, f"left out, as they are of the host's kernel: {', '.join(found.below[:_SHOWN])}{more}")
    return mount


def _check_overlay(mount: MountRequest, facts: Facts, report: Report) -> None:
    for directory in directories_of(mount.options.data):
        if found := facts.kernel_files(directory).type:
            message = f"{directory} is on a {found} of the host's kernel, which no virtual machine gets"
            report.error("RX308", (*mount.path, "options"), message, "leave out the mount")
