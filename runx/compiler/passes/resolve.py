"""From the container to its virtual machine: every default, and how each thing is carried."""

import hashlib
import itertools
import posixpath
from collections.abc import Iterator, Mapping
from string import ascii_lowercase
from typing import Literal, NamedTuple

from runx.compiler.diagnostics import Report, path_text, quote, visible
from runx.compiler.frontends.oci.linux import DEFAULT_DEVICES
from runx.compiler.host.config import HostConfig
from runx.compiler.host.facts import Facts, SandboxFacts
from runx.compiler.host.overlay_layers import RootFacts
from runx.compiler.model.plan import (
    POD_SHARE,
    POD_SHM,
    Device,
    Disk,
    Domain,
    Guest,
    Ignored,
    Interface,
    Mount,
    Root,
    RootImage,
    Share,
    VmPlan,
    XlSetting,
)
from runx.compiler.model.request import BootFile, Container, MountRequest
from runx.compiler.model.xl_keys import YIELDING
from runx.compiler.passes.anti_spoofing import anti_spoofing
from runx.compiler.passes.guest_type import guest_type
from runx.compiler.passes.mount_carrier import Unshared, is_node_of_guest
from runx.compiler.passes.own_ramdisk import terminal_alone
from runx.compiler.passes.pods import SHM, has_own_names, join, shares_ipc
from runx.compiler.passes.root_carrier import RootChoice
from runx.compiler.passes.shares import withheld
from runx.compiler.passes.sizing import size_of, sizing_of
from runx.errors import RunxError

PASSTHROUGH_CMDLINE = ("console=hvc0", "panic=-1", "runx.wait_for_devices")
"""With a ramdisk of the container's own, hvc0 is the container's output. The container decides whether the kernel is quiet. Its
/init expects devices that are connected, as Linux has them; runx's /init does not need runx's kernel to wait."""

# console: hvc0 is Xen's console. Its output becomes the container's log. quiet, loglevel: only emergencies, as each line costs
# time on that console. panic: restart at once instead of hanging. A restart destroys the domain.
CMDLINE = ("console=hvc0", "quiet", "loglevel=1", "panic=-1")

PRIVILEGED_CMDLINE = ("sysctl.kernel.io_uring_disabled=1", "sysctl.kernel.unprivileged_userns_clone=0")
"""Much code of the kernel that docker's default seccomp profile keeps from processes without CAP_SYS_ADMIN. Here it is kept from
them without a profile, too. runx.toml (kernel_parameters) and linux.sysctl come later, and may allow it. A kernel that lacks a
parameter goes on."""

SHARES_CMDLINE = ("init_on_alloc=1",)
"""Linux does not set the state of a new 9p client on Xen (net/9p/trans_xen.c, p9_xen_create). If that memory held a 1 or a 2
before, the mount fails with EIO. If memory is zeroed when it is allocated, the state is "connected"."""

DISKS_CMDLINE = ("xen_blkfront.feature_persistent=0",)
"""Linux would keep pages for all requests that a disk can have at once, ready for dom0: 4 MiB for each queue of a disk."""

IMAGES_CMDLINE = ("rootfstype=ramfs",)
"""The kernel unpacks the ramdisk into a ramfs. A tmpfs would have at most half of the memory, not counting the memory of the
ramdisk itself (Linux, init/do_mounts.c, mm/shmem.c)."""


class Place(NamedTuple):
    """The container's id, and the directories that concern it."""

    container_id: str
    bundle: str
    state_root: str
    assets: str

    @property
    def state_dir(self) -> str:
        return f"{self.state_root}/{self.container_id}"

    @property
    def block_script(self) -> str:
        return f"{self.assets}/block"

    @property
    def vif_script(self) -> str:
        return f"{self.assets}/vif"


class Carried(NamedTuple):
    """How the root filesystem and the mounts travel, as it was decided."""

    root: RootChoice
    write_back: Literal["exit", "never", ""]
    layer_mib: int | None
    """None without a layer."""
    unshared: Unshared


class Grants(NamedTuple):
    """What the host does for the container while it runs, as it was decided."""

    exec: bool
    sync_clock: bool


def resolve(
    container: Container, place: Place, host: HostConfig, facts: Facts, carried: Carried, grants: Grants, report: Report
) -> VmPlan:
    """The plan. Raises RunxError if the state directory's path cannot be in xl's configuration, or if this host does not have the
    type of virtual machine."""
    mounts = _mounts(container, facts, carried.unshared)
    has_machine = container.is_pod or not (container.is_sandbox or container.joins)
    domain = _domain(container, place, host, facts, mounts, carried, report) if has_machine else None
    return VmPlan(
        id=place.container_id,
        bundle=place.bundle,
        oci_version=container.oci_version,
        pod=container.pod,
        console=_console(container, has_machine),
        annotations=tuple(sorted(container.annotations.items())),
        domain=domain,
        joined=join(container, place.state_root, _disks(container, place, carried.root, host)),
        root=_root(container, place, carried, host),
        mounts=mounts,
        process=terminal_alone(container.process) if container.ramdisk else container.process,
        guest=Guest() if container.ramdisk else _guest(container, place, mounts, facts),
        hooks=container.hooks,
        network_namespace=container.network_namespace,
        network_devices=container.network_devices,
        takes_interfaces=has_machine and not container.networks,
        exec=grants.exec,
        sync_clock=grants.sync_clock,
        cgroups_path=container.cgroups_path,
        ignored=tuple(
            Ignored(id=notice.id, path=path_text(path), reason=notice.message) for path, notice in report.notices.items()
        ),
    )


def _console(container: Container, has_machine: bool) -> Literal["link", "passthrough", "pod", "none"]:
    if has_machine:
        return "passthrough" if container.ramdisk else "link"
    return "pod" if container.joins else "none"


def _domain(
    container: Container,
    place: Place,
    host: HostConfig,
    facts: Facts,
    mounts: tuple[Mount, ...],
    carried: Carried,
    report: Report,
) -> Domain:
    if not place.state_dir.isprintable():
        what = "characters that cannot be printed"
        raise RunxError(
            f"the state directory {visible(quote(place.state_dir))} cannot be given to xl: it has {what}",
            f"name a directory without {what} by --root, or by paths.state of runx.toml",
            "RX902",
        )
    machine = facts.machine()
    kind = guest_type(host, facts, own_kernel=container.kernel is not None)
    root = carried.root
    disks = _disks(container, place, root, host)
    shares = (Share(tag=POD_SHARE),) if container.is_pod else _shares(mounts, with_root=root.carrier == "9p")
    size = size_of(container.limits, sizing_of(container, len(shares), len(disks), root.images_mib, host), report)
    yielding = (size.cpus, size.cap_percent, size.cpu_weight, container.hardware.device_tree)
    set_here = dict(zip(YIELDING, yielding, strict=True))
    cmdline = (
        *(PASSTHROUGH_CMDLINE if container.ramdisk else (*CMDLINE, *PRIVILEGED_CMDLINE)),
        *(SHARES_CMDLINE if shares or carried.write_back == "exit" else ()),
        *(DISKS_CMDLINE if (disks and not container.ramdisk) or container.is_pod else ()),
        *(IMAGES_CMDLINE if root.carrier == "ram" else ()),
    )
    return Domain(
        name=domain_name(place.container_id, place.state_root),
        type=kind.type,
        type_reason=kind.reason,
        machine=machine,
        kernel=_boot_file(container.kernel, f"{place.state_dir}/kernel") or host.kernel or f"{place.assets}/kernel",
        own_kernel=_in_root(container.kernel),
        base_ramdisk=None if container.ramdisk else host.initrd or f"{place.assets}/initrd",
        ramdisk=_boot_file(container.ramdisk, f"{place.state_dir}/initrd") or f"{place.state_dir}/initrd",
        own_ramdisk=_in_root(container.ramdisk),
        **size._asdict(),
        cmdline=(*cmdline, *host.kernel_parameters, *container.kernel_parameters),
        shares=shares,
        disks=disks,
        interfaces=_interfaces(container, place, host, _macs(len(container.networks), place, facts)),
        device_tree=container.hardware.device_tree,
        dtdevs=container.hardware.dtdevs,
        iomems=container.hardware.iomems,
        irqs=container.hardware.irqs,
        xl_settings=_xl_settings(container, set_here, report),
    )


def _guest(container: Container, place: Place, mounts: tuple[Mount, ...], facts: Facts) -> Guest:
    pod = _of_the_pod(container, place, facts)
    if container.joins and not has_own_names(container):
        names = SandboxFacts()  # the machine has them
    else:
        # runc leaves the host's name. A virtual machine has no name until it gets one.
        bare = container.is_sandbox and not container.is_pod
        hostname = container.hostname or pod.hostname or (None if bare else place.container_id[:64])
        names = SandboxFacts(hostname, container.domainname or pod.domainname)
    return Guest(
        hostname=names.hostname,
        domainname=names.domainname,
        devices=() if container.is_sandbox else _devices(container, mounts),
        masked_paths=container.masked_paths,
        readonly_paths=container.readonly_paths,
        sysctl=tuple({**(dict(pod.sysctl) if not container.joins else {}), **container.sysctl}.items()),
        root_propagation=container.root_propagation,
    )


def _of_the_pod(container: Container, place: Place, facts: Facts) -> SandboxFacts:
    """The settings in the namespaces of the container's pod: engines configure the sandbox alone."""
    if not container.pod or container.is_sandbox or not container.pod.sandbox_id:
        return SandboxFacts()
    return facts.sandbox(f"{place.state_root}/{container.pod.sandbox_id}") or SandboxFacts()


def _xl_settings(container: Container, set_here: Mapping[str, object], report: Report) -> tuple[XlSetting, ...]:
    """The settings of XLCONF, without those that the configuration sets itself."""
    if not container.xlconf:
        return ()
    statements, origin = container.xlconf
    left_out = [statement.key for statement in statements if set_here.get(statement.key) is not None]
    if left_out:
        report.ignore("RX714", origin, f"the configuration itself sets {', '.join(left_out)}, and goes before XLCONF")
    return tuple(
        XlSetting(name=statement.key, value=statement.value, origin=path_text(origin))
        for statement in statements
        if statement.key not in left_out
    )


def domain_name(container_id: str, state_root: str) -> str:
    """The Xen domain's name: readable, and different for the same id under another state root."""
    digest = hashlib.sha256(f"{state_root}\0{container_id}".encode()).hexdigest()
    return f"runx-{container_id[:48]}-{digest[:12]}"


def _interfaces(container: Container, place: Place, host: HostConfig, macs: list[str]) -> tuple[Interface, ...]:
    return tuple(
        Interface(
            name=f"eth{index}",
            mac=macs[index],
            bridge=request.bridge,
            script=place.vif_script,
            anti_spoofing=anti_spoofing(request, host),
            isolated=request.isolated,
            mtu=request.mtu,
            network=request.network,
            address=request.address,
            layer2=request.layer2,
            routes=request.routes,
            nameservers=request.nameservers,
            search=request.search,
            dns_options=request.dns_options,
            origin=path_text(request.path),
        )
        for index, request in enumerate(container.networks)
    )


def _macs(count: int, place: Place, facts: Facts) -> list[str]:
    """MAC addresses that no other container of the host has, nor another interface of this one."""
    found: list[str] = []
    for index in range(count):
        addresses = (mac_address(place.container_id, place.state_root, index, attempt) for attempt in itertools.count())
        found.append(next(mac for mac in addresses if facts.mac_owner(mac) in ("", place.state_dir) and mac not in found))
    return found


def mac_address(container_id: str, state_root: str, index: int, attempt: int = 0) -> str:
    """An address of Xen's range (00:16:3e, its OUI) that stays the same for an interface of a container.

    attempt: how many addresses before this one belong to others.
    """
    again = f"\0{attempt}" if attempt else ""
    digest = hashlib.sha256(f"{state_root}\0{container_id}\0{index}{again}".encode()).digest()
    return "00:16:3e:" + ":".join(f"{byte:02x}" for byte in digest[:3])


def _boot_file(file: BootFile | None, copy: str) -> str | None:
    # The root filesystem is hostile, and xl opens files by name. The container cannot exchange a copy.
    return None if file is None else copy if file.in_root else file.path


def _in_root(file: BootFile | None) -> str | None:
    return file.path if file and file.in_root else None


def _shares(mounts: tuple[Mount, ...], with_root: bool) -> tuple[Share, ...]:
    tags = [*(["root"] if with_root else []), *(["mounts"] if any(mount.carrier == "9p" for mount in mounts) else [])]
    return tuple(Share(tag=tag) for tag in tags)


def _root(container: Container, place: Place, carried: Carried, host: HostConfig) -> Root:
    root = carried.root
    made = root.facts
    return Root(
        carrier=root.carrier,
        reason=root.reason,
        path=container.root_path,
        read_only=container.root_read_only,
        served_read_only=bool(container.ramdisk) and container.root_read_only,
        lower=made.lower if made else (),
        lower_options=made.options if made else (),
        layer_mib=carried.layer_mib,
        layer_of=(made.upper or made.path) if made and carried.layer_mib is not None else "",
        write_back=carried.write_back,
        cache_mib=host.cache_mib if made else None,
        keep_free_mib=host.keep_free_mib if made else None,
        images=tuple(_root_images(_once(place, host), made, host)) if made and root.carrier == "ram" else (),
        images_mib=root.images_mib,
    )


def _disks(container: Container, place: Place, root: RootChoice, host: HostConfig) -> tuple[Disk, ...]:
    if root.facts:
        return tuple(_root_disks(container, place, root.facts, host)) if root.carrier == "disk" else ()
    if not container.image:
        return ()
    path = f"{place.state_dir}/shares/image"
    return (
        Disk(
            vdev="xvda",
            format=container.image.format,
            source=container.image.path,
            path=path,
            read_only=container.root_read_only,
            script=place.block_script if container.image.format == "raw" else "",
        ),
    )


def _once(place: Place, host: HostConfig) -> str:
    return f"{host.images}/images/once-{domain_name(place.container_id, place.state_root)}"


def _root_images(once: str, made: RootFacts, host: HostConfig) -> Iterator[RootImage]:
    """The images of a root filesystem, the lowest first.

    once: the beginning of the paths of images that only this container has.
    """
    # An image of layers that never change is made once, with their identity as its name. A directory may change between
    # containers.
    yield RootImage(holds="base", source=f"{host.images}/images/{made.lower_identity}" if made.lower else f"{once}-base")
    for number, directory in enumerate(reversed(made.added if made.lower else ()), 1):
        yield RootImage(holds="added", source=f"{once}-added{number}", made_of=directory)


def _root_disks(container: Container, place: Place, made: RootFacts, host: HostConfig) -> Iterator[Disk]:
    """The disks of a root filesystem that runx copies to disks, the lowest first."""

    def disk(number: int, holds: Literal["base", "engine", "added", "layer"], source: str, made_of: str = "") -> Disk:
        # The path needs no quoting in xl's configuration, wherever the source is.
        path = f"{place.state_dir}/shares/disk{number}"
        vdev = f"xvd{ascii_lowercase[number]}"
        writable = holds == "layer"
        return Disk(
            vdev=vdev, format="raw", source=source, path=path, read_only=not writable, holds=holds, made_of=made_of,
            script=place.block_script,
        )  # fmt: skip

    base, *added = _root_images(_once(place, host), made, host)
    disks: list[tuple[Literal["base", "engine", "added"], str, str]] = [("engine", path, "") for path in reversed(made.images)]
    disks = disks or [(base.holds, base.source, base.made_of)]
    disks += [(image.holds, image.source, image.made_of) for image in added]
    for number, (holds, source, made_of) in enumerate(disks):
        yield disk(number, holds, source, made_of)
    if not container.root_read_only:
        beside = f"{posixpath.dirname(made.upper)}/{LAYER_NAME}"
        elsewhere = f"{host.images}/layers/{made.identity}/{LAYER_NAME}"
        yield disk(len(disks), "layer", beside if made.upper_is_engines else elsewhere)


LAYER_NAME = "runx-layer"
"""It stands beside a container's upper directory, and must not look like a file of the engine."""


def _mounts(container: Container, facts: Facts, unshared: Unshared) -> tuple[Mount, ...]:
    mounts: list[Mount] = []
    slots = {"9p": 0, "value": 0}
    for index, request in enumerate(container.mounts):
        if container.ramdisk and request.type != "bind":
            continue  # nothing of runx is in the guest to make the mount
        if index in unshared.memory_kib:
            of_pod = request.destination == SHM and shares_ipc(container)
            mounts.append(_of_the_machine(request) if of_pod else _in_memory(request, unshared.memory_kib[index]))
            continue
        if container.is_pod:
            continue  # the pod's machine has no root: it has its containers' shared memory
        carrier: Literal["9p", "value", "guest"]
        of_guest = request.type != "bind" or (is_node_of_guest(request, facts) and not container.ramdisk)
        carrier = "guest" if of_guest else "value" if index in unshared.files else "9p"
        is_file = carrier == "value" or (carrier == "9p" and facts.kind(request.source) == "file")
        mount = _mount(request, carrier, slots.get(carrier), is_file)
        mounts.append(mount.model_copy(update={"withheld": withheld(container.process)}) if carrier == "9p" else mount)
        if carrier in slots:
            slots[carrier] += 1
    return tuple(mounts)


def _in_memory(request: MountRequest, size_kib: int) -> Mount:
    """A tmpfs of the guest, of the same size as the host's tmpfs that it replaces."""
    options = request.options
    return Mount(
        destination=request.destination,
        carrier="guest",
        type="tmpfs",
        source="tmpfs",
        flags=options.flags,
        data=("mode=1777", f"size={size_kib}k"),
        propagation=options.propagation,
        origin=path_text(request.path),
    )


_OF_SHM = ("nodev", "noexec", "nosuid")
"""With these all engines mount a pod's shared memory. Under runc a bind of it has them too: without, one container could leave a
program with set-id bits there for the users of another."""


def _of_the_machine(request: MountRequest) -> Mount:
    """The directory of shared memory that all containers of a pod have, in the pod's machine."""
    options = request.options
    given = set(options.flags) - {flag.removeprefix("no") for flag in _OF_SHM}
    return Mount(
        destination=request.destination,
        carrier="guest",
        type="bind",
        source=POD_SHM,
        flags=tuple(sorted(given | set(_OF_SHM))),
        propagation=options.propagation,
        origin=path_text(request.path),
    )


def _mount(request: MountRequest, carrier: Literal["9p", "value", "guest"], slot: int | None, is_file: bool) -> Mount:
    options = request.options
    return Mount(
        destination=request.destination,
        carrier=carrier,
        type=request.type,
        source=request.source,
        slot=slot,
        is_file=is_file,
        recursive=options.recursive,
        read_only=slot is not None and "ro" in options.flags,
        flags=options.flags,
        data=options.data,
        propagation=options.propagation,
        origin=path_text(request.path),
    )


def _devices(container: Container, mounts: tuple[Mount, ...]) -> tuple[Device, ...]:
    """The default devices, and those of the configuration, which replace defaults. None if /dev is bound, as in runc."""
    if container.has_bound_dev:
        return ()
    # As in runc, a bind mount stays, and of several devices at one place the first.
    bound = {mount.destination for mount in mounts if mount.type == "bind"}
    named: dict[str, Device] = {}
    for device in container.devices:
        named.setdefault(device.path, device)
    # A mount at the place of a default, or below it, stays too.
    default = [
        device
        for device in DEFAULT_DEVICES
        if device.path not in named and not any(f"{mount.destination}/".startswith(f"{device.path}/") for mount in mounts)
    ]
    devices = [device for device in (*default, *named.values()) if device.path not in bound]
    # Of several mounts at the same place, the last one is on top.
    types = {mount.destination: mount.type for mount in mounts}
    return tuple(device.model_copy(update={"bound": not _in_tmpfs(device.path, types)}) for device in devices)


def _in_tmpfs(path: str, types: dict[str, str]) -> bool:
    """Whether the nearest mount above `path` is of memory. types: by the destinations of the mounts."""
    while path != "/":
        path = posixpath.dirname(path)
        if path in types:
            return types[path] in ("tmpfs", "ramfs")
    return False
