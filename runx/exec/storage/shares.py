"""The shares of a domain: trees of bind mounts, in a mount namespace that only `xl create` and its 9p backend live in.

Run in a child of the supervisor that then becomes `xl create`. Nobody else ever sees these mounts, and they go with the
last process in the namespace, whatever ends it.
"""

import ctypes
import json
import os
from collections.abc import Callable, Sequence
from typing import Any

from runx.errors import RunxError
from runx.linux import mountinfo

_CLONE_NEWNS = 0x00020000
_MS_RDONLY, _MS_NOSUID, _MS_NODEV, _MS_NOEXEC, _MS_REMOUNT, _MS_NOATIME, _MS_NODIRATIME = 1, 2, 4, 8, 32, 1024, 2048
_MS_BIND, _MS_REC, _MS_PRIVATE, _MS_RELATIME = 4096, 16384, 1 << 18, 1 << 21
# statvfs(3) flag -> mount(2) flag, for what a remount must not lose
_KEPT = (
    (2, _MS_NOSUID),
    (4, _MS_NODEV),
    (8, _MS_NOEXEC),
    (1024, _MS_NOATIME),
    (2048, _MS_NODIRATIME),
    (4096, _MS_RELATIME),
)


def prepare(directory: str, plan: dict[str, Any]) -> None:
    """Make the empty trees below the container's directory: `shares/root`, and `shares/mounts` with a place for each mount."""
    os.makedirs(f"{directory}/shares", mode=0o700)
    if plan["root"]["carrier"] == "9p":
        os.mkdir(f"{directory}/shares/root", 0o700)
    for disk in plan["domain"]["disks"]:
        # Stays when the mount namespace has gone: the script that takes a disk away looks whether it was a file.
        os.close(os.open(disk["path"], os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    mounts = [mount for mount in plan["mounts"] if mount["carrier"] == "9p"]
    if mounts:
        os.mkdir(f"{directory}/shares/mounts", 0o755)  # the guest's view: processes of any user pass through it
    for mount in mounts:
        place = f"{directory}/shares/mounts/{mount['slot']}"
        if mount["is_file"]:
            os.close(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644))
        else:
            os.mkdir(place, 0o755)


def enter(directory: str, devices: Sequence[str] = ()) -> None:
    """Move this process into a mount namespace of its own in which the container's trees are assembled.

    devices: of the disks, in their order; "" for one whose file xl is given itself.

    Raises RunxError naming the mount that failed.
    """
    with open(f"{directory}/plan.json", encoding="utf-8") as file:
        plan = json.load(file)
    libc = ctypes.CDLL(None, use_errno=True)
    mount = _mounter(libc)
    if libc.unshare(_CLONE_NEWNS):
        raise RunxError(f"cannot make a mount namespace: {os.strerror(ctypes.get_errno())}", "runx must run as root")
    mount("mount namespace", "none", "/", _MS_REC | _MS_PRIVATE)
    root = f"{directory}/shares/root"
    if plan["root"]["carrier"] == "9p":
        mount("root.path", plan["root"]["path"], root, _MS_BIND | _MS_REC)
    for number, disk in enumerate(plan["domain"]["disks"]):
        source = (devices[number] if devices else "") or disk["source"]
        mount("vm.image.path" if disk["holds"] == "image" else "root.path", source, disk["path"], _MS_BIND)
    if plan["root"]["served_read_only"]:
        _make_read_only("root.path", root, mount)
    for entry in plan["mounts"]:
        if entry["carrier"] != "9p":
            continue
        place = f"{directory}/shares/mounts/{entry['slot']}"
        mount(entry["origin"], entry["source"], place, _MS_BIND | (_MS_REC if entry["recursive"] else 0))
        if entry["read_only"]:
            _make_read_only(entry["origin"], place, mount)


def _make_read_only(origin: str, place: str, mount: Callable[[str, str, str, int], None]) -> None:
    """With all mounts below: the guest's own flag is not what keeps a hostile guest out."""
    for point in _mount_points(place):
        present = os.statvfs(point).f_flag
        kept = sum(flag for bit, flag in _KEPT if present & bit)
        mount(origin, "none", point, _MS_BIND | _MS_REMOUNT | _MS_RDONLY | kept)


def _mount_points(path: str) -> list[str]:
    """The mount points at and below a path in this process's mount namespace."""
    points = [mount.point for mount in mountinfo.read()]
    return [point for point in points if point == path or point.startswith(path + "/")]


def _mounter(libc: ctypes.CDLL) -> Callable[[str, str, str, int], None]:
    def mount(origin: str, source: str, target: str, flags: int) -> None:
        if libc.mount(os.fsencode(source), os.fsencode(target), None, ctypes.c_ulong(flags), None):
            raise RunxError(f"{origin}: cannot bind {source}: {os.strerror(ctypes.get_errno())}")

    return mount
