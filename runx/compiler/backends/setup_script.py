"""/runx/setup: the shell script that assembles the container's root inside the guest (docs/guest.md; busybox ash).

It is the plan in the order of its steps, one line for each, so that people can read it. Before each step, `at` gets its name, so
that the failing step becomes the container's error message.
"""

from collections.abc import Iterator

from runx.compiler.model.plan import Device, Disk, Mount, VmPlan
from runx.shell import command, head, quote

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


def setup_script(plan: VmPlan) -> str:
    """The script's text."""
    script = [head(f"Assembles the root of container {plan.id} at /newroot. Written by runx; see docs/guest.md.")]
    for name, commands in _steps(plan):
        if commands:
            script.append(f"\nat={quote(name)}\n" + "".join(f"{command}\n" for command in commands))
    return "".join(script)


def _steps(plan: VmPlan) -> Iterator[tuple[str, list[str]]]:
    """Name and commands of each step. The order is runc's (libcontainer/rootfs_linux.go, standard_init_linux.go)."""
    domain = plan.machine
    if plan.root.carrier == "disk":
        disk = domain.disks[0]
        if disk.holds != "image":
            yield "root", _made_disks(domain.disks, plan.root.lower_options)
        else:
            yield "vm.image", _read_only_image(disk) if disk.read_only else _writable_image(disk)
    if plan.root.carrier == "ram":
        yield "root", _images_in_memory(len(plan.root.images), plan.root.lower_options)
    for share in domain.shares:
        target = "/newroot" if share.tag == "root" else f"/shares/{share.tag}"
        attempt = command("mount", "-t", "9p", "-o", _9P, share.tag, target)
        yield f"share {share.tag}", [f"{attempt} || {_fail('dom0 serves this directory over 9p, which did not work')}"]
    yield "loopback", ["ip link set lo up"]
    for mount in plan.mounts:
        yield f"{mount.origin} {mount.destination}", _mount(mount)
    # 9p cannot hold device nodes: they are in the ramdisk, and bound over files.
    if any(device.bound for device in plan.guest.devices):
        yield "device nodes", ["mkdir /nodes"]
    for number, device in enumerate(plan.guest.devices):
        yield f"device {device.path}", _device(device, number)
    if not any(mount.destination == "/dev" and mount.carrier == "9p" for mount in plan.mounts):
        yield "links of /dev", [command("inroot", "symlink", target, path) for target, path in _LINKS]
    yield "process.cwd", [command("inroot", "mkdir", plan.process.cwd)]
    if domain.interfaces or plan.takes_interfaces:
        # /runx/network ran beside this so far; PID 1 gives a line when it has done its work (docs/guest.md).
        yield "network", ["read -r _ <&3"]
        if domain.interfaces and not any(mount.destination == "/etc/resolv.conf" for mount in plan.mounts):
            yield "resolv.conf", [f"[ ! -e {_RESOLV_CONF} ] || inroot bind {_RESOLV_CONF} /etc/resolv.conf -"]
    yield (
        "read-only mounts",
        [command("inroot", "readonly", mount.destination) for mount in plan.mounts if _late_read_only(mount)],
    )
    # The share itself is served writable, so that the mount points above could be made.
    yield "root.readonly", ["inroot readonly /"] if plan.root.read_only else []
    yield "hostname", [_kernel_parameter("kernel/hostname", plan.guest.hostname)] if plan.guest.hostname else []
    yield "domainname", [_kernel_parameter("kernel/domainname", plan.guest.domainname)] if plan.guest.domainname else []
    for name, value in plan.guest.sysctl:
        yield f"sysctl {name}", [_kernel_parameter(name, value)]
    yield "linux.readonlyPaths", [command("inroot", "readonly", path) for path in plan.guest.readonly_paths]
    yield "linux.maskedPaths", [command("inroot", "mask", path) for path in plan.guest.masked_paths]
    # Last: nothing can be bound out of an unbindable root, and mounts in a shared one would also be mounted in its peers.
    propagation = plan.guest.root_propagation
    yield "linux.rootfsPropagation", [command("inroot", "propagation", "/", propagation)] if propagation in _PROPAGATED else []


_KERNEL_SAYS = "dmesg | grep -E 'EXT4-fs|erofs|xvd|9p' >&2 || true"
"""mount says only "invalid argument" for nearly every error. The kernel says more."""


def _writable_image(disk: Disk) -> list[str]:
    place = f"/dev/{disk.vdev}"
    what = f"{place} could not be mounted: a writable image is one ext4 file system, without a partition table"
    return [f"mount -t ext4 {place} /newroot || {_fail(what)}"]


def _read_only_image(disk: Disk) -> list[str]:
    """Below an overlay in memory, so that mount points can be made; `root.readonly` closes that afterwards."""
    place = f"/dev/{disk.vdev}"
    what = f"{place} could not be mounted: an image is one ext4 or EROFS file system, without a partition table"
    attempts = f"mount -t erofs -o ro {place} /image 2>/dev/null || mount -t ext4 -o ro {place} /image"
    return ["mkdir /image", f"{attempts} || {_fail(what)}", *_overlay_in_memory("/image")]


def _overlay_in_memory(lower: str, options: tuple[str, ...] = ()) -> list[str]:
    words = ",".join((f"lowerdir={lower}", "upperdir=/overlay/upper", "workdir=/overlay/work", *options))
    return [
        "mkdir /overlay",
        "mount -t tmpfs -o mode=755 tmpfs /overlay",
        "mkdir /overlay/upper /overlay/work",
        f"mount -t overlay -o {words} overlay /newroot",
        # The root directory itself is the upper one.
        f"inroot like {lower.partition(':')[0]} /",
    ]


def _made_disks(disks: tuple[Disk, ...], options: tuple[str, ...]) -> list[str]:
    """The disks that runx has made of the root filesystem, joined by an overlay: the base, the added files, and the layer of
    changes. A read-only root has no layer: then mount points are made in memory."""
    what = "the disks of the root filesystem could not be mounted: a kernel of its own needs blkfront, EROFS, ext4 and overlay"
    # noinit_itable: tables of unused inodes are zero already (mke2fs on a sparse file).
    kinds = {"base": "erofs ro", "added": "erofs ro", "layer": "ext4 noinit_itable"}
    commands = [
        "mkdir /disks",
        f'disk() {{ mkdir "/disks/$1"; mount -t "$2" -o "$3" "/dev/$1" "/disks/$1" || {_fail(what)}; }}',
        *(f"disk {disk.vdev} {kinds[disk.holds]}" for disk in disks),
    ]
    lower = ":".join(f"/disks/{disk.vdev}" for disk in reversed(disks) if disk.holds != "layer")
    if disks[-1].holds != "layer":
        return commands + _overlay_in_memory(lower, options)
    layer = f"/disks/{disks[-1].vdev}"
    words = ",".join((f"lowerdir={lower}", f"upperdir={layer}/upper", f"workdir={layer}/work", *options))
    return [*commands, f"mount -t overlay -o {words} overlay /newroot || {_fail(what)}"]


def _images_in_memory(count: int, options: tuple[str, ...]) -> list[str]:
    """The images that came in the ramdisk, below an overlay in memory."""
    what = "the images of the root filesystem could not be mounted: a kernel of its own needs loop devices, EROFS and overlay"
    places = [f"/images/{number}" for number in range(count)]
    return [
        "mkdir /images",
        *(
            f"mkdir {place}; mount -t erofs -o loop,ro /runx/root/{number} {place} || {_fail(what)}"
            for number, place in enumerate(places)
        ),
        *_overlay_in_memory(":".join(reversed(places)), options),
    ]


def _fail(what: str) -> str:
    return f"{{ {_KERNEL_SAYS}; echo {quote(what)} >&2; exit 1; }}"


def _mount(mount: Mount) -> list[str]:
    flags = tuple(flag for flag in mount.flags if flag != "ro") if _late_read_only(mount) else mount.flags
    options = ",".join((*flags, *mount.data)) or "-"
    if mount.comes_to:
        commands = [command("inroot", "bind", mount.comes_to, mount.destination, options)]
    else:
        commands = [command("inroot", "mount", mount.type, mount.source, mount.destination, options)]
    return commands + [command("inroot", "propagation", mount.destination, word) for word in mount.propagation]


def _late_read_only(mount: Mount) -> bool:
    """Whether the mount is empty at first, so that mount points and device nodes in it must be made before it is read-only."""
    return mount.carrier == "guest" and mount.type in ("tmpfs", "ramfs") and "ro" in mount.flags


def _device(device: Device, number: int) -> list[str]:
    mode, owner = f"{device.mode:o}", f"{device.uid}:{device.gid}"
    if not device.bound:
        node = (device.type, str(device.major), str(device.minor), mode, str(device.uid), str(device.gid))
        return [command("inroot", "node", *node, device.path)]
    place = f"/nodes/{number}"
    numbers = () if device.type == "p" else (str(device.major), str(device.minor))
    return [
        command("mknod", place, device.type, *numbers),
        # After chown, which clears set-id bits.
        command("chown", owner, place),
        command("chmod", mode, place),
        command("inroot", "bind", place, device.path, "-"),
    ]


def _kernel_parameter(name: str, value: str) -> str:
    return f"printf %s {quote(value)} > {quote(f'/proc/sys/{name}')}"
