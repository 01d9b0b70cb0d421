"""The container's control group on the host: linux.cgroupsPath (OCI config-linux.md, "Cgroups Path").

Engines find a container's group by its pid, and remove the groups above it. The supervisor joins the group before it starts
anything, so all that dom0 does for the container is in it: the server of the shares, xl, QEMU, and what makes images. The
container's own limits are the virtual machine's and are not written here. The group has those that the host sets for dom0's part
(runx.toml, [host]; docs/executor.md, "Control groups").
"""

import contextlib
import os
import time
from typing import NamedTuple

from runx.errors import RunxError, reason
from runx.exec.container.cgroup_removal import BUSCTL_TIMEOUT_S
from runx.exec.container.cgroup_removal import systemd as call_systemd
from runx.linux.control_groups import Hierarchy, lines, memory_limit, mounted, read

_ATTEMPTS = 5


class Limits(NamedTuple):
    """What all processes of a group may use together."""

    memory: int
    """Bytes."""
    cpus: int
    """Processor time in a second, in seconds."""


class Group:
    """The group of one container, in all trees."""

    def __init__(self, places: list[tuple[Hierarchy, list[str]]], scope: str = "", slice_name: str = "") -> None:
        self.scope = scope
        """Name of the scope of systemd; "" when the group is not a scope."""
        self._slice = slice_name
        self._places = places
        self._made: list[str] = []
        there = [hierarchy.mount_point + "/" + "/".join(names) for hierarchy, names in places]
        self.directories = [directory for directory in there if not _processes(directory)]
        """The groups that `delete` removes. A group with processes in it belongs to others."""

    def join(self, pid: int, limits: Limits) -> list[str]:
        """Move a process into the group, which is made when missing and gets its limits first. What the kernel does not limit
        there, for a warning. Raises RunxError; then `undo` removes what was made."""
        if self.scope:
            _start_scope(self.scope, self._slice, pid, limits)
            return []
        limited: set[str] = set()
        for hierarchy, names in self._places:
            try:
                directory = self._make(hierarchy, names)
                if directory in self.directories:  # a group with processes in it belongs to others
                    limited |= _limit(hierarchy, directory, limits)
                _write(f"{directory}/cgroup.procs", str(pid))
            except OSError as error:
                raise RunxError(f"linux.cgroupsPath: {error.filename}: {reason(error)}") from None
        return [what for what in ("memory", "cpu") if what not in limited]

    def undo(self) -> None:
        """Remove the groups that `join` made, after the process has ended. Groups above the container's may have others below."""
        for directory in reversed(self._made):
            with contextlib.suppress(OSError):  # `delete` removed it, or another container is below
                os.rmdir(directory)

    def _make(self, hierarchy: Hierarchy, names: list[str]) -> str:
        for _ in range(_ATTEMPTS):
            with contextlib.suppress(FileNotFoundError):  # another process removes a group above it
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


_PERIOD_US = 100_000
"""The time in which processor time is counted; the kernel's default."""


def _limit(hierarchy: Hierarchy, directory: str, limits: Limits) -> set[str]:
    """Write the limits that the controllers of a tree have; the names of those controllers. Raises OSError.

    A smaller limit that is there already, which an engine has written, stays.
    """
    limited = set()
    memory = f"{directory}/{hierarchy.memory_limit_file}"
    if os.path.exists(memory):
        if memory_limit(read(memory)) > limits.memory:
            _write(memory, str(limits.memory))
        limited.add("memory")
    cpu = f"{directory}/{'cpu.cfs_quota_us' if hierarchy.version == 1 else 'cpu.max'}"
    if os.path.exists(cpu):
        if read(cpu).split()[0] in ("max", "-1"):
            quota_us = limits.cpus * _PERIOD_US
            # With version 1 it is not allowed to be larger than that of a group above, which holds then.
            with contextlib.suppress(OSError) if hierarchy.version == 1 else contextlib.nullcontext():
                _write(cpu, str(quota_us) if hierarchy.version == 1 else f"{quota_us} {_PERIOD_US}")
        limited.add("cpu")
    return limited


def prepare(path: str, *, systemd: bool) -> Group | None:
    """The group for this linux.cgroupsPath; None when no control groups are mounted.

    systemd: the path is `SLICE:PREFIX:NAME`, and systemd makes a scope of it. Raises RunxError for a path of another form.
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
    """Names of the groups from the mount point to the container's."""
    parent = ""
    if not path.startswith("/"):
        # As in runc: below our own group. With version 2 beside it, since a group with processes cannot have controllers for
        # groups below.
        parent = os.path.dirname(hierarchy.own) if hierarchy.version == 2 else hierarchy.own
    return [name for name in f"{parent}/{path}".split("/") if name not in ("", ".")]


def _slices(name: str) -> list[str]:
    """Names of the slices down to this one: `a-b.slice` is below `a.slice`, and `-.slice` is the root (systemd.slice(5))."""
    parts = name.removesuffix(".slice").split("-")
    if not name.endswith(".slice") or (name != "-.slice" and "" in parts):
        raise RunxError(f"linux.cgroupsPath: {name!r} is not the name of a slice", "such as system.slice or machine-runx.slice")
    return [] if name == "-.slice" else ["-".join(parts[: n + 1]) + ".slice" for n in range(len(parts))]


def _processes(directory: str) -> bool:
    try:
        return bool(read(f"{directory}/cgroup.procs"))
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


def _enable_controllers(directory: str) -> None:
    """Let the groups below use all controllers of this one, since engines read their statistics. Some may not be allowed
    (cgroup-v2, "Top-down Constraint", "No Internal Process Constraint")."""
    with contextlib.suppress(OSError):
        for controller in read(f"{directory}/cgroup.controllers").split():
            with contextlib.suppress(OSError):
                _write(f"{directory}/cgroup.subtree_control", f"+{controller}")


def _inherit_cpuset(above: str, directory: str) -> None:
    """Copy CPUs and memory nodes from the group above. Without them a new group takes no process (cgroup-v1, cpusets)."""
    for name in ("cpuset.cpus", "cpuset.mems"):
        path = f"{directory}/{name}" if os.path.exists(f"{directory}/{name}") else f"{directory}/{name.removeprefix('cpuset.')}"
        if not read(path).strip():
            _write(path, read(path.replace(directory, above)).strip())


# -- systemd ---------------------------------------------------------------------------------------------------------------


def _start_scope(scope: str, slice_name: str, pid: int, limits: Limits) -> None:
    """Let systemd make a transient scope with a process, and wait for it (org.freedesktop.systemd1(5), StartTransientUnit)."""
    properties = [
        ["Description", "s", f"runx container {scope.removesuffix('.scope')}"],
        ["Slice", "s", slice_name],
        ["PIDs", "au", "1", str(pid)],
        # As in runc: the scope belongs to the container, and stops with it.
        ["Delegate", "b", "true"],
        ["DefaultDependencies", "b", "false"],
        *([f"{name}Accounting", "b", "true"] for name in ("CPU", "Memory", "Tasks")),
        ["MemoryMax", "t", str(limits.memory)],
        ["CPUQuotaPerSecUSec", "t", str(limits.cpus * 1_000_000)],
    ]
    words = [scope, "fail", str(len(properties)), *(word for one in properties for word in one), "0"]
    code, output = call_systemd("StartTransientUnit", "ssa(sv)a(sa(sv))", *words)
    if code and "already" in output:  # a scope that failed keeps its name until then
        call_systemd("ResetFailedUnit", "s", scope)
        code, output = call_systemd("StartTransientUnit", "ssa(sv)a(sa(sv))", *words)
    if code:
        raise RunxError(f"linux.cgroupsPath: systemd did not make {scope}: {output.strip()}", f"systemctl status {scope}")
    limit = time.monotonic() + BUSCTL_TIMEOUT_S
    while not any(line.endswith(f"/{scope}") for line in lines(f"/proc/{pid}/cgroup")):
        if time.monotonic() >= limit:
            raise RunxError(f"linux.cgroupsPath: systemd did not start {scope} in time", f"systemctl status {scope}")
        time.sleep(0.01)
