"""linux.resources.cpu in terms of Xen's scheduler (xl.cfg(5), `cpus`, `cap`, `cpu_weight`)."""

from runx.compiler.diagnostics import Report
from runx.compiler.host.config import MAX_VCPUS
from runx.compiler.model.request import Limits

MIN_CAP_PERCENT = 10
"""With less, a virtual machine takes minutes to start, and engines give up."""

_SHARES_DEFAULT, _WEIGHT_DEFAULT, _WEIGHT_MAX = 1024, 256, 65535
_SHARES_MAX = 262144
"""The most shares of a control group (Linux, kernel/sched/core.c, MAX_SHARES)."""


def cap_percent(limits: Limits, report: Report) -> int | None:
    """The most CPU time, in percent of one CPU; None if the number of virtual CPUs limits it to the same."""
    if limits.cpu_quota_us is None:
        return None
    percent = -(-100 * limits.cpu_quota_us // limits.cpu_period_us)
    if percent % 100 == 0 or percent > 100 * MAX_VCPUS:
        return None
    if percent < MIN_CAP_PERCENT:
        asked = 100 * limits.cpu_quota_us / limits.cpu_period_us
        reason = f"{asked:.3g} % of a CPU are asked for; a virtual machine needs {MIN_CAP_PERCENT} % to start in time"
        report.ignore("RX432", (*limits.origin, "cpu", "quota"), reason)
    return max(percent, MIN_CAP_PERCENT)


def cpu_weight(limits: Limits, report: Report) -> int | None:
    """The weight of a domain relative to others; None for the usual one."""
    weight = (limits.cpu_shares or _SHARES_DEFAULT) * _WEIGHT_DEFAULT // _SHARES_DEFAULT
    if weight > _WEIGHT_MAX and limits.cpu_shares != _SHARES_MAX:
        reason = f"{limits.cpu_shares} shares are asked for; the weight of a virtual machine is that of {_SHARES_MAX} at most"
        report.ignore("RX438", (*limits.origin, "cpu", "shares"), reason)
    return None if weight == _WEIGHT_DEFAULT else min(max(weight, 1), _WEIGHT_MAX)


def cpu_list(limits: Limits) -> str | None:
    """The CPUs to run on, in as few ranges as possible: `0-3,7`; None for any."""
    cpus = limits.cpus
    if not cpus:
        return None
    starts = sorted(cpu for cpu in cpus if cpu - 1 not in cpus)
    ends = sorted(cpu for cpu in cpus if cpu + 1 not in cpus)
    return ",".join(str(start) if start == end else f"{start}-{end}" for start, end in zip(starts, ends, strict=True))
