"""The size of a virtual machine, from the limits of its container: at its creation, and when they change."""

from typing import NamedTuple

from runx.compiler.diagnostics import Report
from runx.compiler.host.config import MAX_VCPUS, MIN_MEMORY_MIB, HostConfig
from runx.compiler.model.request import Container, Limits
from runx.compiler.passes.cpu_limits import cap_percent, cpu_list, cpu_weight
from runx.compiler.passes.memory import kept_mib, memory_mib, start_mib


class Sizing(NamedTuple):
    """Everything beside linux.resources that decides the size. None: vm.hwConfig does not have the property."""

    hardware_memory_bytes: int | None
    hardware_vcpus: int | None
    default_memory_mib: int
    default_vcpus: int
    shares: int
    disks: int
    interfaces: int
    images_mib: int = 0


class Size(NamedTuple):
    """The size of a domain. plan.Domain explains the fields of the same names."""

    memory_mib: int
    vcpus: int
    cpus: str | None
    cap_percent: int | None
    cpu_weight: int | None


POD_DISKS = 8
"""Disks for which a pod's machine has memory beside its containers' limits. Their number is not known when it is made."""


def sizing_of(container: Container, shares: int, disks: int, images_mib: int, host: HostConfig) -> Sizing:
    """For a container whose machine has this number of 9p shares and disks, and images of its root in memory of this size."""
    hardware = container.hardware
    return Sizing(
        hardware.memory_bytes,
        hardware.vcpus,
        host.pod_memory_mib if container.is_pod else host.memory_mib,
        host.pod_vcpus if container.is_pod else host.vcpus,
        shares=shares,
        disks=POD_DISKS if container.is_pod else disks,
        interfaces=len(container.networks) or 1,  # an engine usually puts one into the namespace
        images_mib=images_mib,
    )


def size_of(limits: Limits, sizing: Sizing, report: Report) -> Size:
    """The size for these limits. Limits that are impossible go to `report` as ignored."""
    vcpus = _vcpus(limits, sizing, report)
    if (
        limits.memory_bytes
        and not sizing.hardware_memory_bytes
        and _needed_mib(limits.memory_bytes, sizing, vcpus) < MIN_MEMORY_MIB
    ):
        reason = f"{limits.memory_bytes} bytes are asked for; a virtual machine has at least {MIN_MEMORY_MIB} MiB"
        report.ignore("RX436", (*limits.origin, "memory", "limit"), reason)
    return Size(
        memory_mib=machine_memory_mib(limits, sizing, vcpus),
        vcpus=vcpus,
        cpus=cpu_list(limits),
        cap_percent=cap_percent(limits, report),
        cpu_weight=cpu_weight(limits, report),
    )


def machine_memory_mib(limits: Limits, sizing: Sizing, vcpus: int) -> int:
    """The memory of a machine with this number of virtual CPUs."""
    if sizing.hardware_memory_bytes:
        return -(-sizing.hardware_memory_bytes // 2**20)
    if limits.memory_bytes is None:
        needed = sizing.default_memory_mib
    else:
        needed = max(_needed_mib(limits.memory_bytes, sizing, vcpus), MIN_MEMORY_MIB)
    if not sizing.images_mib:
        return needed
    return max(needed + kept_mib(sizing.images_mib), start_mib(sizing.images_mib))


def _needed_mib(limit_bytes: int, sizing: Sizing, vcpus: int) -> int:
    return memory_mib(limit_bytes, shares=sizing.shares, disks=sizing.disks, vcpus=vcpus, interfaces=sizing.interfaces)


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
    """The number of CPUs in the quota, rounded up; None without a quota."""
    return None if limits.cpu_quota_us is None else -(-limits.cpu_quota_us // limits.cpu_period_us)
