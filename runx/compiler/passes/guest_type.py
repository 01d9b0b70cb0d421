"""The type of a virtual machine: PVH where the hardware can, as a PV guest reaches far more of the hypervisor's code."""

from typing import Literal, NamedTuple

from runx.compiler.host.config import HostConfig
from runx.compiler.host.facts import Facts, NoAnswer
from runx.compiler.model.plan import ARM
from runx.errors import RunxError


class GuestType(NamedTuple):
    type: Literal["pv", "pvh"]
    reason: str
    """Why it is this type."""


def guest_type(host: HostConfig, facts: Facts, *, own_kernel: bool = False) -> GuestType:
    """The type of a virtual machine. Arm has one, which xl calls pvh (xl.cfg(5)).

    own_kernel: whether the kernel is the container's own. Raises RunxError for a type that there is not.
    """
    arm = facts.machine() in ARM
    where = host.where("defaults.type")
    if host.domain_type != "auto":
        if host.domain_type == "pv" and arm:
            message = f"{where}: defaults.type: there are no pv guests on Arm"
            raise RunxError(message, 'write "auto" or "pvh"', "RX605")
        return GuestType(host.domain_type, f"defaults.type, {where}")
    if arm:
        return GuestType("pvh", "auto: Arm has no other")
    return _of_hardware(facts, own_kernel)


def _of_hardware(facts: Facts, own_kernel: bool) -> GuestType:
    """What `auto` means on x86."""
    try:
        capabilities = facts.virt_caps()
    except NoAnswer as error:
        return GuestType("pv", f"auto: whether the hardware has hvm is not known: {error}")
    if "hvm" not in capabilities:
        return GuestType("pv", "auto: xl info (virt_caps) has no hvm")
    # Before Xen 4.13, xl names neither hap nor shadow, nor pv.
    names_all = "hap" in capabilities or "shadow" in capabilities
    if names_all and "pv" not in capabilities:
        return GuestType("pvh", "auto: xl info (virt_caps) has no pv")
    if names_all and "hap" not in capabilities:
        return GuestType("pv", "auto: xl info (virt_caps) has hvm without hap, with which pvh would be slow")
    if own_kernel:
        return GuestType("pv", "auto: the container's own kernel may not be made for pvh")
    return GuestType("pvh", f"auto: xl info (virt_caps) has hvm{' and hap' if names_all else ''}")
