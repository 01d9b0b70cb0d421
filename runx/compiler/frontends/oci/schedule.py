"""process.scheduler and process.ioPriority (OCI config.md, "Linux Process"; sched_setattr(2), ioprio_set(2))."""

from typing import Any

from runx.compiler.diagnostics import Path, Report
from runx.compiler.model.plan import IoPriority, Scheduler

CLAMPS = ("SCHED_FLAG_UTIL_CLAMP_MIN", "SCHED_FLAG_UTIL_CLAMP_MAX")

_NICE = ("SCHED_OTHER", "SCHED_BATCH")
_REAL_TIME = ("SCHED_FIFO", "SCHED_RR")
_SHORTEST_RUNTIME_NS = 1024
_SHORTEST_PERIOD_NS, _LONGEST_PERIOD_NS = 100_000, (2**22) * 1000
"""Bounds of the kernel for SCHED_DEADLINE tasks (kernel/sched/deadline.c, __checkparam_dl and its sysctls)."""

_PATH: Path = ("process", "scheduler")


def read_scheduler(scheduler: dict[str, Any] | None, report: Report) -> Scheduler | None:
    """The scheduling of the process. Numbers that its policy does not use are faults, as in runc."""
    if scheduler is None or report.has_errors_below(_PATH):
        return None
    policy: str = scheduler["policy"]
    if policy == "SCHED_ISO":
        report.error(
            "RX120", (*_PATH, "policy"), "Linux has no such policy, though it keeps the name", "use SCHED_OTHER or SCHED_RR"
        )
    _check_nice(policy, scheduler.get("nice", 0), report)
    _check_priority(policy, scheduler.get("priority", 0), report)
    _check_times(policy, scheduler, report)
    for index, flag in enumerate(scheduler.get("flags", ())):
        if flag in CLAMPS:
            report.ignore("RX124", (*_PATH, "flags", index), "a virtual machine does not set the speed of the CPUs it runs on")
    return Scheduler(
        policy=policy,
        # The kernel ignores the nice value of the other policies as well.
        nice=scheduler.get("nice", 0) if policy in _NICE else 0,
        priority=scheduler.get("priority", 0),
        flags=tuple(flag for flag in dict.fromkeys(scheduler.get("flags", ())) if flag not in CLAMPS),
        runtime_ns=scheduler.get("runtime", 0),
        deadline_ns=scheduler.get("deadline", 0),
        period_ns=scheduler.get("period", 0),
    )


def _check_nice(policy: str, nice: int, report: Report) -> None:
    if policy not in _NICE:
        if nice:
            report.ignore("RX123", (*_PATH, "nice"), f"{policy} does not use the nice value")
    elif not -20 <= nice <= 19:
        report.error("RX121", (*_PATH, "nice"), f"must be a number from -20 to 19, not {nice}")


def _check_priority(policy: str, priority: int, report: Report) -> None:
    path = (*_PATH, "priority")
    if policy in _REAL_TIME:
        if not 1 <= priority <= 99:
            report.error("RX121", path, f"must be a number from 1 to 99 with {policy}, not {priority}")
    elif priority:
        hint = "use nice" if policy in _NICE else "leave it out"
        report.error("RX122", path, f"is only for SCHED_FIFO and SCHED_RR, not for {policy}", hint)


def _check_times(policy: str, scheduler: dict[str, Any], report: Report) -> None:
    runtime, deadline, period = (scheduler.get(name, 0) for name in ("runtime", "deadline", "period"))
    if policy != "SCHED_DEADLINE":
        for name in ("runtime", "deadline", "period"):
            if scheduler.get(name):
                report.error("RX122", (*_PATH, name), f"is only for SCHED_DEADLINE, not for {policy}", "leave it out")
        return
    for name in ("runtime", "deadline"):
        if not scheduler.get(name):
            hint = "nanoseconds; runtime is at most deadline, and deadline at most period, which without a number is deadline"
            report.error("RX125", (*_PATH, name), "missing: SCHED_DEADLINE needs it", hint)
    if not runtime or not deadline:
        return
    window = period or deadline
    if runtime < _SHORTEST_RUNTIME_NS:
        report.error("RX126", (*_PATH, "runtime"), f"{runtime} ns are too few: the kernel takes {_SHORTEST_RUNTIME_NS} at least")
    elif runtime > deadline:
        report.error("RX126", (*_PATH, "runtime"), f"{runtime} ns are more than the deadline, {deadline}")
    elif deadline > window:
        report.error("RX126", (*_PATH, "deadline"), f"{deadline} ns are more than the period, {period}")
    elif not _SHORTEST_PERIOD_NS <= window <= _LONGEST_PERIOD_NS:
        limits = f"from {_SHORTEST_PERIOD_NS} to {_LONGEST_PERIOD_NS} ns"
        report.error("RX126", (*_PATH, "period" if period else "deadline"), f"the kernel takes a period {limits}, not {window}")


def read_io_priority(priority: dict[str, Any] | None, report: Report) -> IoPriority | None:
    """The class and the level of the process's input and output."""
    path: Path = ("process", "ioPriority")
    if priority is None or report.has_errors_below(path):
        return None
    level = priority.get("priority", 0)
    if not 0 <= level <= 7:
        report.error("RX130", (*path, "priority"), f"must be a number from 0, which goes first, to 7, not {level}")
        return None
    return IoPriority(io_class=priority["class"], level=level)
