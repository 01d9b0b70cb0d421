"""/runx/setup: the steps that assemble the container's root inside the guest (docs/guest.md, "/runx/setup").

It is the plan in the order of its steps. A record `step` names each, so that the failing step becomes the container's error
message.
"""

import posixpath
from collections.abc import Iterator
from typing import NamedTuple

from runx.compiler.backends.records import record
from runx.compiler.model.plan import POD_SHARE, POD_SHM, Device, Disk, Mount, Root, VmPlan

# mmap: shared mappings work, and changes of the host are seen. msize: the largest that the rings take. locktimeout: seconds after
# which a lock is asked for again that another machine or the host holds; the default is 30. posixacl: access control lists count.
_9P = "trans=xen,version=9p2000.L,cache=mmap,msize=524288,locktimeout=1,posixacl"

# config-linux.md, "Default Devices" and "/dev symbolic links".
_LINKS = (
    ("pts/ptmx", "/dev/ptmx"),
    ("/proc/self/fd", "/dev/fd"),
    ("/proc/self/fd/0", "/dev/stdin"),
    ("/proc/self/fd/1", "/dev/stdout"),
    ("/proc/self/fd/2", "/dev/stderr"),
)

_RESOLV_CONF = "/run/network/resolv.conf"
"""It does not exist if neither the configuration nor a DHCP server gives name servers."""

_PROPAGATED = frozenset(("shared", "rshared", "unbindable", "runbindable"))
"""The propagations that change the root's mount. It is private anyway, and without a peer on the host a slave is private, too."""

_NONE = "-"
"""No mount options."""


class _Step(NamedTuple):
    name: str
    records: list[bytes]
    hint: str = ""
    """What to say if a file system of the step cannot be mounted, after what the kernel says."""


def setup_record(plan: VmPlan) -> bytes:
    """The file's records. Raises RunxError for a value with NUL."""
    parts = []
    for step in _steps(plan):
        if step.records:
            parts += [record("step", step.name), *([record("hint", step.hint)] if step.hint else []), *step.records]
    return b"".join(parts)


def _steps(plan: VmPlan) -> Iterator[_Step]:
    """Each step. The order is runc's (libcontainer/rootfs_linux.go, standard_init_linux.go)."""
    if plan.is_pod:
        yield from _pod_steps(plan)
        return
    guarded = plan.joined is not None and not plan.joined.opens_all_devices
    if plan.joined:
        yield from _joined_root(plan)
        yield _Step("devices", [record("nodev", "/")] if guarded else [])
    else:
        yield from _root(plan)
        yield _Step("loopback", [record("up", "lo")])
    shares = _OF_JOINED if plan.joined else _MOUNTS
    for mount in plan.mounts:
        yield _Step(f"{mount.origin} {mount.destination}", _mount(_without_devices(mount) if guarded else mount, shares))
    for device in plan.guest.devices:
        yield _Step(f"device {device.path}", [_device(device, bound=device.bound or guarded)])
    if not any(mount.destination == "/dev" and mount.carrier == "9p" for mount in plan.mounts):
        yield _Step("links of /dev", [record("symlink", target, path) for target, path in _LINKS])
    yield _Step("process.cwd", [record("mkdir", plan.process.cwd)])
    interfaces = plan.domain.interfaces if plan.domain else ()
    if interfaces or plan.takes_interfaces:
        # /runx/network ran beside this so far; PID 1 gives a line when it has done its work (docs/guest.md).
        yield _Step("network", [record("await_network")])
        if interfaces and not any(mount.destination == "/etc/resolv.conf" for mount in plan.mounts):
            yield _Step("resolv.conf", [record("bind_existing", _RESOLV_CONF, "/etc/resolv.conf")])
    late = [mount for mount in _seen(plan.mounts) if _late_read_only(mount)]
    yield _Step("read-only mounts", [record("readonly", mount.destination) for mount in late])
    # The share itself is served writable, so that the mount points above could be made.
    yield _Step("root.readonly", [record("readonly", "/")] if plan.root.read_only else [])
    yield from _settings(plan)
    yield _Step("linux.readonlyPaths", [record("readonly", path) for path in plan.guest.readonly_paths])
    yield _Step("linux.maskedPaths", [record("mask", path) for path in plan.guest.masked_paths])
    # Last: nothing can be bound out of an unbindable root, and mounts in a shared one would also be mounted in its peers.
    propagation = plan.guest.root_propagation
    yield _Step("linux.rootfsPropagation", [record("propagation", "/", propagation)] if propagation in _PROPAGATED else [])


def _settings(plan: VmPlan) -> Iterator[_Step]:
    for what, name in (("hostname", plan.guest.hostname), ("domainname", plan.guest.domainname)):
        yield _Step(what, [record("sysctl", f"kernel/{what}", name)] if name else [])
    for name, value in plan.guest.sysctl:
        yield _Step(f"sysctl {name}", [record("sysctl", name, value)])


def _root(plan: VmPlan) -> Iterator[_Step]:
    """The root, and the share of bind mounts, of a machine of the container's own."""
    domain = plan.machine
    if plan.root.carrier == "disk":
        disk = domain.disks[0]
        if disk.holds != "image":
            places = [f"/dev/{disk.vdev}" for disk in domain.disks]
            yield from _made_disks(domain.disks, places, plan.root)
        else:
            yield from _read_only_image(disk) if disk.read_only else _writable_image(disk)
    if plan.root.carrier == "ram":
        yield from _images_in_memory(plan.root)
    for share in domain.shares:
        yield _share(share.tag, "/newroot" if share.tag == "root" else f"/shares/{share.tag}")


def _share(tag: str, target: str) -> _Step:
    hint = "dom0 serves this directory over 9p, which did not work"
    return _Step(f"share {tag}", [record("attach", "9p", tag, target, _9P)], hint)


_MOUNTS = "/shares/mounts"
_OF_JOINED = "/runx/shares"
"""Directory of links to the entries of the pod's share that are the container's. The supervisor of the pod's machine makes them,
as those of disks, and sends them before this file."""


def _pod_steps(plan: VmPlan) -> Iterator[_Step]:
    """The machine of a pod, before it has containers."""
    yield _share(POD_SHARE, f"/shares/{POD_SHARE}")
    size = next((word for mount in plan.mounts for word in mount.data if word.startswith("size=")), _SHM_SIZE)
    options = f"nosuid,nodev,noexec,mode=1777,{size}"
    yield _Step("shared memory", [record("attach", "tmpfs", "shm", POD_SHM, options)])
    yield _Step("loopback", [record("up", "lo")])
    if plan.machine.interfaces or plan.takes_interfaces:
        yield _Step("network", [record("await_network")])
    yield from _settings(plan)


_SHM_SIZE = "size=65536k"
"""As all engines have it (containerd's CRI plugin, podman)."""


def _joined_root(plan: VmPlan) -> Iterator[_Step]:
    """The root of a container that joins its pod's machine: disks that have been attached, or an entry of the pod's share."""
    assert plan.joined, "a container that joins"
    kinds = plan.joined.own_namespaces
    yield _Step("linux.namespaces", [record("unshare", kind) for kind in kinds])
    if plan.root.carrier == "disk":
        disks = plan.joined.disks
        places = [f"/runx/disks/{number}" for number in range(len(disks))]
        yield _Step("disks", [record("await_disk", place) for place in places])
        yield from _made_disks(disks, places, plan.root)
    else:
        yield _Step("root", [record("place", f"{_OF_JOINED}/root", "/newroot")])


def _writable_image(disk: Disk) -> Iterator[_Step]:
    place = f"/dev/{disk.vdev}"
    hint = f"{place} could not be mounted: a writable image is one ext4 file system, without a partition table"
    yield _Step("vm.image", [record("attach", "ext4", place, "/newroot", _NONE)], hint)


def _read_only_image(disk: Disk) -> Iterator[_Step]:
    """Below an overlay in memory, so that mount points can be made; `root.readonly` closes that afterwards."""
    place = f"/dev/{disk.vdev}"
    hint = f"{place} could not be mounted: an image is one ext4 or EROFS file system, without a partition table"
    yield _Step("vm.image", [record("attach", "erofs,ext4", place, "/image", "ro")], hint)
    yield _Step("vm.image", _overlay_in_memory("/image"))


def _overlay_in_memory(lower: str, options: tuple[str, ...] = ()) -> list[bytes]:
    return [
        record("attach", "tmpfs", "tmpfs", "/overlay", "mode=755"),
        record("directory", "/overlay/upper"),
        record("directory", "/overlay/work"),
        _overlay(lower, "/overlay", options),
        # The root directory itself is the upper one.
        record("like", lower.partition(":")[0], "/"),
    ]


def _overlay(lower: str, changes: str, options: tuple[str, ...]) -> bytes:
    words = ",".join((f"lowerdir={lower}", f"upperdir={changes}/upper", f"workdir={changes}/work", *options))
    return record("attach", "overlay", "overlay", "/newroot", words)


def _made_disks(disks: tuple[Disk, ...], places: list[str], root: Root) -> Iterator[_Step]:
    """The disks that runx has made of the root filesystem, joined by an overlay: the base, the added files, and the layer of
    changes. A read-only root has no layer: then mount points are made in memory. places: their paths in the guest."""
    hint = "the disks of the root filesystem could not be mounted: a kernel of its own needs blkfront, EROFS, ext4 and overlay"
    # noinit_itable: tables of unused inodes are zero already (mke2fs on a sparse file).
    kinds = {"base": ("erofs", "ro"), "engine": ("erofs", "ro"), "added": ("erofs", "ro"), "layer": ("ext4", "noinit_itable")}
    records = []
    for disk, place in zip(disks, places, strict=True):
        kind, words = kinds[disk.holds]
        records.append(record("attach", kind, place, f"/disks/{disk.vdev}", words))
    lower = [f"/disks/{disk.vdev}" for disk in reversed(disks) if disk.holds != "layer"]
    if disks[-1].holds == "layer":
        layer = f"/disks/{disks[-1].vdev}"
        joined, lower_dir, options = _lower(lower, root)
        records += [*joined, _overlay(lower_dir, layer, options), *_kept(layer, root)]
    else:
        records += _overlay_in_memory(":".join(lower), root.lower_options)
    yield _Step("root", records, hint)


_PLAIN = ("redirect_dir=off", "metacopy=off", "index=off")
"""The changes of an overlay with these options are complete in its upper directory, whatever the kernel's defaults are."""


def _lower(layers: list[str], root: Root) -> tuple[list[bytes], str, tuple[str, ...]]:
    """Records that are needed first, the lower directory of the root's overlay, and its options, for layers from the topmost on.

    With options that layers need to be read, the overlay would write in the same way: entries whose data, or whose names, are in
    a lower layer. These could not be written back. So the layers are joined by an overlay of their own. One layer alone needs
    none of the options.
    """
    if root.write_back != "exit":
        return [], ":".join(layers), root.lower_options
    if not root.lower_options or len(layers) == 1:
        return [], ":".join(layers), _PLAIN
    words = ",".join((f"lowerdir={':'.join(layers)}", *root.lower_options))
    return [record("attach", "overlay", "overlay", "/lower", words)], "/lower", _PLAIN


def _kept(changes: str, root: Root) -> list[bytes]:
    """PID 1 keeps the upper directory, of which it writes back to the host what is there at the end."""
    return [record("keep", f"{changes}/upper")] if root.write_back == "exit" else []


def _images_in_memory(root: Root) -> Iterator[_Step]:
    """The images that came in the ramdisk, below an overlay in memory."""
    hint = "the images of the root filesystem could not be mounted: a kernel of its own needs loop devices, EROFS and overlay"
    places = [f"/images/{number}" for number in range(len(root.images))]
    attached = [record("attach", "erofs", f"/runx/root/{number}", place, "ro") for number, place in enumerate(places)]
    places.reverse()
    joined, lower_dir, options = _lower(places, root)
    above = _overlay_in_memory(lower_dir, options)
    yield _Step("root", [*attached, *joined, *above, *_kept("/overlay", root)], hint)


def _mount(mount: Mount, shares: str) -> list[bytes]:
    flags = tuple(flag for flag in mount.flags if flag != "ro") if _late_read_only(mount) else mount.flags
    if source := mount.found_at(shares):
        records = [record("bind", source, mount.destination, ",".join(flags) or _NONE)]
    else:
        options = ",".join((*flags, *mount.data)) or _NONE
        records = [record("mount", mount.type, mount.source, mount.destination, options)]
    return records + [record("propagation", mount.destination, word) for word in mount.propagation]


def _seen(mounts: tuple[Mount, ...]) -> list[Mount]:
    """The mounts that no later one covers: another mount is at the destination of the others."""
    later: set[str] = set()
    seen = []
    for mount in reversed(mounts):
        place = mount.destination
        while place != "/" and place not in later:
            place = posixpath.dirname(place)
        if place == "/":
            seen.append(mount)
        later.add(mount.destination)
    return seen[::-1]


def _late_read_only(mount: Mount) -> bool:
    """Whether the mount is empty at first, so that mount points and device nodes in it must be made before it is read-only."""
    return mount.carrier == "guest" and mount.type in ("tmpfs", "ramfs") and "ro" in mount.flags


def _without_devices(mount: Mount) -> Mount:
    """A mount in which no node leads to a device, of a container that is not to have those of its pod's machine. There is no
    program for its control group that would keep it from them: the guest's kernel has no BPF."""
    is_node = mount.type == "bind" and mount.carrier == "guest" and mount.source != POD_SHM
    if is_node or mount.type == "devpts" or "nodev" in mount.flags:
        return mount
    return mount.model_copy(update={"flags": tuple(sorted({*mount.flags, "nodev"} - {"dev"}))})


def _device(device: Device, *, bound: bool) -> bytes:
    # 9p cannot hold device nodes, nor may a mount without devices: they are in the ramdisk, and bound over files.
    name = "bound_node" if bound else "node"
    return record(name, device.type, device.major, device.minor, f"{device.mode:o}", device.uid, device.gid, device.path)
