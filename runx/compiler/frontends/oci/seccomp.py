"""The `seccomp` object (OCI config-linux.md, "Seccomp"): the parts of a profile that a virtual machine cannot follow."""

from typing import Any

from runx.compiler.diagnostics import Path, Report

NOTIFY = "SCMP_ACT_NOTIFY"
FLAGS = (
    "SECCOMP_FILTER_FLAG_TSYNC",
    "SECCOMP_FILTER_FLAG_LOG",
    "SECCOMP_FILTER_FLAG_SPEC_ALLOW",
    "SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV",
)
_ERRNO_MOST = 4095
"""The largest error number of a system call (Linux, MAX_ERRNO)."""
_TRACE_MOST = 0xFFFF
"""SECCOMP_RET_DATA of seccomp(2)."""
_NO_LISTENER = f"{NOTIFY}: no program on the host can answer for a system call in a guest"
_HINT = "use SCMP_ACT_ERRNO, SCMP_ACT_KILL_PROCESS or another action that needs no listener"


def read_seccomp(profile: dict[str, Any], report: Report) -> None:
    """Report the faults of a profile whose form is right, and its parts that are left out."""
    path: Path = ("linux", "seccomp")
    if profile.get("syscalls") and not profile.get("defaultAction"):
        report.error("RX010", (*path, "defaultAction"), "missing")
    if profile.get("defaultAction") == NOTIFY:
        report.error("RX440", (*path, "defaultAction"), _NO_LISTENER, _HINT)
    _check_number(profile.get("defaultAction"), profile.get("defaultErrnoRet"), (*path, "defaultErrnoRet"), report)
    for index, rule in enumerate(profile.get("syscalls", ())):
        here: Path = (*path, "syscalls", index)
        _check_number(rule.get("action"), rule.get("errnoRet"), (*here, "errnoRet"), report)
        if rule.get("action") == NOTIFY:
            report.error("RX440", (*here, "action"), _NO_LISTENER, _HINT)
        for number, name in enumerate(rule.get("names", ())):
            if not name:
                report.error("RX441", (*here, "names", number), "must name a system call, not be empty")
    for index, flag in enumerate(profile.get("flags", ())):
        if flag == FLAGS[3]:
            report.ignore("RX442", (*path, "flags", index), "no rule notifies a listener")


def _check_number(action: str | None, number: int | None, path: Path, report: Report) -> None:
    """Report a number that the kernel would cut."""
    most = {"SCMP_ACT_ERRNO": _ERRNO_MOST, "SCMP_ACT_TRACE": _TRACE_MOST}.get(action or "")
    if number is not None and most is not None and number > most:
        report.error("RX012", path, f"must be a number from 0 to {most} with {action}, not {number}")
