"""The supervisor's control group: linux.cgroupsPath (OCI config-linux.md, "Cgroups Path").

Engines look for a container's group by the pid that they are given, and remove what is above it. So the supervisor joins the
group, once its domain has been created: xl and what it started (QEMU) stay in the caller's. No limit is written; the memory
and the processor time of the virtual machine are not the supervisor's (docs/executor.md).
"""

import contextlib
import os
import time
from typing import NamedTuple

from runx.errors import RunxError, reason
from runx.exec.container.cgroup_removal import BUSCTL_TIMEOUT_S
from runx.exec.container.cgroup_removal import systemd as call_systemd
from runx.linux import mountinfo

_ATTEMPTS = 5


class Hierarchy(NamedTuple):
    """A mounted tree of groups. `version` 1 or 2; `own`: our group in it, as a path below the mount point."""

    mount_point: str
    version: int
    controllers: frozenset[str]
    own: str


class Group:
    """The group of one container, in all trees."""

    def __init__(self, places: list[tuple[Hierarchy, list[str]]], scope: str = "", slice_name: str = "") -> None:
        self.scope = scope
        """The unit of systemd that the group is; "" for none."""
        self._slice = slice_name
        self._places = places
        self._made: list[str] = []
        there = [hierarchy.mount_point + "/" + "/".join(names) for hierarchy, names in places]
        self.directories = [directory for directory in there if not _processes(directory)]
        """What `delete` is to remove: a group with processes in it is somebody else's."""

    def join(self, pid: int) -> None:
        """Move a process there. Raises RunxError; `undo` removes what has been made by then."""
        if self.scope:
            _start_scope(self.scope, self._slice, pid)
            return
        for hierarchy, names in self._places:
            try:
                _write(f"{self._make(hierarchy, names)}/cgroup.procs", str(pid))
            except OSError as error:
                raise RunxError(f"linux.cgroupsPath: {error.filename}: {reason(error)}") from None

    def undo(self) -> None:
        """Remove the groups that `join` made, once the process has ended: of those above the container's the empty ones."""
        for directory in reversed(self._made):
            with contextlib.suppress(OSError):  # `delete` has removed it, or another container is below
                os.rmdir(directory)

    def _make(self, hierarchy: Hierarchy, names: list[str]) -> str:
        for _ in range(_ATTEMPTS):
            with contextlib.suppress(FileNotFoundError):  # somebody removes a group above it just now
                return self._make_once(hierarchy, names)
        return self._make_once(hierarchy, names)

    def _make_once(self, hierarchy: Hierarchy, names: list[str]) -> str:
        directory = hierarchy.mount_point
        for name in names:
            if hierarchy.version == 2:
                _enable_controllers(directory)
            above, directory = directory, f"{directory}/{name}"
            with contextlib.suppress(FileExistsError):
                os.mkdir(directory, 0o755)
                self._made.append(directory)
            if "cpuset" in hierarchy.controllers:
                _inherit_cpuset(above, directory)
        return directory


def prepare(path: str, *, systemd: bool) -> Group | None:
    """The group for a container with this linux.cgroupsPath; None where no group can be had, as nothing is mounted.

    systemd: the path is `SLICE:PREFIX:NAME`, and systemd makes a scope of it. Raises RunxError for what is no such path.
    """
    if systemd:
        parts = path.split(":")
        if len(parts) != 3 or not parts[2] or "/" in path:
            raise RunxError(
                f"linux.cgroupsPath: {path!r} is not of the form SLICE:PREFIX:NAME", "that is what --systemd-cgroup needs"
            )
        if parts[2].endswith(".slice"):
            raise RunxError(f"linux.cgroupsPath: {path!r} names a slice, in which no process can be", "name a scope")
        if not os.path.isdir("/run/systemd/system"):
            raise RunxError(
                "--systemd-cgroup: systemd does not run on this host", "leave it out, or configure the engine for cgroupfs"
            )
        scope, slice_name = "-".join(filter(None, parts[1:])) + ".scope", parts[0] or "system.slice"
        names = [*_slices(slice_name), scope]
        places = [(hierarchy, names) for hierarchy in mounted()]
        return Group(places, scope, slice_name) if places else None
    places = [(hierarchy, _names(hierarchy, path)) for hierarchy in mounted()]
    return Group(places) if places else None


def _names(hierarchy: Hierarchy, path: str) -> list[str]:
    """The groups from the mount point to the container's."""
    parent = ""
    if not path.startswith("/"):
        # As runc: below our own group; with version 2 beside it, since a group with processes of its own divides nothing.
        parent = os.path.dirname(hierarchy.own) if hierarchy.version == 2 else hierarchy.own
    return [name for name in f"{parent}/{path}".split("/") if name not in ("", ".")]


def _slices(name: str) -> list[str]:
    """`a-b.slice` is below `a.slice` (systemd.slice(5)); `-.slice` is the root."""
    parts = name.removesuffix(".slice").split("-")
    if not name.endswith(".slice") or (name != "-.slice" and "" in parts):
        raise RunxError(f"linux.cgroupsPath: {name!r} is not the name of a slice", "such as system.slice or machine-runx.slice")
    return [] if name == "-.slice" else ["-".join(parts[: n + 1]) + ".slice" for n in range(len(parts))]


def _processes(directory: str) -> bool:
    try:
        return bool(_read(f"{directory}/cgroup.procs"))
    except OSError:
        return False


def _write(path: str, text: str) -> None:
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(fd, text.encode())
    except OSError as error:
        raise OSError(error.errno, error.strerror, path) from None
    finally:
        os.close(fd)


def _read(path: str) -> str:
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        return file.read()


def _enable_controllers(directory: str) -> None:
    """Have the groups below count what this one can, since engines read it; as far as that is allowed (cgroup-v2, "Top-down
    Constraint", "No Internal Process Constraint")."""
    with contextlib.suppress(OSError):
        for controller in _read(f"{directory}/cgroup.controllers").split():
            with contextlib.suppress(OSError):
                _write(f"{directory}/cgroup.subtree_control", f"+{controller}")


def _inherit_cpuset(above: str, directory: str) -> None:
    """A new group has no CPUs and no memory nodes, and takes no process until it has (cgroup-v1, cpusets)."""
    for name in ("cpuset.cpus", "cpuset.mems"):
        path = f"{directory}/{name}" if os.path.exists(f"{directory}/{name}") else f"{directory}/{name.removeprefix('cpuset.')}"
        if not _read(path).strip():
            _write(path, _read(path.replace(directory, above)).strip())


# -- what is mounted -------------------------------------------------------------------------------------------------------


def mounted(mounts: str = "/proc/self/mountinfo", groups: str = "/proc/self/cgroup") -> list[Hierarchy]:
    """The trees of groups that are mounted, each once (proc(5), mountinfo; cgroups(7), /proc/PID/cgroup)."""
    own: dict[frozenset[str], str] = {}
    for line in _lines(groups):
        _, controllers, path = line.split(":", 2)
        own[frozenset(filter(None, controllers.split(",")))] = path
    found: dict[frozenset[str], Hierarchy] = {}
    for mount in mountinfo.read(mounts):
        if mount.kind == "cgroup2":
            key: frozenset[str] = frozenset()
        elif mount.kind == "cgroup":
            words = set(mount.options)
            key = next((controllers for controllers in own if controllers and controllers <= words), frozenset())
            if not key:
                continue
        else:
            continue
        if key in own and key not in found:
            found[key] = Hierarchy(mount.point, 1 if key else 2, key, _below(own[key], mount.root))
    return list(found.values())


def _lines(path: str) -> list[str]:
    try:
        return _read(path).splitlines()
    except FileNotFoundError:  # a kernel without groups
        return []


def _below(path: str, root: str) -> str:
    """The path of a group below a mount whose root is another group."""
    if root != "/" and (path + "/").startswith(root + "/"):
        path = path[len(root) :]
    return "/" if ".." in path.split("/") else path or "/"


# -- systemd ---------------------------------------------------------------------------------------------------------------


def _start_scope(scope: str, slice_name: str, pid: int) -> None:
    """Have systemd make a transient scope with a process (org.freedesktop.systemd1(5), StartTransientUnit), and wait for it."""
    properties = [
        ["Description", "s", f"runx container {scope.removesuffix('.scope')}"],
        ["Slice", "s", slice_name],
        ["PIDs", "au", "1", str(pid)],
        # As runc's: what is in it is the container's, and stops when the container does.
        ["Delegate", "b", "true"],
        ["DefaultDependencies", "b", "false"],
        *([f"{name}Accounting", "b", "true"] for name in ("CPU", "Memory", "Tasks")),
    ]
    words = [scope, "fail", str(len(properties)), *(word for one in properties for word in one), "0"]
    code, output = call_systemd("StartTransientUnit", "ssa(sv)a(sa(sv))", *words)
    if code and "already" in output:  # what is left of one that failed keeps its name
        call_systemd("ResetFailedUnit", "s", scope)
        code, output = call_systemd("StartTransientUnit", "ssa(sv)a(sa(sv))", *words)
    if code:
        raise RunxError(f"linux.cgroupsPath: systemd did not make {scope}: {output.strip()}", f"systemctl status {scope}")
    limit = time.monotonic() + BUSCTL_TIMEOUT_S
    while not any(line.endswith(f"/{scope}") for line in _lines(f"/proc/{pid}/cgroup")):
        if time.monotonic() >= limit:
            raise RunxError(f"linux.cgroupsPath: systemd did not start {scope} in time", f"systemctl status {scope}")
        time.sleep(0.01)
