"""The size of a virtual machine: what its container's limits make of it, when it is created and when they change."""

from typing import NamedTuple

from runx.compiler.diagnostics import Report
from runx.compiler.host.config import MAX_VCPUS, MIN_MEMORY_MIB, HostConfig
from runx.compiler.model.request import Container, Limits
from runx.compiler.passes.cpu_limits import cap_percent, cpu_list, cpu_weight
from runx.compiler.passes.memory import kept_mib, memory_mib, start_mib


class Sizing(NamedTuple):
    """What decides beside linux.resources. None: vm.hwConfig says nothing."""

    hardware_memory_bytes: int | None
    hardware_vcpus: int | None
    default_memory_mib: int
    default_vcpus: int
    shares: int
    disks: int
    interfaces: int
    images_mib: int = 0


class Size(NamedTuple):
    """Of a domain; the fields of plan.Domain with the same names."""

    memory_mib: int
    vcpus: int
    cpus: str | None
    cap_percent: int | None
    cpu_weight: int | None


def sizing_of(container: Container, shares: int, disks: int, images_mib: int, host: HostConfig) -> Sizing:
    """For a container whose machine has so many 9p shares, and disks, and images of its root in memory."""
    hardware = container.hardware
    return Sizing(
        hardware.memory_bytes,
        hardware.vcpus,
        host.memory_mib,
        host.vcpus,
        shares=shares,
        disks=disks,
        interfaces=len(container.networks) or 1,  # what an engine puts into the namespace is one, as a rule
        images_mib=images_mib,
    )


def size_of(limits: Limits, sizing: Sizing, report: Report) -> Size:
    """The size for these limits. What cannot be had of them goes to `report` as ignored."""
    vcpus = _vcpus(limits, sizing, report)
    return Size(
        memory_mib=machine_memory_mib(limits, sizing, vcpus),
        vcpus=vcpus,
        cpus=cpu_list(limits),
        cap_percent=cap_percent(limits, report),
        cpu_weight=cpu_weight(limits),
    )


def machine_memory_mib(limits: Limits, sizing: Sizing, vcpus: int) -> int:
    """The memory of a machine with so many virtual CPUs."""
    if sizing.hardware_memory_bytes:
        return -(-sizing.hardware_memory_bytes // 2**20)
    if limits.memory_bytes is None:
        needed = sizing.default_memory_mib
    else:
        around = {"shares": sizing.shares, "disks": sizing.disks, "vcpus": vcpus, "interfaces": sizing.interfaces}
        needed = max(memory_mib(limits.memory_bytes, **around), MIN_MEMORY_MIB)
    if not sizing.images_mib:
        return needed
    return max(needed + kept_mib(sizing.images_mib), start_mib(sizing.images_mib))


def _vcpus(limits: Limits, sizing: Sizing, report: Report) -> int:
    if sizing.hardware_vcpus:
        return sizing.hardware_vcpus
    by_quota = quota_cpus(limits)
    wanted = by_quota or len(limits.cpus or ()) or sizing.default_vcpus
    if wanted > MAX_VCPUS:
        path = (*limits.origin, "cpu", "quota" if by_quota else "cpus")
        report.ignore("RX431", path, f"{wanted} CPUs are asked for; a guest has {MAX_VCPUS} at most")
    return min(wanted, MAX_VCPUS)


def quota_cpus(limits: Limits) -> int | None:
    """How many CPUs the quota is, rounded up; None without one."""
    return None if limits.cpu_quota_us is None else -(-limits.cpu_quota_us // limits.cpu_period_us)
