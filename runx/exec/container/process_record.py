"""The record of a further process: what `exec` is asked for, over what holds for the container's own process.

The compiler has written the records of the container's process (docs/guest.md, "/runx/process"). `create` keeps them in the file
`process` of the container's directory, if the container allows exec. What an OCI `process` object or an option says goes before
them, as in runc. The environment is that of the caller alone.
"""

import os

from runx.errors import RunxError, reason
from runx.linux.process_words import CAPABILITIES, IO_CLASSES, SCHEDULER_FLAGS, SCHEDULER_POLICIES

TYPE_CHECKING = False  # as typing's, which takes longer to import than a fast command has
if TYPE_CHECKING:
    from typing import Any

_NAME = "process"
_INHERITED = (
    "args", "env", "cwd", "user", "groups", "umask", "rlimit", "capabilities", "no_new_privs", "oom_score_adj", "scheduler",
    "io_priority",
)  # fmt: skip
"""Records of the container's process that hold for a further one unless it has its own. The filter and the limit of tasks hold in
any case: PID 1 of the guest sees to that."""
_WITHOUT_EFFECT = ("apparmorProfile", "selinuxLabel", "execCPUAffinity", "commandLine")
_SETS = ("bounding", "effective", "inheritable", "permitted", "ambient")
"""Sets of capabilities, in the order of the record."""

_KNOWN = {
    "": (
        "terminal", "consoleSize", "user", "args", "env", "cwd", "capabilities", "rlimits", "noNewPrivileges", "oomScoreAdj",
        "scheduler", "ioPriority", *_WITHOUT_EFFECT,
    ),
    "user": ("uid", "gid", "umask", "additionalGids", "username"),
    "capabilities": _SETS,
    "scheduler": ("policy", "flags", "nice", "priority", "runtime", "deadline", "period"),
    "ioPriority": ("class", "priority"),
}  # fmt: skip
"""Properties of a `process` object, and of the objects in it."""

LIMITS = b"control_group\0"
"""How a text for new limits begins."""

Records = dict[str, list[bytes]]


def keep(directory: str, records: bytes) -> None:
    """Keep the records of a container's process."""
    fd = os.open(f"{directory}/{_NAME}", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    with open(fd, "wb") as file:
        file.write(records)


def load(directory: str) -> Records:
    """What a further process inherits. Raises RunxError if it cannot be read."""
    try:
        with open(f"{directory}/{_NAME}", "rb") as file:
            values = file.read().split(b"\0")
    except OSError as error:
        raise RunxError(f"cannot read {directory}/{_NAME}: {reason(error)}") from None
    found: Records = {}
    at = 0
    while at + 1 < len(values):
        count = int(values[at + 1])
        name = values[at].decode()
        if name in _INHERITED:
            found[name] = values[at + 2 : at + 2 + count]
        at += 2 + count
    return found


def text(records: Records) -> bytes:
    """The text for the guest. Raises RunxError for a value with a NUL, or if nothing is to be executed."""
    if not records.get("args"):
        raise RunxError("exec: process.args must name a program to execute")
    out = b""
    for name, values in records.items():
        if not values:
            continue  # an absent record means the default
        if any(b"\0" in value for value in values):
            raise RunxError(f"exec: {name}: a value has a NUL byte")
        out += b"\0".join((name.encode(), str(len(values)).encode(), *values)) + b"\0"
    return out


def limits(words: list[bytes]) -> bytes:
    """The text for new limits of a container in its pod's machine: names of files of its control group, each with its content.
    Those without content are read, and told on the session's output."""
    return LIMITS + b"\0".join((str(len(words)).encode(), *words)) + b"\0"


def with_process(records: Records, process: "dict[str, Any]") -> tuple[Records, list[str]]:
    """The records with an OCI `process` object (config.md, "Process") over them; and what of it has no effect. Raises RunxError
    naming what is wrong with it."""
    changed = dict(records)
    try:
        ignored = _apply(changed, process)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise RunxError(f"exec: the process is malformed: {type(error).__name__}: {error}") from None
    return changed, ignored


def terminal_of(process: "dict[str, Any]") -> tuple[int, int] | None:
    """Rows and columns of the terminal that a `process` object asks for; None without one. Raises RunxError."""
    if not _flag(process, "terminal"):
        return None
    size = _object(process, "consoleSize")
    try:
        rows, columns = int(size.get("height", 0)), int(size.get("width", 0))
    except (AttributeError, TypeError, ValueError):
        rows = columns = -1
    if not 0 <= rows <= 0xFFFF or not 0 <= columns <= 0xFFFF:
        raise RunxError("exec: process.consoleSize: must be two numbers of at most 65535")
    return rows, columns


def _apply(records: Records, process: "dict[str, Any]") -> list[str]:
    records["args"] = _strings(process, "args")
    records["env"] = environment(_strings(process, "env"), "exec: process.env")
    cwd = process.get("cwd", "")
    if not isinstance(cwd, str) or not cwd.startswith("/"):
        raise RunxError(f"exec: process.cwd: must be an absolute path, not {cwd!r}")
    records["cwd"] = [_bytes(cwd, "cwd")]
    user = _object(process, "user")
    records["user"] = [_number(user.get("uid", 0), "user.uid"), _number(user.get("gid", 0), "user.gid")]
    records["groups"] = [_number(gid, "user.additionalGids") for gid in dict.fromkeys(user.get("additionalGids") or ())]
    if user.get("umask") is not None:
        records["umask"] = [_number(user["umask"], "user.umask", 0o7777)]
    records["no_new_privs"] = [b"1"] if _flag(process, "noNewPrivileges") else []
    if process.get("oomScoreAdj") is not None:
        records["oom_score_adj"] = [_number(process["oomScoreAdj"], "oomScoreAdj", 1000, -1000)]
    ignored = [f"process.{name}" for name in _WITHOUT_EFFECT if process.get(name)]
    ignored += ["process.user.username"] if user.get("username") else []
    ignored += [f"the unknown property process.{name}" for name in _unknown(process)]
    if limits := process.get("rlimits"):
        if not isinstance(limits, list) or not all(isinstance(limit, dict) for limit in limits):
            raise RunxError("exec: process.rlimits: must be a list of objects")
        records["rlimit"] = [value for limit in limits for value in _rlimit(limit)]
    if process.get("capabilities") is not None:
        given = _object(process, "capabilities")
        sets = {kind: _words(given, kind, f"capabilities.{kind}") for kind in given}
        known = {name: number for number, name in enumerate(CAPABILITIES)}
        unknown = sorted({name for names in sets.values() for name in names if name not in known})
        ignored += [f"the capability {name}, which Linux does not have," for name in unknown]
        masks = {kind: sum(1 << known[name] for name in set(sets.get(kind, ())) if name in known) for kind in _SETS}
        masks["ambient"] &= masks["permitted"] & masks["inheritable"]  # Linux gives no others; runc warns
        records["capabilities"] = [str(masks[kind]).encode() for kind in _SETS]
    if process.get("scheduler"):
        records["scheduler"] = _scheduler(_object(process, "scheduler"))
    if process.get("ioPriority"):
        priority = _object(process, "ioPriority")
        records["io_priority"] = [
            _word(priority.get("class"), IO_CLASSES, "ioPriority.class"),
            _number(priority.get("priority", 0), "ioPriority", 7),
        ]
    return ignored


def _unknown(process: "dict[str, Any]") -> list[str]:
    """Properties that nobody looks at, such as a misspelled one."""
    found = []
    for where, known in _KNOWN.items():
        holder = process if not where else process.get(where)
        if isinstance(holder, dict):
            found += [f"{where}.{name}" if where else name for name in holder if name not in known]
    return found


def _rlimit(limit: "dict[str, Any]") -> list[bytes]:
    name = limit.get("type")
    if not isinstance(name, str) or not name.startswith("RLIMIT_"):
        raise RunxError(f"exec: process.rlimits: unknown resource limit {name!r}")
    most = (1 << 64) - 1
    numbers = [_number(limit.get(kind, 0), f"rlimits.{kind}", most) for kind in ("soft", "hard")]
    return [_bytes(name.removeprefix("RLIMIT_").lower(), "rlimits"), *numbers]


def _scheduler(scheduler: "dict[str, Any]") -> list[bytes]:
    flags = sum(int(_word(flag, SCHEDULER_FLAGS, "scheduler.flags")) for flag in scheduler.get("flags") or ())
    numbers = [int(scheduler.get(name, 0)) for name in ("nice", "priority", "runtime", "deadline", "period")]
    policy = _word(scheduler.get("policy"), SCHEDULER_POLICIES, "scheduler.policy")
    return [policy, *(str(number).encode() for number in (flags, *numbers))]


def with_capabilities(records: Records, names: list[str]) -> list[str]:
    """Add capabilities to the bounding, effective and permitted set, as runc does; what has no effect, as in runc. PID 1 of the
    guest takes away those that are not in the container's bounding set."""
    masks = [int(mask) for mask in records.get("capabilities") or [b"0"] * len(_SETS)]
    ignored = []
    for name in names:
        word = name.upper() if name.upper().startswith("CAP_") else f"CAP_{name.upper()}"
        if word not in CAPABILITIES:
            ignored.append(f"--cap {name}, which Linux does not have,")
            continue
        for kind in ("bounding", "effective", "permitted"):
            masks[_SETS.index(kind)] |= 1 << CAPABILITIES.index(word)
    records["capabilities"] = [str(mask).encode() for mask in masks]
    return ignored


def _strings(process: "dict[str, Any]", name: str) -> list[bytes]:
    return [_bytes(value, name) for value in _words(process, name, name)]


def _words(holder: "dict[str, Any]", name: str, what: str) -> list[str]:
    values = holder.get(name) or []
    if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
        raise RunxError(f"exec: process.{what}: must be a list of strings")
    return values


def environment(entries: list[bytes], what: str) -> list[bytes]:
    """The last entry of each name, as the container's own process has it. Raises RunxError for one without a name.

    what: names the entries in the error.
    """
    last: dict[bytes, bytes] = {}
    for entry in entries:
        name, equals, _ = entry.partition(b"=")
        if not name or not equals:
            raise RunxError(f"{what}: must be NAME=value, not {os.fsdecode(entry)!r}")
        last.pop(name, None)
        last[name] = entry
    return list(last.values())


def _object(process: "dict[str, Any]", name: str) -> "dict[str, Any]":
    value = {} if process.get(name) is None else process[name]
    if not isinstance(value, dict):
        raise RunxError(f"exec: process.{name}: must be an object")
    return value


def _flag(process: "dict[str, Any]", name: str) -> bool:
    value = process.get(name) or False
    if not isinstance(value, bool):
        raise RunxError(f"exec: process.{name}: must be true or false, not {value!r}")
    return value


def _word(value: "Any", known: dict[str, int], what: str) -> bytes:
    """The number of a word of a table."""
    if not isinstance(value, str) or value not in known:
        raise RunxError(f"exec: process.{what}: unknown word {value!r}")
    return str(known[value]).encode()


def _bytes(text: str, what: str) -> bytes:
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # a half of a surrogate pair, as JSON can escape it
        raise RunxError(f"exec: process.{what}: {text!r} is not text that UTF-8 can have") from None


def _number(value: "Any", what: str, most: int = 0xFFFFFFFF, least: int = 0) -> bytes:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise RunxError(f"exec: process.{what}: must be a number from {least} to {most}, not {value!r}")
    return str(value).encode()
