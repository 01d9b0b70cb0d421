"""What becomes of every property of config.json (OCI runtime-spec 1.3): one row each.

Everything else about the fate of a property is derived from this table: the plan's list of ignored properties (passes/checks.py,
own_ramdisk.py, sandbox.py), the properties that are refused as such, the answers of `runx update`, and docs/support.md.
"""

from typing import Any, Literal, NamedTuple

from runx.compiler.diagnostics import Path
from runx.compiler.model.plan import HOOK_KINDS

Fate = Literal["carried", "vm", "ignored", "refused"]

FATES: dict[Fate, str] = {
    "carried": "the container has it as configured",
    "vm": "the virtual machine provides it without further work; the plan lists it as ignored",
    "ignored": "the container runs without it; the plan lists it",
    "refused": "the container is not made; the message says where and why",
}

CHANGES = "changes"
"""`Setting.update` of a limit that `runx update` changes."""


class Setting(NamedTuple):
    """One property. A property below one that is not carried shares its fate, and needs no row."""

    path: str
    """`mounts[].type`: `[]` is any entry of an array."""
    fate: Fate
    how: str = ""
    """How it is carried, for docs/support.md; of a property that is not carried the reason, which is also the message."""
    read: str = ""
    """The module that reads a carried property, below runx/compiler; "" if it is read with the property that it is in."""
    hint: str = ""
    """What a user can do whose property is refused."""
    own_ramdisk: bool = True
    """False if a ramdisk of the container's own decides about it, so that it is ignored then."""
    sandbox: bool = True
    """False if it is ignored in the sandbox of a pod, which has no virtual machine."""
    update: str = ""
    """For linux.resources: CHANGES, or why a running machine cannot change it; "" if `how` is the reason for that too."""


_CONFIG = "frontends/oci/config.py"
_HOOKS = "frontends/oci/hooks.py"
_LINUX = "frontends/oci/linux.py"
_MOUNTS = "frontends/oci/mounts.py"
_PROCESS = "frontends/oci/process.py"
_SCHEDULE = "frontends/oci/schedule.py"
_SECCOMP = "frontends/oci/seccomp.py"
_VM = "frontends/oci/vm.py"
_LIBSECCOMP = "host/libseccomp.py"

_CONFINED = "the virtual machine confines the process; its kernel has no {}"
_OWN_IDS = "ids are the virtual machine's own"
_MAPPED = f"{_OWN_IDS}; with a user namespace that changes ids, bind mounts are refused"
_NO_COUNTERPART = "nothing in a virtual machine corresponds to it"
_ONE_NODE = "the virtual machine's memory is one node"
_ONE_SIZE = "a virtual machine's memory is one number; see limit"
NO_SWAP = "the guest has no swap"
_CPU_COUNT = "a virtual machine's CPU time is a number of CPUs; see quota"
_NO_MAPPINGS = "id-mapped mounts are not supported"
_NO_MAPPINGS_HINT = "change the owner of the source, or mount it without mappings"
_NO_LISTENER = "no rule notifies a listener"
_AT_EXEC = "in the guest, just before the process is executed, as in runc"
_DEADLINE = "with SCHED_DEADLINE"
_EPERM = "EPERM if it is absent"

_WHEN = {
    "prestart": "like createRuntime, before it",
    "createRuntime": "during create, while the virtual machine is paused",
    "createContainer": "after the hooks of createRuntime, in the container's network namespace on the host",
    "startContainer": "in the guest, just before the process, as in runc; a failure ends the container",
    "poststart": "when the process has been executed, before start returns; a failure ends the container since version 1.3, "
    "in older versions it is a warning",
    "poststop": "after delete has removed everything; a failure is a warning",
}


def _hooks(kind: str) -> tuple[Setting, ...]:
    top = f"hooks.{kind}"
    in_guest = kind == "startContainer"
    return (
        Setting(top, "carried", _WHEN[kind], own_ramdisk=not in_guest, sandbox=not in_guest),
        Setting(f"{top}[].path", "carried"),
        Setting(f"{top}[].args", "carried", "the hook's path if it is absent"),
        Setting(f"{top}[].env", "carried", "the hook's whole environment"),
        Setting(f"{top}[].timeout", "carried", "no limit if it is absent"),
    )


SETTINGS: tuple[Setting, ...] = (
    Setting("ociVersion", "carried", "1.x; a newer minor version only adds properties that may be ignored", read=_CONFIG),
    Setting(
        "annotations", "carried",
        "`runx state` and the plan have them; annotations org.runx.* are for runx, and engines' annotations tell sandboxes and "
        "containers of pods (docs/executor.md)",
        read=_CONFIG,
    ),
    Setting("root", "carried", read=_CONFIG),
    Setting("root.path", "carried", "shared over 9p, or copied to disks or to images in the ramdisk: docs/roots.md"),
    Setting("root.readonly", "carried", "the guest's last step before the process starts", sandbox=False),
    Setting(
        "hostname", "carried", "set in the guest; the container's id if it is absent", read=_CONFIG, own_ramdisk=False
    ),
    Setting("domainname", "carried", "set in the guest", read=_CONFIG, own_ramdisk=False),

    Setting("process", "carried", read=_PROCESS),
    Setting("process.args", "carried", "byte for byte", own_ramdisk=False, sandbox=False),
    Setting(
        "process.env", "carried",
        "byte for byte; runx reads NETCONF (docs/networking.md), RUNX_KERNEL, RUNX_RAMDISK and XLCONF (docs/pipeline.md)",
        own_ramdisk=False, sandbox=False,
    ),
    Setting("process.cwd", "carried", "made if it does not exist", own_ramdisk=False, sandbox=False),
    Setting("process.terminal", "carried", "a terminal made in the guest"),
    Setting("process.consoleSize", "carried", "the terminal's size; ignored without a terminal"),
    Setting("process.consoleSize.height", "carried", "rows"),
    Setting("process.consoleSize.width", "carried", "columns"),
    Setting("process.user", "carried", own_ramdisk=False, sandbox=False),
    Setting("process.user.uid", "carried"),
    Setting("process.user.gid", "carried"),
    Setting("process.user.umask", "carried", "octal 022 if it is absent"),
    Setting("process.user.additionalGids", "carried"),
    Setting(
        "process.capabilities", "carried", "the process has no capabilities if it is absent, as in runc",
        own_ramdisk=False, sandbox=False,
    ),
    *(
        Setting(f"process.capabilities.{name}", "carried")
        for name in ("bounding", "effective", "inheritable", "permitted", "ambient")
    ),
    Setting("process.rlimits", "carried", own_ramdisk=False, sandbox=False),
    *(Setting(f"process.rlimits[].{name}", "carried") for name in ("type", "soft", "hard")),
    Setting("process.noNewPrivileges", "carried", own_ramdisk=False, sandbox=False),
    Setting("process.oomScoreAdj", "carried", "among the processes of the guest", own_ramdisk=False, sandbox=False),
    Setting("process.scheduler", "carried", _AT_EXEC, own_ramdisk=False, sandbox=False),
    Setting("process.scheduler.policy", "carried", "SCHED_ISO is refused, as Linux does not have it", read=_SCHEDULE),
    Setting("process.scheduler.nice", "carried", "with SCHED_OTHER and SCHED_BATCH, else ignored", read=_SCHEDULE),
    Setting("process.scheduler.priority", "carried", "with SCHED_FIFO and SCHED_RR", read=_SCHEDULE),
    Setting(
        "process.scheduler.flags", "carried",
        "flags of utilization clamping are ignored: a virtual machine does not set the speed of its CPUs", read=_SCHEDULE,
    ),
    *(Setting(f"process.scheduler.{name}", "carried", _DEADLINE, read=_SCHEDULE) for name in ("runtime", "deadline", "period")),
    Setting("process.ioPriority", "carried", _AT_EXEC, own_ramdisk=False, sandbox=False),
    *(Setting(f"process.ioPriority.{name}", "carried", read=_SCHEDULE) for name in ("class", "priority")),
    Setting("process.apparmorProfile", "ignored", _CONFINED.format("AppArmor"), sandbox=False),
    Setting("process.selinuxLabel", "ignored", _CONFINED.format("SELinux"), sandbox=False),
    Setting("process.commandLine", "ignored", "for Windows"),
    Setting("process.user.username", "ignored", "for Windows"),
    Setting("process.execCPUAffinity", "ignored", "of processes that exec starts; the virtual machine's kernel places them"),

    Setting("mounts", "carried", "in their order", read=_MOUNTS, sandbox=False),
    Setting("mounts[].destination", "carried", "made in the guest; the host never follows links of the image"),
    Setting(
        "mounts[].type", "carried",
        "bind mounts over 9p; proc, sysfs, devpts, tmpfs, ramfs, mqueue, cgroup2 made in the guest; others are refused",
    ),
    Setting("mounts[].source", "carried", (
        "directories and files, and nodes that the guest has too, such as /dev/null; sockets, fifos, other devices and huge "
        "pages of the host are refused, and so is proc, sysfs and the like of its kernel, unless a bind of all of it at its "
        "usual place becomes the guest's own"
    )),
    Setting("mounts[].options", "carried", "the words of `runx features`, and data for the file system"),
    Setting("mounts[].uidMappings", "refused", _NO_MAPPINGS, hint=_NO_MAPPINGS_HINT),
    Setting("mounts[].gidMappings", "refused", _NO_MAPPINGS, hint=_NO_MAPPINGS_HINT),

    Setting("hooks", "carried", 'docs/executor.md, "Hooks"', read=_HOOKS),
    *(row for kind in HOOK_KINDS for row in _hooks(kind)),

    Setting("linux", "carried", read=_CONFIG),
    Setting("linux.namespaces", "carried"),
    Setting(
        "linux.namespaces[].type", "carried",
        "pid without a path: the process is PID 1 of a namespace of its own in the guest. The virtual machine provides "
        "namespaces of the other types",
    ),
    Setting(
        "linux.namespaces[].path", "carried",
        "network: the interfaces in the namespace become the guest's (docs/networking.md). Other types are refused; for a "
        "container of a pod, ipc, uts, pid and user are ignored",
    ),
    Setting(
        "linux.devices", "carried",
        'made in the guest, if its kernel has a driver (docs/guest.md, "What the kernel has"); else ignored',
        own_ramdisk=False, sandbox=False,
    ),
    Setting("linux.devices[].type", "carried", "the node leads to a device of the guest, not of the host", read=_LINUX),
    *(
        Setting(f"linux.devices[].{name}", "carried", read=_LINUX)
        for name in ("path", "major", "minor", "fileMode", "uid", "gid")
    ),
    Setting(
        "linux.sysctl", "carried",
        "set in the guest, with or without a namespace; those that its kernel does not have are refused, as is kernel.hostname, "
        "which hostname sets",
        own_ramdisk=False,
    ),
    Setting("linux.cgroupsPath", "carried", "the cgroup of all that dom0 does for the container; its limits are the host's"),
    Setting("linux.maskedPaths", "carried", own_ramdisk=False, sandbox=False),
    Setting("linux.readonlyPaths", "carried", own_ramdisk=False, sandbox=False),
    Setting(
        "linux.rootfsPropagation", "carried",
        "of the root's mount inside the guest; no mount propagates between host and guest", own_ramdisk=False, sandbox=False,
    ),
    Setting("linux.mountLabel", "ignored", _CONFINED.format("SELinux"), sandbox=False),
    Setting("linux.uidMappings", "vm", _MAPPED, sandbox=False),
    Setting("linux.gidMappings", "vm", _MAPPED, sandbox=False),
    Setting("linux.timeOffsets", "ignored", "the virtual machine has one clock, kept at the host's time"),
    Setting(
        "linux.netDevices", "carried",
        "moved into the container's network namespace, whose interfaces become the guest's at start (docs/networking.md)",
        read=_LINUX,
    ),
    Setting("linux.netDevices{}.name", "carried", "the name on the host if it is absent", read=_LINUX),
    Setting("linux.intelRdt", "ignored", _NO_COUNTERPART),
    Setting("linux.personality", "ignored", "processes run as on the guest's own architecture"),
    Setting("linux.memoryPolicy", "ignored", _ONE_NODE),

    Setting("linux.resources", "carried", read=_LINUX, sandbox=False),
    Setting(
        "linux.resources.pids", "carried", own_ramdisk=False, sandbox=False,
        update="the number of tasks is limited in the guest, which accepts no commands",
    ),
    Setting(
        "linux.resources.pids.limit", "carried",
        "in a cgroup of the guest, the root of what the container sees; since version 1.3, 0 is a limit too",
    ),
    Setting(
        "linux.resources.unified", "carried",
        "memory.max, cpu.max, cpu.weight, cpuset.cpus and pids.max as the properties with the same meaning, which they go "
        "before; in the machine of a pod memory.oom.group too; others are ignored and listed",
        read="frontends/oci/unified.py", own_ramdisk=False, sandbox=False,
        update="of its files, memory.max, cpu.max, cpu.weight and cpuset.cpus alone mean what a running machine can change",
    ),
    Setting("linux.resources.devices", "vm", "the virtual machine has no devices of the host to guard"),
    Setting("linux.resources.blockIO", "ignored", "the virtual machine has no block device of the host"),
    *(Setting(f"linux.resources.{name}", "ignored", _NO_COUNTERPART) for name in ("hugepageLimits", "network", "rdma")),
    Setting("linux.resources.memory", "carried"),
    Setting(
        "linux.resources.memory.limit", "carried",
        "the container has that much, the virtual machine somewhat more; a process that exceeds it is killed", update=CHANGES,
    ),
    *(
        Setting(f"linux.resources.memory.{name}", "ignored", _ONE_SIZE)
        for name in ("reservation", "kernel", "kernelTCP", "useHierarchy", "checkBeforeUpdate")
    ),
    Setting("linux.resources.memory.swap", "ignored", NO_SWAP, update=f"{NO_SWAP}; a value above the limit is ignored"),
    Setting("linux.resources.memory.swappiness", "ignored", NO_SWAP),
    Setting(
        "linux.resources.memory.disableOOMKiller", "ignored",
        "the guest's kernel kills a process that exceeds the memory, as nobody outside would make room",
    ),
    Setting("linux.resources.cpu", "carried"),
    Setting(
        "linux.resources.cpu.quota", "carried",
        "quota / period, rounded up, is the number of virtual CPUs; if it is no whole number, a cap holds them to it",
        update=CHANGES,
    ),
    Setting("linux.resources.cpu.period", "carried", "see quota", update=CHANGES),
    Setting("linux.resources.cpu.shares", "carried", "the weight of the domain", update=CHANGES),
    Setting("linux.resources.cpu.cpus", "carried", "the host's CPUs that the virtual CPUs run on", update=CHANGES),
    Setting("linux.resources.cpu.mems", "ignored", _ONE_NODE),
    *(
        Setting(f"linux.resources.cpu.{name}", "ignored", _CPU_COUNT)
        for name in ("burst", "realtimePeriod", "realtimeRuntime", "idle")
    ),

    Setting(
        "linux.seccomp", "carried",
        "a program for the guest's kernel, made by libseccomp; without libseccomp.so.2 in dom0 an error, or ignored "
        "with policy.seccomp_optional of runx.toml",
        read=_SECCOMP, own_ramdisk=False, sandbox=False,
    ),
    Setting(
        "linux.seccomp.defaultAction", "carried",
        "SCMP_ACT_NOTIFY is refused: no program on the host can answer for a guest",
    ),
    Setting("linux.seccomp.defaultErrnoRet", "carried", _EPERM, read=_LIBSECCOMP),
    Setting("linux.seccomp.flags", "carried", "WAIT_KILLABLE_RECV is ignored, as no rule notifies"),
    Setting("linux.seccomp.architectures", "carried", "those whose programs the guest's kernel runs", read=_LIBSECCOMP),
    Setting("linux.seccomp.syscalls", "carried"),
    Setting("linux.seccomp.syscalls[].names", "carried", "names that libseccomp does not know are skipped, as in runc"),
    Setting("linux.seccomp.syscalls[].action", "carried", "SCMP_ACT_NOTIFY is refused"),
    Setting("linux.seccomp.syscalls[].errnoRet", "carried", _EPERM, read=_LIBSECCOMP),
    Setting(
        "linux.seccomp.syscalls[].args", "carried", "several conditions on one argument become a rule each, as in runc",
        read=_LIBSECCOMP,
    ),
    *(Setting(f"linux.seccomp.syscalls[].args[].{name}", "carried") for name in ("index", "value", "valueTwo", "op")),
    Setting("linux.seccomp.listenerPath", "ignored", _NO_LISTENER),
    Setting("linux.seccomp.listenerMetadata", "ignored", _NO_LISTENER),

    Setting("vm", "carried", 'docs/pipeline.md, "A kernel of its own" and the sections after it', read=_VM, sandbox=False),
    Setting("vm.hypervisor", "carried"),
    Setting("vm.hypervisor.path", "ignored", "the hypervisor is Xen, which runs already"),
    Setting(
        "vm.hypervisor.parameters", "refused", "the hypervisor runs already and takes no parameters",
        hint="Xen takes parameters when the host boots",
    ),
    Setting("vm.kernel", "carried"),
    Setting("vm.kernel.path", "carried", "a file of the host; runx's own kernel if it is absent"),
    Setting(
        "vm.kernel.initrd", "carried",
        "a file of the host; then nothing of runx is in the guest, and the properties that this leaves undone are ignored",
    ),
    Setting("vm.kernel.parameters", "carried", "after runx's own and those of runx.toml"),
    Setting(
        "vm.image", "carried", "the root filesystem, instead of root.path; with a ramdisk of the container's own one more disk"
    ),
    Setting("vm.image.path", "carried", "a file of the host with one file system, ext4 or (read-only) EROFS"),
    Setting("vm.image.format", "carried", "raw, qcow2 and vhd; xl has no others"),
    Setting("vm.hwConfig", "carried", "also as hwconfig, the spelling of Go's types"),
    Setting("vm.hwConfig.deviceTree", "carried", "xl's device_tree, for Arm"),
    Setting("vm.hwConfig.vcpus", "carried", "goes before linux.resources"),
    Setting("vm.hwConfig.memory", "carried", "the size of the virtual machine in bytes; goes before linux.resources"),
    Setting("vm.hwConfig.dtdevs", "carried", "xl's dtdev, for Arm"),
    Setting("vm.hwConfig.iomems", "carried", "xl's iomem"),
    *(Setting(f"vm.hwConfig.iomems[].{name}", "carried") for name in ("firstGFN", "firstMFN", "nrMFNs")),
    Setting("vm.hwConfig.irqs", "carried", "xl's irqs"),

    *(Setting(name, "ignored", "for another platform") for name in ("solaris", "windows", "zos", "freebsd")),
)  # fmt: skip


def path_of(setting: Setting) -> Path:
    """The names of its path; `[]` is a part of its own."""
    return tuple(setting.path.replace("[]", ".[]").split("."))


IGNORED = tuple((path_of(row), row.how) for row in SETTINGS if row.fate in ("ignored", "vm"))
"""Path and reason of each property that the plan lists as ignored. Such paths lead through objects only."""

REFUSED = tuple((path_of(row), row) for row in SETTINGS if row.fate == "refused")

DEVICES: Path = ("linux", "resources", "devices")
"""Of these rules a container that joins the machine of its pod has a part (passes/pods.py)."""

LEFT_TO_OWN_RAMDISK = tuple(path_of(row) for row in SETTINGS if not row.own_ramdisk)
"""What PID 1 of runx would do in the guest."""

LEFT_BY_SANDBOX = tuple(path_of(row) for row in SETTINGS if not row.sandbox)
"""What a guest would do, or a process in it. Names and sysctl are for the virtual machines of the pod's containers."""

_LIMITS = tuple((path_of(row)[2:], row) for row in SETTINGS if row.path.startswith("linux.resources."))

CHANGEABLE = frozenset(path for path, row in _LIMITS if row.update == CHANGES)
"""Paths in linux.resources."""

WHY_UNCHANGEABLE = {
    path: row.update or row.how for path, row in _LIMITS if row.update != CHANGES and (row.update or row.fate != "carried")
}
"""By the path in linux.resources: why a running machine cannot change it. What is below shares the reason."""


def places(document: Any, pattern: Path, above: Path = ()) -> list[Path]:
    """The places in a checked document where a property has a value. Engines write 0, "", false and [] for nothing."""
    if not pattern:
        return [above] if document else []
    first, *others = pattern
    if first == "[]":
        return [path for index, item in enumerate(document) for path in places(item, tuple(others), (*above, index))]
    return places(document.get(first) or {}, tuple(others), (*above, first))
