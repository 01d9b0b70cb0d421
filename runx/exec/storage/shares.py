"""The shares of a domain: trees of bind mounts, in a mount namespace of `xl create` and its 9p backend.

A child of the supervisor makes them and then becomes `xl create`. No other process sees these mounts. They end with the last
process in the namespace.
"""

import json
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from runx.errors import RunxError
from runx.linux import mount, mountinfo

if TYPE_CHECKING:
    from runx.exec.plan_json import VmPlan

# statvfs(3) flag -> mount(2) flag, for flags that a remount must keep
_KEPT = (
    (os.ST_NOSUID, mount.MS_NOSUID),
    (os.ST_NODEV, mount.MS_NODEV),
    (os.ST_NOEXEC, mount.MS_NOEXEC),
    (os.ST_NOATIME, mount.MS_NOATIME),
    (os.ST_NODIRATIME, mount.MS_NODIRATIME),
    (os.ST_RELATIME, mount.MS_RELATIME),
)


def prepare(directory: str, plan: "VmPlan") -> None:
    """Make empty trees below the container's directory: `shares/root`, and `shares/mounts` with a mount point for each mount."""
    os.makedirs(f"{directory}/shares", mode=0o700)
    if plan["root"]["carrier"] == "9p":
        os.mkdir(f"{directory}/shares/root", 0o700)
    assert plan["domain"], "there is a guest to share with"
    for disk in plan["domain"]["disks"]:
        # This file remains after the mount namespace: the script that detaches a disk looks whether it was a file.
        os.close(os.open(disk["path"], os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    mounts = [entry for entry in plan["mounts"] if entry["carrier"] == "9p"]
    if mounts:
        os.mkdir(f"{directory}/shares/mounts", 0o755)  # in the guest, processes of any user pass through it
    for entry in mounts:
        place = f"{directory}/shares/mounts/{entry['slot']}"
        if entry["is_file"]:
            os.close(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644))
        else:
            os.mkdir(place, 0o755)


def enter(directory: str, devices: Sequence[str] = ()) -> None:
    """Move this process into a new mount namespace, and mount the container's trees there.

    devices: the block device of each disk, in their order; "" for a disk whose file xl gets. Raises RunxError, which names the
    mount that failed.
    """
    with open(f"{directory}/plan.json", encoding="utf-8") as file:
        plan: VmPlan = json.load(file)
    assert plan["domain"], "there is a domain to create"
    try:
        mount.private_mounts()
    except OSError as error:
        raise RunxError(f"cannot make a mount namespace: {error.strerror}", "runx must run as root") from None
    root = f"{directory}/shares/root"
    if plan["root"]["carrier"] == "9p":
        _bind("root.path", plan["root"]["path"], root, mount.MS_REC)
    for number, disk in enumerate(plan["domain"]["disks"]):
        source = (devices[number] if devices else "") or disk["source"]
        _bind("vm.image.path" if disk["holds"] == "image" else "root.path", source, disk["path"])
    if plan["root"]["served_read_only"]:
        _make_read_only("root.path", root)
    for entry in plan["mounts"]:
        if entry["carrier"] != "9p":
            continue
        place = f"{directory}/shares/mounts/{entry['slot']}"
        _bind(entry["origin"], entry["source"], place, mount.MS_REC if entry["recursive"] else 0)
        if entry["read_only"]:
            _make_read_only(entry["origin"], place)


def _bind(origin: str, source: str, target: str, flags: int = 0) -> None:
    try:
        mount.mount(source, target, mount.MS_BIND | flags)
    except OSError as error:
        raise RunxError(f"{origin}: cannot bind {source}: {error.strerror}") from None


def _make_read_only(origin: str, place: str) -> None:
    """Make a mount and all mounts below it read-only here: a hostile guest may ignore the flag in the guest."""
    for point in _mount_points(place):
        present = os.statvfs(point).f_flag
        kept = sum(flag for bit, flag in _KEPT if present & bit)
        try:
            mount.mount("none", point, mount.MS_BIND | mount.MS_REMOUNT | mount.MS_RDONLY | kept)
        except OSError as error:
            raise RunxError(f"{origin}: cannot make {point} read-only: {error.strerror}") from None


def _mount_points(path: str) -> list[str]:
    """Mount points at and below a path, in this process's mount namespace."""
    points = [found.point for found in mountinfo.read()]
    return [point for point in points if point == path or point.startswith(path + "/")]
