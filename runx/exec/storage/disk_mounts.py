"""The files of a domain's disks, by names that xl can be given, in a mount namespace of `xl create` and its backends.

A child of the supervisor mounts them and then becomes `xl create`. No other process sees these mounts. They end with the last
process in the namespace.
"""

import json
import os
from collections.abc import Sequence
from typing import TYPE_CHECKING

from runx.errors import RunxError
from runx.linux import mount

if TYPE_CHECKING:
    from runx.exec.plan_json import VmPlan


def prepare(directory: str, plan: "VmPlan") -> None:
    """Make `shares` below the container's directory: a file for each disk of its own machine, and the place where the server of
    shares mounts its tree."""
    os.makedirs(f"{directory}/shares", mode=0o700)
    if not plan["domain"]:
        return
    for disk in plan["domain"]["disks"]:
        # This file remains after the mount namespace: the script that detaches a disk looks whether it was a file.
        os.close(os.open(disk["path"], os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def enter(directory: str, devices: Sequence[str] = ()) -> "VmPlan":
    """Move this process into a new mount namespace, and mount the disks of the container's plan there; the plan.

    devices: the block device of each disk, in their order; "" for a disk whose file xl gets. Raises RunxError, which names the
    mount that failed.
    """
    with open(f"{directory}/plan.json", encoding="utf-8") as file:
        plan: VmPlan = json.load(file)
    assert plan["domain"], "there is a domain to create"
    try:
        mount.unshare(mount.CLONE_NEWNS)
        # Nothing goes out. What the host unmounts is unmounted here, too: a QEMU may live here as long as the container.
        mount.mount("none", "/", mount.MS_REC | mount.MS_SLAVE)
    except OSError as error:
        raise RunxError(f"cannot make a mount namespace: {error.strerror}", "runx must run as root") from None
    for number, disk in enumerate(plan["domain"]["disks"]):
        source = (devices[number] if devices else "") or disk["source"]
        origin = "vm.image.path" if disk["holds"] == "image" else "root.path"
        try:
            mount.mount(source, disk["path"], mount.MS_BIND)
        except OSError as error:
            raise RunxError(f"{origin}: cannot bind {source}: {error.strerror}") from None
    return plan
