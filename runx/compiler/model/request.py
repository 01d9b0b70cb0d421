"""What the frontends read: the container as its configuration asks for it, before anything is decided."""

from typing import Any, Literal, NamedTuple

from runx.compiler.diagnostics import Path
from runx.compiler.model.plan import Device, Hook, IoMemory, Pod, Process, XlValue


class MountOptions(NamedTuple):
    """What the options of a mount say; the fields of the same names in plan.Mount explain them."""

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
    """What one NETCONF, or the host's bridge for the host's network, asks for; plan.Interface explains the fields of the same
    names."""

    network: str
    bridge: str
    mtu: int | None
    address: str | None
    routes: tuple[tuple[str, str], ...]
    nameservers: tuple[str, ...]
    search: tuple[str, ...]
    dns_options: tuple[str, ...]
    bridge_addresses: tuple[str, ...]
    """What the bridge must have, as the file says that it is the gateway."""
    path: Path
    """What asks for the network."""
    bridge_origin: Path = ()
    """What names the bridge, if it is not at `path`."""


class Limits(NamedTuple):
    """linux.resources, as far as a virtual machine's size expresses it. None: no limit."""

    memory_bytes: int | None
    cpu_quota_us: int | None
    cpu_period_us: int
    cpu_shares: int | None
    """A weight against other containers', of which 1024 is the usual one."""
    cpus: frozenset[int] | None
    """The CPUs that the cpuset names."""
    origin: Path = ("linux", "resources")
    """The object that has the limits; () for the argument of `runx update`."""


class BootFile(NamedTuple):
    """A kernel or a ramdisk for the guest. `path` is absolute, inside the root filesystem with `in_root`, else on the host."""

    path: str
    in_root: bool
    origin: Path


class XlStatement(NamedTuple):
    """A setting of xl.cfg(5). `adds`: `+=`. `at`: its character in the string that `XlRequest.origin` is the place of."""

    key: str
    adds: bool
    value: XlValue
    at: int


class XlRequest(NamedTuple):
    """What XLCONF or its annotation asks for, one statement a key."""

    statements: tuple[XlStatement, ...]
    origin: Path


class ImageRequest(NamedTuple):
    """vm.image: a file of the host with a file system that is the container's root."""

    path: str
    format: Literal["raw", "qcow2", "vhd"]
    origin: Path = ("vm", "image")


class Hardware(NamedTuple):
    """vm.hwConfig; None and () where it says nothing."""

    vcpus: int | None = None
    memory_bytes: int | None = None
    device_tree: str | None = None
    dtdevs: tuple[str, ...] = ()
    iomems: tuple[IoMemory, ...] = ()
    irqs: tuple[int, ...] = ()
    origin: Path = ("vm", "hwConfig")


class Container(NamedTuple):
    """A configuration without faults of form; names and references may still be wrong."""

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
    host_bridge: str | None = None
    """The bridge that takes the place of the host's network, which the container asks for and the host's runx.toml maps so."""
    kernel: BootFile | None = None
    ramdisk: BootFile | None = None
    """Instead of runx's: nothing of runx is in the guest then."""
    kernel_parameters: tuple[str, ...] = ()
    image: ImageRequest | None = None
    hardware: Hardware = Hardware()
    xlconf: XlRequest | None = None
    hooks: tuple[Hook, ...] = ()
    pod: Pod | None = None

    @property
    def is_sandbox(self) -> bool:
        """Whether it only holds the namespaces of a pod: there is no virtual machine then."""
        return self.pod is not None and self.pod.part == "sandbox"

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
