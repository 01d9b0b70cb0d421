"""Settings that a container may not have, and settings that are ignored: an ordered list of small checks across fields.

A check reads the container and the host's facts, and writes to the report, which sorts the messages by their place.
"""

from collections.abc import Iterable, Mapping

from runx.compiler.diagnostics import Path, Report, quote
from runx.compiler.frontends.oci import paths
from runx.compiler.frontends.oci.linux import DEFAULT_DEVICES
from runx.compiler.frontends.oci.overlay_options import directories_of
from runx.compiler.host.config import MAX_VCPUS, MIN_MEMORY_MIB
from runx.compiler.host.facts import Facts, bridge_directory
from runx.compiler.model.request import Container, MountRequest
from runx.compiler.model.settings import DEVICES, IGNORED, LEFT_BY_SANDBOX, REFUSED, places
from runx.compiler.passes.mount_carrier import is_node_of_guest
from runx.compiler.passes.mount_points import check_mount_points
from runx.compiler.passes.own_ramdisk import check_own_ramdisk
from runx.compiler.passes.pods import check_joined, why_devices
from runx.compiler.passes.sandbox import check_sandbox

HOST_NAME_MAX = 64
"""Bytes; gethostname(2)."""


_GROUPS_MAX, _GROUP_NAME_MAX = 64, 255
"""Groups in one another, each of which costs dom0 time at each change; and bytes of a file's name (limits.h, NAME_MAX)."""


def check(container: Container, facts: Facts, report: Report) -> None:
    """Run every check."""
    for one in CHECKS:
        one(container, facts, report)


def _root(container: Container, facts: Facts, report: Report) -> None:
    kind = facts.kind(container.root_path)
    if kind != "directory":
        what = {"missing": "does not exist", "unreadable": "cannot be read"}.get(kind, f"is a {kind}, not a directory")
        report.error(
            "RX201",
            ("root", "path"),
            f"{container.root_path} {what}",
            "root.path begins at the bundle: put the image's files there",
        )
    elif found := facts.kernel_files(container.root_path).type:
        message = f"{container.root_path} is on a {found} of the host's kernel, which no virtual machine gets"
        report.error("RX308", ("root", "path"), message, "put the image's files into a directory of their own")


def _mount_sources(container: Container, facts: Facts, report: Report) -> None:
    for mount in container.mounts:
        if mount.type != "bind" or not mount.source:
            continue
        if mount.options.data:
            _overlay_directories(mount, facts, report)
            continue
        kind = facts.kind(mount.source)
        path: Path = (*mount.path, "source")
        if is_node_of_guest(mount, facts) and not container.ramdisk:
            continue
        if kind == "missing":
            report.error(
                "RX306",
                path,
                f"{mount.source}: no such file or directory",
                "make it before the container, or leave out the mount",
            )
        elif kind == "unreadable":
            report.error(
                "RX306", path, f"{mount.source} cannot be read", "runx reads it as root, whom network file systems may keep out"
            )
        elif kind not in ("directory", "file"):
            hint = "it leads to something of the host's kernel; only directories and files can be shared"
            report.error("RX307", path, f"{mount.source} is a {kind}, which cannot be shared with a virtual machine", hint)
        elif facts.has_huge_pages(mount.source):
            message = f"{mount.source} has the host's huge pages, which cannot be shared with a virtual machine"
            report.error("RX309", path, message, "leave out the mount; memory of the guest has small pages")


def _refused(container: Container, facts: Facts, report: Report) -> None:  # noqa: ARG001
    for pattern, setting in REFUSED:
        for path in places(container.document, pattern):
            report.error("RX021", path, setting.how, setting.hint)


def _terminal(container: Container, facts: Facts, report: Report) -> None:  # noqa: ARG001
    process = container.document.get("process", {})
    if "consoleSize" in process and not process.get("terminal"):
        report.ignore("RX110", ("process", "consoleSize"), "the process has no terminal")


def _bridges(container: Container, facts: Facts, report: Report) -> None:
    for network in container.networks:
        whose = "NETCONF: " if network.path[0] == "process" else ""
        if facts.kind(bridge_directory(network.bridge)) != "directory":
            elsewhere = "runx.toml" if network.bridge_origin else "the network's file"
            hint = f"ip link add {network.bridge} type bridge, or another bridge in {elsewhere}"
            report.error("RX520", network.bridge_origin or network.path, f"{whose}the host has no bridge {network.bridge}", hint)
            continue
        for address in network.bridge_addresses:
            if not facts.has_address(network.bridge, address):
                hint = f"ip address add {address}/PREFIX dev {network.bridge}, or leave isGateway out of the network's file"
                report.error(
                    "RX521",
                    network.path,
                    f"{whose}isGateway: the bridge {network.bridge} does not have the address {address}",
                    hint,
                )


def _boot_files(container: Container, facts: Facts, report: Report) -> None:
    for file in (container.kernel, container.ramdisk):
        if file and file.in_root and not report.has_errors_below(("root",)):
            kind = facts.kind_in_root(container.root_path, file.path)
            _must_be_file(file.origin, file.path, kind, report, "in the root filesystem")
        elif file and not file.in_root:
            _host_file(file.origin, file.path, facts, report)


def _image(container: Container, facts: Facts, report: Report) -> None:
    image = container.image
    if not image:
        return
    if not image.path.isprintable():
        report.error("RX222", (*image.origin, "path"), f"{quote(image.path)} has characters that cannot be printed")
    else:
        _host_file((*image.origin, "path"), image.path, facts, report)
    if image.format != "raw" and container.root_read_only:
        # hw/block/xen-block.c gives `read-only` to the file alone, and then opens the format above it for writing.
        message = f"a {image.format} image cannot be attached read-only: QEMU's backend for Xen's disks fails"
        hint = f"qemu-img convert -O raw {'-f vpc ' if image.format == 'vhd' else ''}FILE NEW, or leave root.readonly out"
        report.error("RX223", (*image.origin, "format"), message, hint)
    if not container.ramdisk:
        report.ignore("RX202", ("root", "path"), "the root filesystem is vm.image")


def _hardware(container: Container, facts: Facts, report: Report) -> None:
    hardware = container.hardware
    if hardware.device_tree:
        _host_file((*hardware.origin, "deviceTree"), hardware.device_tree, facts, report)
    if hardware.memory_bytes and hardware.memory_bytes < MIN_MEMORY_MIB << 20:
        message = f"{hardware.memory_bytes} bytes are too few: a guest needs {MIN_MEMORY_MIB} MiB"
        report.error("RX235", (*hardware.origin, "memory"), message, "the number is in bytes")
    if hardware.vcpus and hardware.vcpus > MAX_VCPUS:
        report.error(
            "RX236",
            (*hardware.origin, "vcpus"),
            f"{hardware.vcpus} CPUs are asked for; a guest has {MAX_VCPUS} at most",
            "lower it",
        )


def _host_file(path: Path, value: str, facts: Facts, report: Report) -> None:
    if not value.startswith("/"):
        report.error("RX230", path, f"must be an absolute path, not {quote(value)}")
    else:
        _must_be_file(path, value, facts.kind(value), report, "on the host")


def _must_be_file(path: Path, value: str, kind: str, report: Report, where: str) -> None:
    if kind != "file":
        what = {"missing": "does not exist", "unreadable": "cannot be read"}.get(kind, f"is a {kind}, not a file")
        report.error("RX231", path, f"{quote(value)} {what} {where}")


def _names(container: Container, facts: Facts, report: Report) -> None:  # noqa: ARG001
    for field, name in (("hostname", container.hostname), ("domainname", container.domainname)):
        if name and len(name.encode()) > HOST_NAME_MAX:
            report.error("RX425", (field,), f"{quote(name)} is longer than {HOST_NAME_MAX} bytes")
    for name in container.document.get("linux", {}).get("sysctl", ()):
        if name.replace("/", ".") == "kernel.hostname":
            # As in runc and crun: with both, it is unclear which one holds.
            report.error(
                "RX421", ("linux", "sysctl", name), "is the host name, which has a field of its own", "give the name to hostname"
            )


_OF_THE_POD = {
    "ipc": "the virtual machine has its own: IPC objects are not shared with the other containers of the pod",
    "uts": "the virtual machine has its own, with the names of the pod's sandbox",
    "pid": "the virtual machine has its own: processes of the other containers of the pod are not seen",
    "user": "ids are the virtual machine's own, its root is not the host's",
}
"""Namespaces of its pod that a container joins under other runtimes, and what it has instead."""
_JOINED = ("ipc", "uts", "pid")
_OF_A_SANDBOX = "each virtual machine of the pod has its own, and the sandbox runs no program that would need one"


def _namespaces(container: Container, facts: Facts, report: Report) -> None:
    if report.has_errors_below(("linux", "namespaces")):
        return
    seen: set[str] = set()
    hint = 'give the container namespaces of its own: {"type": "TYPE"} with no path'
    for index, entry in enumerate(container.document.get("linux", {}).get("namespaces", ())):
        kind, path = entry["type"], entry.get("path")
        if kind in seen:
            report.error("RX401", ("linux", "namespaces", index, "type"), f"the namespace {quote(kind)} is given twice")
        seen.add(kind)
        if path and kind == "network":
            _network_namespace(("linux", "namespaces", index, "path"), path, facts, report)
        elif container.is_sandbox and not container.is_pod and kind != "network":
            report.ignore("RX402", ("linux", "namespaces", index), _OF_A_SANDBOX)
        elif path and container.joins and kind in _JOINED:
            pass  # carried: the other containers of the pod are in the same machine
        elif path and container.pod and not container.is_pod and kind in _OF_THE_POD:
            report.ignore("RX403", ("linux", "namespaces", index), _OF_THE_POD[kind])
        elif path:
            message = f"a virtual machine cannot join the {kind} namespace of another container or of the host"
            report.error("RX404", ("linux", "namespaces", index, "path"), message, hint)
        elif kind == "user":
            report.ignore(
                "RX405", ("linux", "namespaces", index), "ids are the virtual machine's own, its root is not the host's"
            )
    if "network" not in seen and not container.host_bridge:
        hint = 'add {"type": "network"}; with ctr, leave --net-host out; or network.host in runx.toml'
        report.error("RX406", ("linux", "namespaces"), "the network of the host cannot be used in a virtual machine", hint)
    if container.joins or container.is_pod:
        for kind in ("ipc", "uts", "pid"):
            if kind not in seen:
                reason = f"no {kind} namespace is given: the container has that of the pod's virtual machine, not the host's"
                report.ignore("RX407", ("linux", "namespaces", kind), reason)
        return
    if container.is_sandbox:
        return
    for kind in ("ipc", "uts", "mount"):
        if kind not in seen:
            report.ignore(
                "RX407", ("linux", "namespaces", kind), f"no {kind} namespace is given: the virtual machine has its own anyway"
            )
    if "pid" not in seen:
        report.ignore(
            "RX407",
            ("linux", "namespaces", "pid"),
            "no pid namespace is given: the process sees the virtual machine's processes, not the host's",
        )


def _cgroups_path(container: Container, facts: Facts, report: Report) -> None:  # noqa: ARG001
    path = container.cgroups_path
    if path is None:
        return
    names = [name for name in path.split("/") if name not in ("", ".")]
    if ".." in names or not names:
        message = f"{quote(path)} is not a control group below the host's root group"
        report.error(
            "RX424",
            ("linux", "cgroupsPath"),
            message,
            "write a path without .., such as /runx/ID; without the first /, it is relative to the caller's group",
        )
    elif not path.isprintable():
        report.error("RX424", ("linux", "cgroupsPath"), f"{quote(path)} has characters that cannot be printed")
    elif len(names) > _GROUPS_MAX or any(len(name.encode()) > _GROUP_NAME_MAX for name in names):
        message = f"{quote(path)} is too long: a group has at most {_GROUPS_MAX} names of {_GROUP_NAME_MAX} bytes"
        report.error("RX424", ("linux", "cgroupsPath"), message)


def _network_namespace(path: Path, value: str, facts: Facts, report: Report) -> None:
    if not value.startswith("/"):
        report.error("RX408", path, f"must be an absolute path, not {quote(value)}")
    elif (kind := facts.kind(value)) != "file":
        what = {"missing": "does not exist", "unreadable": "cannot be read"}.get(kind, f"is a {kind}, not a network namespace")
        report.error("RX408", path, f"{value} {what}", "ip netns list")


def _network_devices(container: Container, facts: Facts, report: Report) -> None:
    for device in container.network_devices:
        path: Path = ("linux", "netDevices", device.name)
        if report.has_errors_below(path):
            continue
        if facts.kind(f"/sys/class/net/{device.name}") != "directory":
            report.error("RX409", path, f"the host has no network device {device.name}", "ip link")
        elif container.networks:
            message = "the container has the networks of NETCONF only, or the host's by network.host of runx.toml"
            report.error("RX409", path, message, "leave NETCONF out, and give the container a network namespace")


def _overlay_directories(mount: MountRequest, facts: Facts, report: Report) -> None:
    for directory in directories_of(mount.options.data):
        kind = facts.kind(directory)
        if kind != "directory":
            what = {"missing": "does not exist", "unreadable": "cannot be read"}.get(kind, f"is a {kind}, not a directory")
            report.error("RX306", (*mount.path, "options"), f"{directory} {what}", "make it before the container")


def _devices(container: Container, facts: Facts, report: Report) -> None:
    """Those that /dev or a mount leaves no place for. resolve.py leaves out the ones that are ignored."""
    if container.devices and container.has_bound_dev:
        report.ignore("RX412", ("linux", "devices"), "/dev is a directory of the host, to which nothing is added")
        return
    if container.is_sandbox or container.ramdisk:
        return
    mounts = {mount.destination: mount for mount in container.mounts}  # of several at one place, the last one is seen
    above = _all_above(mounts)
    nodes = {device.path for device in DEFAULT_DEVICES}
    seen: set[str] = set()
    above_seen: set[str] = set()
    for index, entry in enumerate(container.document.get("linux", {}).get("devices", ())):
        path: Path = ("linux", "devices", index)
        place = paths.absolute(entry.get("path", ""))
        if place in mounts and mounts[place].type == "bind":
            report.ignore("RX412", path, f"there is a mount at {quote(place)}, as in runc")
        elif place in above or place in mounts:
            report.error("RX413", (*path, "path"), f"{quote(place)} is a directory", "name a file such as /dev/x")
        elif place in above_seen:
            message = f"{quote(place)} is a directory, of a device before it"
            report.error("RX413", (*path, "path"), message, "name another place for one of them")
        elif place in seen:
            report.ignore("RX412", path, f"a device stands before it at {quote(place)}, as in runc")
        elif other := next((part for part in paths.parents(place) if part in nodes or part in seen), ""):
            message = f"{quote(place)} cannot be made: {quote(other)} is a device, not a directory"
            report.error("RX415", (*path, "path"), message)
        elif (around := _mount_around(mounts, place)) and around.type not in _HOLD_NODES:
            message = f"{quote(place)} cannot be made: {quote(around.destination)} is a mount of type {around.type}"
            report.error("RX415", (*path, "path"), message, "name another place for it, such as /dev/x")
        elif holder := _no_room_in(mounts, place, facts):
            message = f"{quote(place)} cannot be made: the bind mount at {quote(holder)} is read-only, and has no such file"
            report.error("RX415", (*path, "path"), message, "make an empty file of that name in its source")
        if not report.has_errors_below(path):
            seen.add(place)
            above_seen.update(paths.parents(place))


def _no_room_in(mounts: Mapping[str, MountRequest], place: str, facts: Facts) -> str:
    """The destination of the read-only bind mount that `place` is in, if its source has no such file; "" if there is room."""
    mount = _mount_around(mounts, place)
    if not mount or mount.type != "bind" or mount.options.data or "ro" not in mount.options.flags:
        return ""
    return mount.destination if facts.kind(mount.source + place[len(mount.destination) :]) == "missing" else ""


_HOLD_NODES = ("bind", "tmpfs", "ramfs")
"""Types of mounts in which nodes can be made."""


def _mount_around(mounts: Mapping[str, MountRequest], place: str) -> MountRequest | None:
    """The mount that a place lies in; None in the root filesystem."""
    return next((mounts[part] for part in paths.parents(place) if part in mounts), None)


def _all_above(given: Iterable[str]) -> set[str]:
    """The directories above all of these paths, and the root."""
    above = {"/"}
    for path in given:
        for part in paths.parents(path):
            if part in above:
                break  # and so is what is above it
            above.add(part)
    return above


NAME_MAX, PATH_MAX = 255, 4095
"""Bytes of a file's name, and of a path (limits.h)."""


def _lengths(container: Container, facts: Facts, report: Report) -> None:  # noqa: ARG001
    linux = container.document.get("linux", {})
    given: list[tuple[Path, str]] = [(("process", "cwd"), container.document.get("process", {}).get("cwd", ""))]
    given += [((*mount.path, "destination"), mount.destination) for mount in container.mounts]
    given += [(("linux", "devices", index, "path"), each.get("path", "")) for index, each in enumerate(linux.get("devices", ()))]
    for name in ("maskedPaths", "readonlyPaths"):
        given += [(("linux", name, index), path) for index, path in enumerate(linux.get(name, ()))]
    for where, path in given:
        if len(path) < NAME_MAX // 4:  # a character has 4 bytes at most
            continue
        longest = max(len(name.encode()) for name in path.split("/"))
        if longest > NAME_MAX:
            report.error("RX024", where, f"has a name of {longest} bytes, and Linux takes {NAME_MAX}")
        elif len(path.encode()) > PATH_MAX:
            report.error("RX024", where, f"is a path of {len(path.encode())} bytes, and Linux takes {PATH_MAX}")


def _not_carried(container: Container, facts: Facts, report: Report) -> None:  # noqa: ARG001
    if container.is_sandbox and not container.is_pod:
        return
    for path, reason in IGNORED:
        if container.asks_for(path) and not (container.is_pod and path in LEFT_BY_SANDBOX):
            report.ignore("RX020", path, why_devices(container) if container.joins and path == DEVICES else reason)


CHECKS = (
    _root,
    _mount_sources,
    check_mount_points,
    _refused,
    _terminal,
    _bridges,
    _boot_files,
    _image,
    _hardware,
    _names,
    _namespaces,
    _network_devices,
    _cgroups_path,
    _devices,
    _lengths,
    _not_carried,
    check_own_ramdisk,
    check_sandbox,
    check_joined,
)
"""In the order of reading: the files first, notices last."""
