"""The shares of a domain: trees of bind mounts, in a mount namespace that only `xl create` and its 9p backend live in.

Run in a child of the supervisor that then becomes `xl create`. Nobody else ever sees these mounts, and they go with the
last process in the namespace, whatever ends it.
"""

import json
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from runx.errors import RunxError
from runx.linux import mount, mountinfo

if TYPE_CHECKING:
    from runx.exec.plan_json import VmPlan

# statvfs(3) flag -> mount(2) flag, for what a remount must not lose
_KEPT = (
    (os.ST_NOSUID, mount.MS_NOSUID),
    (os.ST_NODEV, mount.MS_NODEV),
    (os.ST_NOEXEC, mount.MS_NOEXEC),
    (os.ST_NOATIME, mount.MS_NOATIME),
    (os.ST_NODIRATIME, mount.MS_NODIRATIME),
    (os.ST_RELATIME, mount.MS_RELATIME),
)


def prepare(directory: str, plan: "VmPlan") -> None:
    """Make the empty trees below the container's directory: `shares/root`, and `shares/mounts` with a place for each mount."""
    os.makedirs(f"{directory}/shares", mode=0o700)
    if plan["root"]["carrier"] == "9p":
        os.mkdir(f"{directory}/shares/root", 0o700)
    assert plan["domain"], "there is a guest to share with"
    for disk in plan["domain"]["disks"]:
        # Stays when the mount namespace has gone: the script that takes a disk away looks whether it was a file.
        os.close(os.open(disk["path"], os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    mounts = [entry for entry in plan["mounts"] if entry["carrier"] == "9p"]
    if mounts:
        os.mkdir(f"{directory}/shares/mounts", 0o755)  # the guest's view: processes of any user pass through it
    for entry in mounts:
        place = f"{directory}/shares/mounts/{entry['slot']}"
        if entry["is_file"]:
            os.close(os.open(place, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644))
        else:
            os.mkdir(place, 0o755)


def enter(directory: str, devices: Sequence[str] = ()) -> None:
    """Move this process into a mount namespace of its own in which the container's trees are assembled.

    devices: of the disks, in their order; "" for one whose file xl is given itself.

    Raises RunxError naming the mount that failed.
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
    """With all mounts below: the guest's own flag is not what keeps a hostile guest out."""
    for point in _mount_points(place):
        present = os.statvfs(point).f_flag
        kept = sum(flag for bit, flag in _KEPT if present & bit)
        try:
            mount.mount("none", point, mount.MS_BIND | mount.MS_REMOUNT | mount.MS_RDONLY | kept)
        except OSError as error:
            raise RunxError(f"{origin}: cannot make {point} read-only: {error.strerror}") from None


def _mount_points(path: str) -> list[str]:
    """The mount points at and below a path in this process's mount namespace."""
    points = [found.point for found in mountinfo.read()]
    return [point for point in points if point == path or point.startswith(path + "/")]
