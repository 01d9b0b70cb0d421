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
_NO_LISTENER = f"{NOTIFY}: no program on the host can answer for a system call in a guest"
_HINT = "use SCMP_ACT_ERRNO, SCMP_ACT_KILL_PROCESS or another action that needs no listener"


def read_seccomp(profile: dict[str, Any], report: Report) -> None:
    """Report the faults of a profile whose form is right, and its parts that are left out."""
    path: Path = ("linux", "seccomp")
    if profile.get("syscalls") and not profile.get("defaultAction"):
        report.error("RX010", (*path, "defaultAction"), "missing")
    if profile.get("defaultAction") == NOTIFY:
        report.error("RX440", (*path, "defaultAction"), _NO_LISTENER, _HINT)
    for index, rule in enumerate(profile.get("syscalls", ())):
        here: Path = (*path, "syscalls", index)
        if rule.get("action") == NOTIFY:
            report.error("RX440", (*here, "action"), _NO_LISTENER, _HINT)
        for number, name in enumerate(rule.get("names", ())):
            if not name:
                report.error("RX441", (*here, "names", number), "must name a system call, not be empty")
    for index, flag in enumerate(profile.get("flags", ())):
        if flag == FLAGS[3]:
            report.ignore("RX442", (*path, "flags", index), "no rule notifies a listener")
