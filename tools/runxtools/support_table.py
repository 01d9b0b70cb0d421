"""What becomes of every field of config.json (OCI runtime-spec 1.3): the one table behind docs/support.md.

`PYTHONPATH=tools python -m runxtools.support_table > docs/support.md` writes the page. Tests compare the table with the
specification and with what the compiler really does.
"""

import sys
from typing import Literal, NamedTuple

from runx.compiler.diagnostics import path_text
from runx.compiler.model.plan import HOOK_KINDS
from runx.compiler.passes.checks import IGNORED

Fate = Literal["carried", "vm", "ignored", "refused"]


class Row(NamedTuple):
    """A field and what becomes of it. `[]` is any entry of an array, `{}` any member of an object with free names.

    What is below a field that is not carried shares its fate, unless it has a row of its own.
    """

    path: str
    fate: Fate
    how: str


FATES: dict[Fate, str] = {
    "carried": "the container has it as configured",
    "vm": "the virtual machine is it already: what the field is for holds without anything being done",
    "ignored": "the container runs without it; the plan lists it",
    "refused": "the container is not made; the message says where and why",
}

# Of what checks.py ignores, what a virtual machine provides by being one.
_BY_THE_VM = frozenset({"linux.uidMappings", "linux.gidMappings", "linux.resources.devices"})

_CARRIED = {
    "ociVersion": "1.x; a newer minor version only adds what may be left out",
    "annotations": "`runx state` and the plan have them; those that begin with org.runx. speak to it, and "
    "engines' own tell sandboxes and containers of pods (docs/executor.md)",
    "hostname": "set in the guest; the container's id without one",
    "domainname": "set in the guest",
    "root": "",
    "root.path": "shared over 9p, or made disks, or images in the ramdisk: docs/roots.md",
    "root.readonly": "the guest's last step before the process starts",
    "mounts": "in their order",
    "mounts[].destination": "made in the guest, never by following the image's links on the host",
    "mounts[].type": "binds over 9p; proc, sysfs, devpts, tmpfs, ramfs, mqueue, cgroup2 made in the guest; others are refused",
    "mounts[].source": "directories and files; sockets, fifos and devices of the host are refused",
    "mounts[].options": "the words of `runx features`, and data for the file system",
    "process": "",
    "process.args": "byte for byte",
    "process.cwd": "made when it is missing",
    "process.env": "byte for byte; NETCONF (docs/networking.md), RUNX_KERNEL and XLCONF (docs/pipeline.md) speak to runx",
    "process.terminal": "a terminal made in the guest",
    "process.consoleSize": "of the terminal; without one it is ignored",
    "process.consoleSize.height": "rows",
    "process.consoleSize.width": "columns",
    "process.user": "",
    "process.user.uid": "",
    "process.user.gid": "",
    "process.user.umask": "octal 022 without one",
    "process.user.additionalGids": "",
    "process.capabilities": "none of them without this object, as runc",
    **{f"process.capabilities.{name}": "" for name in ("bounding", "effective", "inheritable", "permitted", "ambient")},
    "process.rlimits": "",
    **{f"process.rlimits[].{name}": "" for name in ("type", "soft", "hard")},
    "process.noNewPrivileges": "",
    "process.oomScoreAdj": "among the processes of the guest",
    "process.scheduler": "in the guest, just before the process is executed, as runc",
    "process.scheduler.policy": "but SCHED_ISO, which Linux does not have",
    "process.scheduler.nice": "with SCHED_OTHER and SCHED_BATCH, else ignored",
    "process.scheduler.priority": "with SCHED_FIFO and SCHED_RR",
    "process.scheduler.flags": "but those of clamping, which are ignored: a virtual machine does not set the speed of its CPUs",
    **{f"process.scheduler.{name}": "with SCHED_DEADLINE" for name in ("runtime", "deadline", "period")},
    "process.ioPriority": "in the guest, just before the process is executed, as runc",
    **{f"process.ioPriority.{name}": "" for name in ("class", "priority")},
    "hooks": 'docs/executor.md, "Hooks"',
    "hooks.prestart": "as createRuntime, before it",
    "hooks.createRuntime": "during create, when the virtual machine waits, paused",
    "hooks.createContainer": "after these, in the container's network namespace on the host",
    "hooks.startContainer": "in the guest, just before the process, as runc; a failure ends the container",
    "hooks.poststart": "when the process has been executed, before start returns; a failure "
    "ends the container from version 1.3 on, before it is a warning",
    "hooks.poststop": "after delete has removed everything; a failure is a warning",
    **{f"hooks.{kind}[].path": "" for kind in HOOK_KINDS},
    **{f"hooks.{kind}[].args": "its path without them" for kind in HOOK_KINDS},
    **{f"hooks.{kind}[].env": "nothing else is in its environment" for kind in HOOK_KINDS},
    **{f"hooks.{kind}[].timeout": "no limit without one" for kind in HOOK_KINDS},
    "linux": "",
    "linux.namespaces": "",
    "linux.namespaces[].type": "pid without a path: PID 1 of its own namespace in the guest. Other types are what a virtual "
    "machine is",
    "linux.namespaces[].path": "network: its interfaces become the guest's (docs/networking.md). Other types are refused; for a "
    "container of a pod ipc, uts, pid and user are ignored",
    "linux.devices": "made in the guest",
    **{f"linux.devices[].{name}": "" for name in ("path", "major", "minor", "fileMode", "uid", "gid")},
    "linux.devices[].type": "what is behind it is the guest's own",
    "linux.resources": "",
    "linux.resources.memory": "",
    "linux.resources.memory.limit": "the container has that much, the virtual machine somewhat more; what exceeds it is killed",
    "linux.resources.pids": "",
    "linux.resources.pids.limit": "in a cgroup of the guest, the root of what the container sees; 0 is one from version 1.3 on",
    "linux.resources.cpu": "",
    "linux.resources.cpu.quota": "quota / period, rounded up, is the number of virtual CPUs; a cap holds what is no whole number",
    "linux.resources.cpu.cpus": "the host's CPUs that the virtual ones run on",
    "linux.resources.cpu.shares": "the weight of the domain",
    "linux.resources.cpu.period": "see quota",
    "linux.seccomp": "a program for the guest's kernel, made by libseccomp; ignored where dom0 has no libseccomp.so.2",
    "linux.seccomp.defaultAction": "but SCMP_ACT_NOTIFY, which is refused: no program on the host can answer for a guest",
    "linux.seccomp.defaultErrnoRet": "EPERM without one",
    "linux.seccomp.flags": "but WAIT_KILLABLE_RECV, which is ignored as no rule notifies",
    "linux.seccomp.architectures": "those whose programs the guest's kernel runs",
    "linux.seccomp.syscalls": "",
    "linux.seccomp.syscalls[].names": "names that libseccomp does not know are skipped, as runc does",
    "linux.seccomp.syscalls[].action": "but SCMP_ACT_NOTIFY, which is refused",
    "linux.seccomp.syscalls[].errnoRet": "EPERM without one",
    "linux.seccomp.syscalls[].args": "several conditions on one argument become a rule each, as in runc",
    **{f"linux.seccomp.syscalls[].args[].{name}": "" for name in ("index", "value", "valueTwo", "op")},
    "linux.sysctl": "set in the guest, those without a namespace too; kernel.hostname is refused, as hostname is that",
    "linux.rootfsPropagation": "of the root's mount inside the guest; no mount propagates between host and guest",
    "linux.cgroupsPath": "the group of the supervisor, the one process of the container that the host sees; without limits",
    "linux.maskedPaths": "",
    "linux.readonlyPaths": "",
    "vm": 'docs/pipeline.md, "A kernel of its own" and what follows it',
    "vm.hypervisor": "",
    "vm.kernel": "",
    "vm.kernel.path": "a file of the host; runx's own kernel without one",
    "vm.kernel.initrd": "a file of the host; nothing of runx is in the guest then, and what that leaves undone is ignored",
    "vm.kernel.parameters": "after runx's own and those of runx.toml",
    "vm.image": "the root filesystem, instead of root.path; with a ramdisk of the container's own one more disk",
    "vm.image.path": "a file of the host with one file system, ext4 or (read-only) EROFS",
    "vm.image.format": "raw, qcow2 and vhd; xl has no others",
    "vm.hwConfig": "also as hwconfig, as Go's types write it",
    "vm.hwConfig.deviceTree": "xl's device_tree, for Arm",
    "vm.hwConfig.vcpus": "before what linux.resources says",
    "vm.hwConfig.memory": "the size of the virtual machine in bytes, before what linux.resources says",
    "vm.hwConfig.dtdevs": "xl's dtdev, for Arm",
    "vm.hwConfig.iomems": "xl's iomem",
    **{f"vm.hwConfig.iomems[].{name}": "" for name in ("firstGFN", "firstMFN", "nrMFNs")},
    "vm.hwConfig.irqs": "xl's irqs",
}

_NO_MAPPINGS = "id-mapped mounts are not supported"
_REFUSED = {
    "mounts[].uidMappings": _NO_MAPPINGS,
    "mounts[].gidMappings": _NO_MAPPINGS,
    "vm.hypervisor.parameters": "Xen runs already, and takes parameters when the host boots",
}

_IGNORED = {
    **{path_text(path): reason for path, reason in IGNORED},
    **dict.fromkeys(("linux.seccomp.listenerPath", "linux.seccomp.listenerMetadata"), "no rule notifies a listener"),
    "vm.hypervisor.path": "the hypervisor is Xen, which runs already",
}

_GROUPS = ("process", "mounts", "hooks", "linux.resources", "linux.seccomp", "linux", "vm", "")
"""Headings of the page; a field is below the first one that begins its path."""


def rows() -> tuple[Row, ...]:
    """The whole table, sorted by path."""
    table = [Row(path, "carried", how) for path, how in _CARRIED.items()]
    table += [Row(path, "refused", how) for path, how in _REFUSED.items()]
    table += [Row(path, "vm" if path in _BY_THE_VM else "ignored", how) for path, how in _IGNORED.items()]
    return tuple(sorted(table))


def page() -> str:
    """docs/support.md."""
    lines = [
        "<!-- Written by `PYTHONPATH=tools python -m runxtools.support_table > docs/support.md`. -->",
        "# What becomes of every field of config.json",
        "",
        "Of the OCI runtime specification 1.3. `[]` is any entry of an array, `{}` any member of an object with free names.",
        "What is below a field that is not carried shares its fate, unless it has a row of its own.",
        "",
        "| fate | meaning |",
        "|---|---|",
        *(f"| {fate} | {meaning} |" for fate, meaning in FATES.items()),
        "",
        "A property that the specification does not have is ignored, and the plan lists it. `runx features` prints mount options",
        "and the like.",
    ]  # fmt: skip
    table = rows()
    for group in ("", *_GROUPS[:-1]):
        members = [row for row in table if _group(row.path) == group]
        lines += ["", f"## {group or 'config.json'}", "", "| field | fate | |", "|---|---|---|"]
        lines += [f"| `{row.path}` | {row.fate} | {row.how} |" for row in members]
    return "\n".join(lines) + "\n"


def _group(path: str) -> str:
    return next(group for group in _GROUPS if not group or path == group or path.startswith((f"{group}.", f"{group}[")))


if __name__ == "__main__":
    sys.stdout.write(page())
