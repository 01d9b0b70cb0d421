"""/runx/process: the process that PID 1 of the guest executes (docs/guest.md, "/runx/process")."""

import json
from collections.abc import Iterable, Sequence

from runx.compiler.backends.records import record
from runx.compiler.model.plan import (
    SECCOMP_FLAGS,
    Capabilities,
    Hook,
    IoPriority,
    Process,
    Scheduler,
    Seccomp,
    VmPlan,
)
from runx.linux.process_words import CAPABILITIES, IO_CLASSES, SCHEDULER_FLAGS, SCHEDULER_POLICIES


def process_record(plan: VmPlan) -> bytes:
    """The records of a container."""
    hooks = [hook for hook in plan.hooks if hook.kind == "startContainer"]
    state = _record("hook_state", _hook_state(plan)) if hooks else b""
    process = plan.process
    if plan.is_pod:
        process = process.model_copy(update={"terminal": False})  # it neither reads nor writes
    if plan.joined:
        # PID 1 of the pod's machine is told of namespaces, and its control groups have the limit.
        process = process.model_copy(update={"pid_namespace": False, "pids_limit": None})
    return records_of(process) + _of_the_guest(plan) + state + b"".join(_record("hook", _hook(hook, process)) for hook in hooks)


def _of_the_guest(plan: VmPlan) -> bytes:
    if plan.joined:
        return _record("control_group", [word for pair in plan.joined.control_group for word in pair])
    records = [
        _record("network_follows", ["1"] if plan.takes_interfaces else []),
        _record("sessions", ["1"] if plan.exec else []),
        _record("pod", ["1"] if plan.is_pod else []),
        _record("sync_clock", ["1"] if plan.sync_clock else []),
        *(_record("layer", [f"/dev/{disk.vdev}"]) for disk in plan.machine.disks if disk.holds == "layer"),
    ]
    return b"".join(records)


def records_of(process: Process) -> bytes:
    """The records of the process alone."""
    records: list[tuple[str, Iterable[object]]] = [
        ("args", process.args),
        ("env", process.env),
        ("cwd", [process.cwd]),
        ("user", [process.uid, process.gid]),
        ("groups", process.additional_gids),
        ("umask", [] if process.umask is None else [process.umask]),
        ("rlimit", [value for limit in process.rlimits for value in (limit.name, limit.soft, limit.hard)]),
        ("capabilities", [] if process.capabilities is None else _masks(process.capabilities)),
        ("no_new_privs", [1] if process.no_new_privileges else []),
        ("seccomp", [] if process.seccomp is None else [_flags(process.seccomp)]),
        ("oom_score_adj", [] if process.oom_score_adj is None else [process.oom_score_adj]),
        ("scheduler", [] if process.scheduler is None else _schedule(process.scheduler)),
        ("io_priority", [] if process.io_priority is None else _io_priority(process.io_priority)),
        ("pids_limit", [] if process.pids_limit is None else [process.pids_limit]),
        ("terminal", [process.rows, process.columns] if process.terminal else []),
        ("pid_namespace", [1] if process.pid_namespace else []),
    ]
    return b"".join(_record(name, [str(value) for value in values]) for name, values in records)


def _hook_state(plan: VmPlan) -> list[str]:
    """The state of the container (OCI runtime.md, "State"), before and after the pid. PID 1 of the guest knows the pid."""
    told = {"ociVersion": plan.oci_version, "id": plan.id, "bundle": plan.bundle, "annotations": dict(plan.annotations)}
    return ['{"status": "created", "pid": ', f", {json.dumps(told)[1:]}\n"]


def _hook(hook: Hook, process: Process) -> list[str]:
    env = process.env if hook.env is None else hook.env
    # The limit is in seconds; 0 is none.
    first = [hook.origin, hook.path, str(hook.timeout_s or 0)]
    return [*first, str(len(hook.args)), *hook.args, str(len(env)), *env]


def _record(name: str, values: Sequence[str]) -> bytes:
    # An absent record means the default. Only rlimit and groups could be empty, with the same meaning.
    return record(name, *values) if values else b""


def _flags(seccomp: Seccomp) -> int:
    """The flags as a number (seccomp(2))."""
    return sum(SECCOMP_FLAGS[name] for name in seccomp.flags)


def _schedule(scheduler: Scheduler) -> list[int]:
    return [
        SCHEDULER_POLICIES[scheduler.policy],
        sum(SCHEDULER_FLAGS[flag] for flag in scheduler.flags),
        scheduler.nice,
        scheduler.priority,
        scheduler.runtime_ns,
        scheduler.deadline_ns,
        scheduler.period_ns,
    ]


def _io_priority(priority: IoPriority) -> list[int]:
    return [IO_CLASSES[priority.io_class], priority.level]


def _masks(capabilities: Capabilities) -> list[int]:
    sets = (
        capabilities.bounding,
        capabilities.effective,
        capabilities.inheritable,
        capabilities.permitted,
        capabilities.ambient,
    )
    return [sum(1 << CAPABILITIES.index(name) for name in names) for names in sets]
