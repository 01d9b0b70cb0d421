"""Places of mounts in file systems of the guest's kernel, where nothing can be made (docs/guest.md, "What the kernel has")."""

import posixpath

from runx.compiler.diagnostics import Report, quote
from runx.compiler.frontends.oci import paths
from runx.compiler.host.config import HostConfig
from runx.compiler.host.facts import Facts
from runx.compiler.model.request import Container, MountRequest
from runx.compiler.passes.guest_kernel import is_other
from runx.compiler.passes.mount_points import is_directory


def check(container: Container, host: HostConfig, assets: str, facts: Facts, report: Report) -> None:
    """Report mounts, and a working directory, at a place that a file system of the kernel does not have, as nothing can be made
    there. Mounts with another fault are left out.

    assets: the directory of the installed kernel.
    """
    if container.is_sandbox or is_other(container, host, assets, facts):
        return
    before: dict[str, MountRequest] = {}
    for mount in container.mounts:
        place, path = mount.destination, (*mount.path, "destination")
        around = _kernel_files_around(before, place)
        is_fine = not report.has_errors_below(mount.path)
        if around and is_fine and (fault := _no_place(around, place, is_directory(mount, facts))):
            report.error("RX328", path, f"{quote(place)}: {fault}", "name another place for the mount")
        before[place] = mount
    cwd = paths.absolute(container.document.get("process", {}).get("cwd", ""))
    if (around := _kernel_files_around(before, cwd)) and (fault := _no_place(around, cwd, is_directory=True)):
        report.error("RX328", ("process", "cwd"), f"{quote(cwd)}: {fault}", "name another directory")


def _kernel_files_around(mounts: dict[str, MountRequest], place: str) -> MountRequest | None:
    """The mount in which a place lies, without being its root, if it is a file system of the kernel."""
    if place in mounts:
        return None
    while (place := posixpath.dirname(place)) != "/":
        if place in mounts:
            return mounts[place] if mounts[place].type in ("proc", "sysfs", "devpts", "mqueue", "cgroup2") else None
    return None


_LISTED = {"proc": ("/proc", "/proc/sys"), "sysfs": ("/sys", "/sys/fs", "/sys/kernel")}
"""By type, the directories of which the table has all entries but those of processes."""


def _no_place(around: MountRequest, place: str, is_directory: bool) -> str:
    """Why a file or directory certainly cannot be mounted at a place in a file system of the kernel; "" if it may be."""
    kind = around.type
    words = place[len(around.destination) + 1 :].split("/")
    if kind == "mqueue":
        return "" if len(words) == 1 and not is_directory else "an mqueue has no directories"
    if kind == "cgroup2":
        # The process sees a group without others below it. In one that it may write to, a directory makes another.
        return "a read-only cgroup2 has no directories" if is_directory and "ro" in around.options.flags else ""
    if kind == "devpts":
        return "" if words == ["ptmx"] and not is_directory else "nothing can be made in a devpts"
    from runx.compiler.model.guest_kernel import PLACES

    if kind == "proc" and (words[0].isdigit() or words[0] in ("self", "thread-self")):
        return ""
    at = _LISTED[kind][0]
    for number, word in enumerate(words, 1):
        listed, at = at in _LISTED[kind], f"{at}/{word}"
        found = PLACES.get(at, "")
        if listed and not found:
            return f"the {kind} of the guest's kernel has no {quote(at)}, and nothing can be made in it"
        wanted = "directory" if number < len(words) or is_directory else "file"
        if found and found != wanted:
            return f"{quote(at)} is a {found} of the guest's kernel, not a {wanted}"
    return ""
