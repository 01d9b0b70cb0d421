"""The `process` object (OCI config.md, "Process"): what to execute and as whom."""

from typing import Any

from runx.compiler.diagnostics import Path, Report, did_you_mean, quote
from runx.compiler.frontends.oci.schedule import read_io_priority, read_scheduler
from runx.compiler.model.plan import Capabilities, Process, Rlimit
from runx.linux.process_words import CAPABILITIES

# getrlimit(2).
RLIMITS = (
    "RLIMIT_AS", "RLIMIT_CORE", "RLIMIT_CPU", "RLIMIT_DATA", "RLIMIT_FSIZE", "RLIMIT_LOCKS", "RLIMIT_MEMLOCK",
    "RLIMIT_MSGQUEUE", "RLIMIT_NICE", "RLIMIT_NOFILE", "RLIMIT_NPROC", "RLIMIT_RSS", "RLIMIT_RTPRIO", "RLIMIT_RTTIME",
    "RLIMIT_SIGPENDING", "RLIMIT_STACK",
)  # fmt: skip

NOFILE_MAX = 2147483584
"""The largest fs.nr_open, and so the largest RLIMIT_NOFILE, of a 64-bit kernel (fs/file.c)."""


GROUPS_MAX = 65536
"""setgroups(2), NGROUPS_MAX."""

STRING_MAX = 131071
"""Bytes of an argument or of an entry of the environment (execve(2), MAX_ARG_STRLEN, without the NUL at the end)."""

_STACK = 8 << 20
"""Bytes: the limit of the stack of processes of the guest, unless there is another."""
_ARGUMENTS_MAX = 6 << 20
_ARGUMENTS_LEAST = 128 << 10
_POINTER = 8


def read_process(process: dict[str, Any], pid_namespace: bool, pids_limit: int | None, report: Report) -> Process:
    """The process of a checked document. Faults of names and values go to `report`."""
    user = process.get("user", {})
    rows, columns = _console_size(process, report)
    if len(user.get("additionalGids", ())) > GROUPS_MAX:
        message = f"{len(user['additionalGids'])} groups are more than Linux takes ({GROUPS_MAX})"
        report.error("RX115", ("process", "user", "additionalGids"), message, "name the groups that the process needs")
    _check_room(process, report)
    return Process(
        args=_args(process, report),
        env=_env(process, report),
        cwd=_cwd(process, report),
        uid=user.get("uid", 0),
        gid=user.get("gid", 0),
        additional_gids=tuple(dict.fromkeys(user.get("additionalGids", ()))),
        umask=user.get("umask"),
        rlimits=_rlimits(process, report),
        capabilities=_capabilities(process.get("capabilities") or {}, report),
        no_new_privileges=process.get("noNewPrivileges", False),
        oom_score_adj=process.get("oomScoreAdj"),
        scheduler=read_scheduler(process.get("scheduler"), report),
        io_priority=read_io_priority(process.get("ioPriority"), report),
        pids_limit=pids_limit,
        terminal=process.get("terminal", False),
        rows=rows,
        columns=columns,
        pid_namespace=pid_namespace,
    )


def _console_size(process: dict[str, Any], report: Report) -> tuple[int, int]:
    """Rows and columns of the terminal at its start; 0 and 0 without one (ioctl_tty(2), struct winsize: 16 bits for each)."""
    size = process.get("consoleSize")
    if not size or not process.get("terminal"):
        return 0, 0
    rows, columns = (size.get(name, 0) for name in ("height", "width"))
    for name, number in (("height", rows), ("width", columns)):
        if number > 0xFFFF:
            report.error("RX109", ("process", "consoleSize", name), f"{number} is more than a terminal can have (65535)")
    return rows, columns


def _check_room(process: dict[str, Any], report: Report) -> None:
    """Report what execve(2) refuses with E2BIG (Linux, fs/exec.c, bprm_stack_limits)."""
    size = 0
    for name in ("args", "env"):
        for index, text in enumerate(process.get(name, ())):
            length = len(text) if text.isascii() else len(text.encode())
            size += length + 1 + _POINTER
            if length > STRING_MAX:
                message = f"{length} bytes are more than Linux takes in one string ({STRING_MAX})"
                report.error("RX116", ("process", name, index), message, "give it to the process in a file")
    limits = (entry["soft"] for entry in process.get("rlimits", ()) if entry.get("type") == "RLIMIT_STACK" and "soft" in entry)
    most = max(min(next(limits, _STACK) // 4, _ARGUMENTS_MAX), _ARGUMENTS_LEAST)
    if size > most and not report.has_errors_below(("process",)):
        name = max(("args", "env"), key=lambda name: sum(map(len, process.get(name, ()))))
        message = f"arguments and environment have {size} bytes together, and Linux takes {most}"
        report.error("RX116", ("process", name), message, "give less, or raise RLIMIT_STACK: a quarter of it is for them")


def _args(process: dict[str, Any], report: Report) -> tuple[str, ...]:
    args = tuple(process.get("args", ()))
    if not args:
        report.error("RX101", ("process", "args"), "must name a program to execute")
    elif not args[0]:
        report.error("RX101", ("process", "args", 0), "must name a program to execute, not an empty string")
    return args


def _env(process: dict[str, Any], report: Report) -> tuple[str, ...]:
    """The last entry of each name, as in runc (libcontainer/env.go)."""
    env: list[str] = process.get("env", [])
    names = [entry.partition("=")[0] for entry in env]
    last = {name: index for index, name in enumerate(names)}
    for index, (name, entry) in enumerate(zip(names, env, strict=True)):
        if not name or "=" not in entry:
            report.error("RX102", ("process", "env", index), f"must be NAME=value, not {quote(entry)}")
        elif last[name] != index and name != "NETCONF":  # each entry of that asks for a network
            report.ignore("RX114", ("process", "env", index), f"{quote(name)} comes again, and the process gets the last one")
    return tuple(env[index] for index in sorted(last.values()))


def _cwd(process: dict[str, Any], report: Report) -> str:
    cwd: str = process.get("cwd", "")
    if not cwd.startswith("/"):
        report.error("RX103", ("process", "cwd"), f"must be an absolute path, not {quote(cwd)}")
    return cwd


def _rlimits(process: dict[str, Any], report: Report) -> tuple[Rlimit, ...]:
    rlimits: dict[str, Rlimit] = {}
    for index, entry in enumerate(process.get("rlimits", ())):
        path: Path = ("process", "rlimits", index)
        name, soft, hard = entry.get("type", ""), entry.get("soft", 0), entry.get("hard", 0)
        if name not in RLIMITS:
            report.error("RX104", (*path, "type"), f"unknown resource limit {quote(name)}{did_you_mean(name, RLIMITS)}")
        elif name in rlimits:
            report.error("RX105", (*path, "type"), f"{name} is given twice")  # config.md: the runtime MUST generate an error
        elif "hard" in entry and soft > hard:
            report.error("RX106", (*path, "soft"), f"{soft} is more than the hard limit {hard}", "lower soft, or raise hard")
        elif name == "RLIMIT_NOFILE" and hard > NOFILE_MAX:
            report.error("RX107", (*path, "hard"), f"{hard} is more open files than Linux allows ({NOFILE_MAX})", "lower it")
        else:
            rlimits[name] = Rlimit(name=name.removeprefix("RLIMIT_").lower(), soft=soft, hard=hard)
    return tuple(rlimits.values())


def _capabilities(sets: dict[str, list[str]], report: Report) -> Capabilities:
    numbers = {name: number for number, name in enumerate(CAPABILITIES)}
    for set_name, names in sets.items():
        for index, name in enumerate(names):
            if name not in numbers:
                path: Path = ("process", "capabilities", set_name, index)
                # config.md, "Linux Process": a capability that cannot be granted is a warning.
                report.ignore("RX108", path, f"Linux has no capability {quote(name)}{did_you_mean(name, CAPABILITIES)}")
    sets = _possible(sets, report)
    ordered = {name: sorted(numbers.keys() & names, key=numbers.__getitem__) for name, names in sets.items()}
    return Capabilities(**{name: tuple(names) for name, names in ordered.items()})


_WITHIN = {"effective": ("permitted",), "inheritable": ("bounding",), "ambient": ("permitted", "inheritable")}
"""Sets of capabilities, and the sets of which they can only have members (capabilities(7), capset(2))."""


def _possible(sets: dict[str, list[str]], report: Report) -> dict[str, list[str]]:
    """The sets without the ambient capabilities that Linux does not give. Report these, and what Linux would refuse."""
    possible = dict(sets)
    members = {set_name: set(names) for set_name, names in sets.items()}
    for set_name, others in _WITHIN.items():
        for index, name in enumerate(sets.get(set_name, ())):
            lacking = [other for other in others if name not in members.get(other, ())]
            if not lacking or name not in CAPABILITIES:
                continue
            path: Path = ("process", "capabilities", set_name, index)
            message = f"Linux gives {name} only if it is {' and '.join(lacking)} too"
            if set_name == "ambient":
                # As in runc, which warns: buildah of Debian 12 gives every container such a set.
                report.ignore("RX111", path, message)
                members[set_name].discard(name)
                possible[set_name] = sorted(members[set_name])
            else:
                report.error("RX112", path, message, f"add it to {' and '.join(lacking)}, or leave it out")
    return possible
