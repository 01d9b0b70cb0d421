"""The container as its configuration asks for it, before anything is decided: the output of the frontends."""

from typing import Any, Literal, NamedTuple

from runx.compiler.diagnostics import Path
from runx.compiler.model.plan import Device, Hook, IoMemory, NetworkDevice, Pod, Process, XlValue


class MountOptions(NamedTuple):
    """The options of a mount. plan.Mount explains the fields of the same names."""

    flags: tuple[str, ...]
    data: tuple[str, ...]
    propagation: tuple[str, ...]
    bind: bool
    recursive: bool


class MountRequest(NamedTuple):
    """One entry of `mounts`. `type` is `bind` for every bind mount, whatever the configuration calls it."""

    destination: str
    type: str
    source: str
    options: MountOptions
    path: Path


class NetworkRequest(NamedTuple):
    """A network that NETCONF asks for, or a bridge of the host in place of the host's network. plan.Interface explains the fields
    of the same names."""

    network: str
    bridge: str
    mtu: int | None
    address: str | None
    routes: tuple[tuple[str, str], ...]
    nameservers: tuple[str, ...]
    search: tuple[str, ...]
    dns_options: tuple[str, ...]
    bridge_addresses: tuple[str, ...]
    """Addresses that the bridge must have, as the file makes it the gateway."""
    path: Path
    """Place of the setting that asks for the network."""
    layer2: bool = False
    checks_mac: bool = False
    """The file asks that the MAC address of each of the guest's frames is checked."""
    isolated: bool = False
    bridge_origin: Path = ()
    """Place of the setting that names the bridge; () for `path`."""


class Limits(NamedTuple):
    """The limits of linux.resources that decide the size of a virtual machine. None: no limit."""

    memory_bytes: int | None
    cpu_quota_us: int | None
    cpu_period_us: int
    cpu_shares: int | None
    """A weight relative to other containers; 1024 is the usual one."""
    cpus: frozenset[int] | None
    """The CPUs in the cpuset."""
    origin: Path = ("linux", "resources")
    """Place of the object with the limits; () for the argument of `runx update`."""


class BootFile(NamedTuple):
    """A kernel or a ramdisk for the guest. `path` is absolute: inside the root filesystem with `in_root`, else on the host."""

    path: str
    in_root: bool
    origin: Path


class XlStatement(NamedTuple):
    """A setting of xl.cfg(5). `adds`: `+=`. `at`: its first character in the string at `XlRequest.origin`, from 0."""

    key: str
    adds: bool
    value: XlValue
    at: int


class XlRequest(NamedTuple):
    """The settings that XLCONF or its annotation asks for, one statement for each key."""

    statements: tuple[XlStatement, ...]
    origin: Path


class ImageRequest(NamedTuple):
    """vm.image: a file of the host with a file system that is the container's root."""

    path: str
    format: Literal["raw", "qcow2", "vhd"]
    origin: Path = ("vm", "image")


class Hardware(NamedTuple):
    """vm.hwConfig. None and (): the property is absent."""

    vcpus: int | None = None
    memory_bytes: int | None = None
    device_tree: str | None = None
    dtdevs: tuple[str, ...] = ()
    iomems: tuple[IoMemory, ...] = ()
    irqs: tuple[int, ...] = ()
    origin: Path = ("vm", "hwConfig")


class Container(NamedTuple):
    """A configuration whose form is right. Names and references may still be wrong."""

    document: dict[str, Any]
    """The configuration, every value of the type the specification gives it; for the checks."""
    bundle: str
    oci_version: str
    annotations: dict[str, str]
    root_path: str
    root_read_only: bool
    mounts: tuple[MountRequest, ...]
    process: Process
    hostname: str | None
    domainname: str | None
    devices: tuple[Device, ...]
    masked_paths: tuple[str, ...]
    readonly_paths: tuple[str, ...]
    sysctl: dict[str, str]
    root_propagation: str | None
    cgroups_path: str | None
    namespaces: frozenset[str]
    limits: Limits
    networks: tuple[NetworkRequest, ...] = ()
    network_namespace: str | None = None
    network_devices: tuple[NetworkDevice, ...] = ()
    host_bridge: str | None = None
    """The bridge in place of the host's network, which the container asks for (network.host of runx.toml)."""
    kernel: BootFile | None = None
    ramdisk: BootFile | None = None
    """A ramdisk instead of runx's. Then nothing of runx is in the guest."""
    kernel_parameters: tuple[str, ...] = ()
    image: ImageRequest | None = None
    hardware: Hardware = Hardware()
    xlconf: XlRequest | None = None
    hooks: tuple[Hook, ...] = ()
    pod: Pod | None = None

    @property
    def why_not_with_runx(self) -> str:
        """Why PID 1 of the guest is not runx's, which serves the container while it runs; "" if it is."""
        if self.is_sandbox and not self.is_pod:
            return "a pod's sandbox has no virtual machine"
        return "the ramdisk is the container's own" if self.ramdisk else ""

    @property
    def is_sandbox(self) -> bool:
        """Whether it only holds the namespaces of a pod, and runs no program."""
        return self.pod is not None and self.pod.part == "sandbox"

    @property
    def is_pod(self) -> bool:
        """Whether it is a sandbox with the virtual machine of its pod."""
        return self.pod is not None and self.pod.machine and self.pod.part == "sandbox"

    @property
    def joins(self) -> bool:
        """Whether it joins the virtual machine of its pod."""
        return self.pod is not None and self.pod.machine and self.pod.part == "container"

    def asks_for(self, path: Path) -> bool:
        """Whether the configuration has something at a path of names. Engines write 0, "", false and [] for nothing."""
        value: Any = self.document
        for part in path:
            value = value.get(part, {})
        return bool(value)

    @property
    def has_bound_dev(self) -> bool:
        """Whether /dev is a directory of the host, to which nothing is added."""
        return any(mount.destination == "/dev" and mount.type == "bind" for mount in self.mounts)
