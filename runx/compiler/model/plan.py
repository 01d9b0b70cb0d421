"""The plan of a virtual machine: the compiler's passes make it, and its backends read it.

A plan is frozen, uses the field's nouns, and survives JSON without loss. The executor reads the JSON with the standard library,
and knows nothing about OCI's configuration.
"""

from typing import TYPE_CHECKING, Literal, Union

from typing_extensions import TypeAliasType

from runx.compiler import slim_imports
from runx.linux.process_words import CAPABILITIES, IO_CLASSES, SCHEDULER_FLAGS, SCHEDULER_POLICIES

with slim_imports.without(slim_imports.PYDANTIC):
    from pydantic import BaseModel, ConfigDict

    class _Part(BaseModel):
        # defer_build: pydantic compiles a model at its first use, which halves the cost of importing this module.
        model_config = ConfigDict(frozen=True, extra="forbid", defer_build=True)


PLAN_VERSION = 1

HOOK_KINDS = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
"""The kinds of hooks, in the order in which they run (OCI runtime.md, "Lifecycle")."""
SECCOMP_FLAGS = {"SECCOMP_FILTER_FLAG_LOG": 2, "SECCOMP_FILTER_FLAG_SPEC_ALLOW": 4}
"""seccomp(2): the flags that a plan may have, and their numbers."""

# The plan takes no other words than those of the tables, so that a backend finds each. For mypy they are strings.
if TYPE_CHECKING:
    _Policy = str
    _SchedulerFlag = str
    _IoClass = str
    _SeccompFlag = str
    _Capability = str
else:
    _Policy, _SchedulerFlag, _IoClass, _SeccompFlag, _Capability = (
        Literal[tuple(words)] for words in (SCHEDULER_POLICIES, SCHEDULER_FLAGS, IO_CLASSES, SECCOMP_FLAGS, CAPABILITIES)
    )


POD_SHARE = "pod"
"""Tag of the share of a pod's machine. Its entries come and go with the pod's containers."""
POD_SHM = "/shares/shm"
"""Where a pod's machine has the shared memory of its containers, /dev/shm."""


class Share(_Part):
    """A tree of the host that runx serves to the guest over 9p."""

    tag: str
    """Mount tag in the guest: `root`, the root filesystem, `mounts`, which has an entry for each bind mount, or `pod`, which has
    those of all containers of a pod."""


class Interface(_Part):
    """A network interface of the guest, attached to a bridge of the host (xl-network-configuration(5), `vif=`)."""

    name: str
    """Its name in the guest: `eth0`, `eth1`, …"""
    mac: str
    """In Xen's range, 00:16:3e:…; the same for the same container."""
    bridge: str
    script: str
    """Absolute path of the hotplug script. It leaves the backend down; the supervisor puts it on the bridge."""
    anti_spoofing: Literal["mac", "addresses", ""] = "mac"
    """What the host checks of the guest's frames: `mac`, their sender's MAC address; `addresses`, its IP addresses as well, and
    that they are neither router advertisements nor a DHCP server's; "" nothing."""
    isolated: bool = False
    """The bridge passes no frames between this port and other isolated ones."""
    mtu: int | None = None
    """Bytes; None leaves the kernel's default."""
    network: str
    """Name of the CNI network."""
    address: str | None = None
    """`192.168.0.7/24` or `fd00::7/64`; None: by DHCP, or with `layer2` none."""
    layer2: bool = False
    """The interface is up, and nothing gives it an address."""
    routes: tuple[tuple[str, str], ...] = ()
    """Destination (`default` or a network) and gateway of each; "" for a destination on the link."""
    nameservers: tuple[str, ...] = ()
    """For resolv.conf(5), as the two fields below. With any of them, a DHCP server's words about names are not used."""
    search: tuple[str, ...] = ()
    dns_options: tuple[str, ...] = ()
    origin: str
    """Where it comes from: `process.env[2]`."""


class Disk(_Part):
    """A file of the host as a disk of the guest (xl-disk-configuration(5))."""

    vdev: str
    """Its name in the guest: `xvda`."""
    format: Literal["raw", "qcow2", "vhd"]
    source: str
    """Absolute path of the file on the host."""
    path: str
    """Path that xl gets: below the container's state directory, so that it needs no quoting. `source` is bound there."""
    read_only: bool
    holds: Literal["image", "base", "engine", "added", "layer"] = "image"
    """`image`: the image that the configuration names. For a root filesystem by disk: `base`, a copy of its unchanging part, or
    `engine`, an EROFS image of the engine's for each layer of that part; `added`, a copy of the files on top of it; `layer`, the
    ext4 disk that the container writes to."""
    script: str = ""
    """The hotplug script that gives the disk to dom0's kernel; "" for a disk that QEMU serves, which needs none."""
    made_of: str = ""
    """For `added`: the directory that it is a copy of."""


class IoMemory(_Part):
    """Pages of the host's I/O memory that the guest may use (xl.cfg(5), `iomem=`)."""

    first_mfn: int
    """Machine frame number of the first page."""
    pages: int
    first_gfn: int | None = None
    """Frame number of the first page in the guest; None: the same number."""


XlValue = TypeAliasType("XlValue", Union[str, "tuple[XlValue, ...]"])
"""A value of xl's language: a string, or a list. Its numbers are strings without quotes."""


class XlSetting(_Part):
    """A setting of xl.cfg(5) that XLCONF asks for and the host's policy allows."""

    name: str
    value: XlValue
    """If runx writes a list under the same name, this is a list too, and is added to it."""
    origin: str
    """Where it comes from: `process.env[2]`."""


ARM = ("aarch64", "arm")
"""Values of `Domain.machine` for Xen on Arm."""


class Domain(_Part):
    """The domain, as xl.cfg(5) describes one."""

    name: str
    """Domain name, derived from the container's id and the state root; at most 80 characters of `[A-Za-z0-9_+.-]`."""
    type: Literal["pv", "pvh"]
    type_reason: str
    """Why it is this type."""
    machine: str
    """The architecture, as `./build` names it."""
    kernel: str
    """Absolute path of the guest kernel on the host."""
    own_kernel: str | None = None
    """Path of the container's own kernel in its root filesystem; `kernel` is the copy that create makes."""
    base_ramdisk: str | None
    """Absolute path of the base initrd on the host; the overlay is appended to a copy of it. None: the ramdisk is the
    container's own, and nothing is appended."""
    ramdisk: str
    """Absolute path of the ramdisk on the host: that copy, or the container's own."""
    own_ramdisk: str | None = None
    """Path of the container's own ramdisk in its root filesystem; `ramdisk` is the copy that create makes."""
    memory_mib: int
    vcpus: int
    cpus: str | None = None
    """CPUs of the host that the virtual ones are pinned to, `0-3,7`; None: any."""
    cap_percent: int | None = None
    """The most CPU time, in percent of one CPU; None: as much as the virtual CPUs can use."""
    cpu_weight: int | None = None
    """Share of CPU time relative to other domains, from 1 to 65535; None: Xen's default, 256."""
    cmdline: tuple[str, ...]
    """Kernel parameters, in order."""
    shares: tuple[Share, ...]
    disks: tuple[Disk, ...] = ()
    interfaces: tuple[Interface, ...] = ()
    device_tree: str | None = None
    """Absolute path of a device tree blob on the host, for Arm."""
    dtdevs: tuple[str, ...] = ()
    """Nodes of the host's device tree that are passed through, for Arm."""
    iomems: tuple[IoMemory, ...] = ()
    irqs: tuple[int, ...] = ()
    """Physical interrupts that the guest may use."""
    xl_settings: tuple[XlSetting, ...] = ()


class RootImage(_Part):
    """An EROFS image of a part of the root filesystem."""

    holds: Literal["base", "added"]
    """As in Disk.holds."""
    source: str
    """Absolute path of the file on the host."""
    made_of: str = ""
    """For `added`: the directory that it is a copy of."""


class Root(_Part):
    """The container's root filesystem, and how it gets into the guest."""

    carrier: Literal["9p", "disk", "ram", "none"]
    """`9p`: the share `root`. `disk`: the guest mounts disks of the domain. `ram`: it mounts images that are in its ramdisk.
    `none`: there is no guest."""
    reason: str
    """Why it is this carrier."""
    path: str
    """Absolute path of the directory on the host; with `vm.image`, only a kernel of the container's own comes from it."""
    lower: tuple[str, ...] = ()
    """Layers that `base` is a copy of, joined by overlayfs, the topmost first. () with `disk` and `ram`: a copy of `path`."""
    lower_options: tuple[str, ...] = ()
    """Options with which overlayfs reads `lower`."""
    layer_mib: int | None = None
    """Size of the disk `layer` if it has to be made. On the host it is sparse: it occupies only what was written to it."""
    cache_mib: int | None = None
    """The most that all kept images may occupy together."""
    keep_free_mib: int | None = None
    """What images and the layer leave free on the file system that they are on, but at most a tenth of it."""
    layer_of: str = ""
    """Directory whose end is the end of the layer."""
    write_back: Literal["exit", "never", ""] = ""
    """`exit`: what the container has written comes into `path` when it ends, and its layer is removed. `never`: `path` stays as
    it is. "": the guest alone has nothing of the root filesystem."""
    images: tuple[RootImage, ...] = ()
    """With `ram`: the images in the ramdisk, the lowest first; /runx/root/0 and so on."""
    images_mib: int = 0
    """The most that `images` occupy together."""
    read_only: bool
    served_read_only: bool = False
    """The host makes it read-only, as nothing of runx is in the guest to do it."""


def copy_of(slot: int) -> str:
    """Path in the guest of the copy of a file, for the mount by value with that slot."""
    return f"/runx/files/{slot}"


class Mount(_Part):
    """One entry of `mounts` (OCI config.md, "Mounts"), in their order."""

    destination: str
    """Absolute path inside the container."""
    carrier: Literal["9p", "value", "guest"]
    """`9p`: a bind of a host path, through the `mounts` share. `value`: a bind of a copy of a small file, in the ramdisk.
    `guest`: the guest makes the file system itself; with the type `bind`, a bind of a device node of its own."""
    type: str
    """File system type for `guest`; `bind` for the others."""
    source: str
    """Host path; for `guest` the source argument of mount(2)."""
    slot: int | None = None
    """For `9p`: the name of the mount's entry in the share, a number from 0. For `value`: the number of the copy (`copy_of`)."""
    is_file: bool = False
    """For `9p` and `value`: the source is a file, not a directory."""
    recursive: bool = False
    """For `9p`: rbind, so that mounts below the source are included."""
    read_only: bool = False
    """For `9p`: host and guest both enforce it."""
    withheld: tuple[Literal["devices", "set-id", "capabilities"], ...] = ()
    """For `9p`: what the host does not let the guest make there, as the configuration does not let the process make it: nodes of
    devices, files with set-id bits, files with capabilities."""
    flags: tuple[str, ...] = ()
    """mount(8)'s flag words in effect (`ro`, `nosuid`, …), sorted, one of each family; `tmpcopyup` may be among them."""
    data: tuple[str, ...] = ()
    """Options the file system itself reads (`size=64m`), in order. For `9p`: those of an overlay that the host mounts, and whose
    content the guest binds. `source` is its topmost lower directory then."""
    propagation: tuple[str, ...] = ()
    """Propagation words in order (`rprivate`)."""
    origin: str
    """Where it comes from: `mounts[3]`."""

    @property
    def comes_to(self) -> str:
        """Source of the bind mount in the guest, outside the container's root; "" for a file system that the guest makes."""
        return self.found_at("/shares/mounts")

    def found_at(self, share: str) -> str:
        """The same, if the entries of the share are in that directory of the guest."""
        if self.slot is None:
            return self.source if self.type == "bind" else ""
        return f"{share}/{self.slot}" if self.carrier == "9p" else copy_of(self.slot)


class Device(_Part):
    """A device node of the container (OCI config-linux.md, "Devices" and "Default Devices")."""

    path: str
    type: Literal["c", "b", "p"]
    major: int
    minor: int
    mode: int
    uid: int
    gid: int
    bound: bool = False
    """The node is made in the ramdisk and bound over `path`, as 9p holds no device nodes; else it is made in a tmpfs."""


class Rlimit(_Part):
    """setrlimit(2). `name` is lower case with no prefix: `nofile`."""

    name: str
    soft: int
    hard: int


class Capabilities(_Part):
    """capabilities(7), names as in the configuration (`CAP_CHOWN`), sorted by number."""

    bounding: tuple[_Capability, ...] = ()
    effective: tuple[_Capability, ...] = ()
    inheritable: tuple[_Capability, ...] = ()
    permitted: tuple[_Capability, ...] = ()
    ambient: tuple[_Capability, ...] = ()


class Seccomp(_Part):
    """The filter of the process's system calls (OCI config-linux.md, "Seccomp"). The program itself is a file of the overlay."""

    default_action: str
    """Action for a call that no rule names: `SCMP_ACT_ERRNO`."""
    system_calls: int
    """Number of system calls that the profile names."""
    instructions: int
    """Number of instructions in the program."""
    sha256: str
    """Hash of the program."""
    flags: tuple[_SeccompFlag, ...] = ()
    """Flags of seccomp(2), as the profile writes them."""


class Scheduler(_Part):
    """sched_setattr(2): how the guest's kernel gives CPU time to the process."""

    policy: _Policy
    """`SCHED_FIFO`, as the configuration writes it; `flags` likewise."""
    nice: int = 0
    priority: int = 0
    flags: tuple[_SchedulerFlag, ...] = ()
    runtime_ns: int = 0
    """For SCHED_DEADLINE, as the two below."""
    deadline_ns: int = 0
    period_ns: int = 0


class IoPriority(_Part):
    """ioprio_set(2)."""

    io_class: _IoClass
    """`IOPRIO_CLASS_BE`."""
    level: int
    """From 0, which goes first, to 7."""


class Process(_Part):
    """The one process of the container (OCI config.md, "Process")."""

    args: tuple[str, ...]
    env: tuple[str, ...]
    cwd: str
    uid: int
    gid: int
    additional_gids: tuple[int, ...]
    umask: int | None = None
    rlimits: tuple[Rlimit, ...] = ()
    capabilities: Capabilities | None = None
    """None: nothing of runx is in the guest to set them. Without a `capabilities` object all sets are empty, as under runc."""
    no_new_privileges: bool = False
    seccomp: Seccomp | None = None
    oom_score_adj: int | None = None
    scheduler: Scheduler | None = None
    io_priority: IoPriority | None = None
    pids_limit: int | None = None
    """The most tasks that the container may have, threads included (cgroups(7), pids.max); None: as many as the guest can."""
    terminal: bool = False
    """Standard input, output and error are one terminal, made in the guest."""
    rows: int = 0
    """The terminal's size at the start (process.consoleSize); 0 if the engine sets it later."""
    columns: int = 0
    pid_namespace: bool = False
    """The process is PID 1 of its own PID namespace in the guest (linux.namespaces has `pid`)."""


class Guest(_Part):
    """The surroundings of the process, which the set-up in the guest makes."""

    hostname: str | None = None
    domainname: str | None = None
    devices: tuple[Device, ...] = ()
    masked_paths: tuple[str, ...] = ()
    readonly_paths: tuple[str, ...] = ()
    sysctl: tuple[tuple[str, str], ...] = ()
    root_propagation: str | None = None
    """A word of mount(8), `shared`, for the mount that is the container's root; None: private, as all mounts in the guest."""


class NetworkDevice(_Part):
    """A network device of the host that moves into the container's network namespace, and so becomes the guest's (OCI
    config-linux.md, "Network Devices")."""

    name: str
    """Its name on the host."""
    new_name: str
    """Its name in the namespace and in the guest. `%d` becomes a free number."""
    origin: str
    """Where it comes from: `linux.netDevices.eth1`."""


class Hook(_Part):
    """A program of the engine that runs at a certain time (OCI config.md, "POSIX-platform Hooks")."""

    kind: Literal["prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop"]
    path: str
    """Absolute path on the host; for startContainer, in the container's root."""
    args: tuple[str, ...]
    """The argument vector, with the program's name first."""
    env: tuple[str, ...] | None
    """Its whole environment. None, as in runc: the environment of `runx`, and for startContainer that of the process."""
    timeout_s: int | None
    """Seconds after which it is killed, which is a failure; None: no limit."""
    failure: Literal["ends", "warns"]
    """Effect of a failure: it ends the container, or it is a warning and the next hook runs."""
    origin: str
    """Where it comes from: `hooks.prestart[0]`."""


class Pod(_Part):
    """The part that a container has in a pod, several containers that Kubernetes or an engine treats as one."""

    part: Literal["sandbox", "container"]
    """`sandbox`: it holds the namespaces of the pod and runs no program of its own, so it has no virtual machine unless the pod
    is one. `container`: it shares these namespaces."""
    sandbox_id: str
    """The id of the sandbox; "" if the configuration does not tell it."""
    origin: str
    """The setting that says so: `annotations["io.kubernetes.cri.container-type"]`."""
    machine: bool = False
    """The pod is one virtual machine: the sandbox has it, and the pod's containers join it."""


class Joined(_Part):
    """What a container adds to the virtual machine of its pod."""

    sandbox: str
    """Absolute path of the state directory of the pod's sandbox, whose supervisor has the machine."""
    disks: tuple[Disk, ...] = ()
    """Disks that are attached while the machine runs. Their `vdev` is chosen then; the guest finds them as /runx/disks/0 and so
    on."""
    pid_namespace: str
    """`own`: a new PID namespace. `pod`: that of the sandbox. A path `/proc/PID/ns/pid`: that of the container whose supervisor
    has this pid."""
    own_namespaces: tuple[Literal["ipc", "uts"], ...] = ()
    """Namespaces that the container has for itself in the guest. All others are the pod's."""
    control_group: tuple[tuple[str, str], ...] = ()
    """Files of its control group in the guest, and what is written to them (cgroups(7), version 2): `memory.max`."""
    opens_all_devices: bool = False
    """Every device node leads to its device of the machine: linux.resources.devices allows all, as of privileged containers.
    False: only the nodes that the set-up makes do. So the disks of other containers and the console link stay out of reach."""


class Ignored(_Part):
    """A setting that the plan does not honour, and why (OCI config.md lets a runtime ignore it, or a VM has no such thing)."""

    id: str = ""
    """The ID of the notice (docs/faults.md); several, separated by commas, if there are several reasons."""
    path: str
    reason: str


class VmPlan(_Part):
    """Everything that will be done for one container."""

    version: int = PLAN_VERSION
    id: str
    bundle: str
    """Absolute path of the bundle directory."""
    oci_version: str
    annotations: tuple[tuple[str, str], ...] = ()
    pod: Pod | None = None
    console: Literal["link", "passthrough", "pod", "none"] = "link"
    """How streams, signals and the exit status travel. `link`: docs/console-link.md. `passthrough`: hvc0 unchanged, if the
    ramdisk is the container's own. `pod`: a session of the link of the pod's machine. `none`: there is no guest. `process` has
    only the terminal then, as with `passthrough`."""
    domain: Domain | None
    """None: the container joins the machine of its pod, or it is the sandbox of a pod, which has a supervisor and no virtual
    machine. The pod's containers take the settings in `guest`."""
    joined: Joined | None = None
    """For a container that joins the machine of its pod."""
    root: Root
    mounts: tuple[Mount, ...] = ()
    process: Process
    guest: Guest
    hooks: tuple[Hook, ...] = ()
    """In the order in which they run."""
    network_namespace: str | None = None
    """Absolute path of the network namespace on the host that the container joins; None: a new one, which engines may fill."""
    takes_interfaces: bool = False
    """The guest gets the interfaces that are in that namespace when it starts; false: only the interfaces of `domain`."""
    network_devices: tuple[NetworkDevice, ...] = ()
    """Devices of the host that are put there first."""
    exec: bool = False
    """More processes may be started in the container, and its ports be reached from dom0: PID 1 of its guest takes sessions over
    the link. Of the machine of a pod: its ports alone; its containers have what they may themselves."""
    sync_clock: bool = False
    """The supervisor keeps the guest's clock at the host's time."""
    cgroups_path: str | None = None
    """linux.cgroupsPath as given. The supervisor joins this cgroup, so that engines find a live one for their statistics."""
    ignored: tuple[Ignored, ...] = ()

    @property
    def is_pod(self) -> bool:
        """Whether it is the sandbox of a pod that is one virtual machine."""
        return self.domain is not None and self.pod is not None and self.pod.part == "sandbox"

    @property
    def disks(self) -> tuple[Disk, ...]:
        """Those that it brings, in their order."""
        return self.domain.disks if self.domain else self.joined.disks if self.joined else ()

    @property
    def machine(self) -> Domain:
        """The domain of a plan that has one."""
        assert self.domain is not None
        return self.domain


with slim_imports.without(slim_imports.PYDANTIC):
    VmPlan.model_rebuild()  # which imports the rest of pydantic
