"""`runx exec`: start a further process in a container that allows it (docs/executor.md, "Exec")."""

import os

from runx.errors import RunxError, reason
from runx.exec.commands import carrier
from runx.exec.container import process_record
from runx.exec.container import record as records
from runx.linux import descriptors

TYPE_CHECKING = False  # as typing's, which takes longer to import than a fast command has
if TYPE_CHECKING:
    from runx.exec.container.record import Record
    from runx.log import Log

NOT_ALLOWED = "exec is not allowed by policy.exec of runx.toml, as it was when the container was created"
_FORBIDDEN = "exec is forbidden to this container by its annotation org.runx.exec, with which it was created"
_ANNOTATION = '"org.runx.exec":'
"""As it is in JSON. Beside a record without exec, its value is false: another would have been an error of create."""
_HINT = "`exec = true` in [policy] of /etc/runx/runx.toml allows it, for containers that are created then"

_OF_THE_BOUNDARY = ("--apparmor", "--process-label", "process.apparmorProfile", "process.selinuxLabel")
_NOT_BESIDE_A_FILE = ("cwd", "user", "env", "additional_gids", "cap")
"""Options that would be lost without a word, as the file says all of it."""


class ExecOptions:
    """What to execute, and how. Each value is as the option of the same name; "" and [] if it is not given."""

    def __init__(self) -> None:
        self.process = ""
        self.cwd = ""
        self.user = ""
        self.env: list[str] = []
        self.additional_gids: list[str] = []
        self.cap: list[str] = []
        self.apparmor = ""
        self.process_label = ""
        self.console_socket = ""
        self.pid_file = ""
        self.tty = False
        self.no_new_privs = False
        self.detach = False
        self.ignore_paused = False


def execute(root: str, container_id: str, args: list[str], options: ExecOptions, log: "Log") -> int:
    """Start a process; its exit status, or 0 at once with `detach`.

    log: for what has no effect. Raises RunxError: in no other state than "running" can a process be started, a container may not
    allow it, and the process may not be executable.
    """
    try:
        record = records.load(root, container_id)
        _check(record, ignore_paused=options.ignore_paused)
        process, size = _process(record, args, options, log)
        return _run(record, process, size, options)
    except RunxError as error:
        if error.status == 1:
            error.status = carrier.STATUS_FAILED
        raise


def _check(record: "Record", *, ignore_paused: bool) -> None:
    """Raise RunxError unless a process may be started. The texts about states are runc's."""
    status = record.current_status()
    if status in ("stopped", "creating", "created"):
        hint = f"start it with: runx start {os.path.basename(record.directory)}" if status == "created" else ""
        raise RunxError(f"cannot exec in a {status} container", hint)
    check_allowed(record)
    if status == "paused" and not ignore_paused:
        raise RunxError("cannot exec in a paused container (use --ignore-paused to override)")
    if not ignore_paused:
        records.check_machine(record)


def check_allowed(record: "Record") -> None:
    """Raise RunxError unless the container allows exec."""
    if record.is_sandbox:
        raise RunxError("exec is not possible in the sandbox of a pod: it is no virtual machine, and nothing runs there")
    if record.is_pod:
        raise RunxError("exec is not possible in the sandbox of a pod: no program runs there", "name a container of the pod")
    if record.console not in ("link", "pod"):
        raise RunxError("exec is not possible in a container with a ramdisk of its own: PID 1 is not runx's")
    if not record.exec:
        raise RunxError(_FORBIDDEN) if _ANNOTATION in record.oci else RunxError(NOT_ALLOWED, _HINT)


def _process(
    record: "Record", args: list[str], options: ExecOptions, log: "Log"
) -> tuple[process_record.Records, tuple[int, int] | None]:
    """The records for the guest, and the size of the terminal, None without one."""
    inherited = process_record.load(record.directory)
    if options.process:
        if args:
            raise RunxError("exec takes ID alone with --process, as the file says what to execute")
        for name in _NOT_BESIDE_A_FILE:
            if getattr(options, name):
                option = "--" + name.replace("_", "-")
                raise RunxError(f"exec: {option} has no effect with --process", f"say it in {options.process}")
        process = _process_of(options.process)
        found, ignored = process_record.with_process(inherited, process)
        size = process_record.terminal_of({**process, **({"terminal": True} if options.tty else {})})
    else:
        found, ignored = _from_options(inherited, args, options)
        size = (0, 0) if options.tty else None
    if options.no_new_privs:
        found["no_new_privs"] = [b"1"]
    ignored += [
        f"--{name}" for name, value in (("apparmor", options.apparmor), ("process-label", options.process_label)) if value
    ]
    for what in ignored:
        why = ": the virtual machine is the boundary" if what in _OF_THE_BOUNDARY else ""
        _warn(log, f"exec: {what} is ignored{why}")
    if size == (0, 0) and not options.detach:
        size = _own_size()
    if size is not None:
        found["terminal"] = [str(number).encode() for number in size]
    elif nulls := descriptors.null_streams():
        found["null"] = [nulls.encode()]
    return found, size


def _warn(log: "Log", message: str) -> None:
    """Warn in the log alone if there is one: standard error is the process's."""
    if log.path:
        log.append("warning", message)
    else:
        log.warn(message)


def _own_size() -> tuple[int, int]:
    """Rows and columns of the terminal that is our standard input; zeros without one."""
    from runx.exec.console import terminal

    try:
        return terminal.size(0)
    except OSError:
        return 0, 0


def _process_of(path: str) -> "dict[str, object]":
    import json

    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            process = json.load(file)
    except OSError as error:
        raise RunxError(f"--process {path}: {reason(error)}") from None
    except (ValueError, RecursionError) as error:
        raise RunxError(f"--process {path}: not JSON: {error}") from None
    if not isinstance(process, dict):
        raise RunxError(f"--process {path}: must be an object")
    return process


def _from_options(
    inherited: process_record.Records, args: list[str], options: ExecOptions
) -> tuple[process_record.Records, list[str]]:
    """The container's process, with what the options say; and what of them has no effect."""
    found = dict(inherited)
    found["args"] = [os.fsencode(word) for word in args]
    found["env"] = process_record.environment([*found.get("env", ()), *map(os.fsencode, options.env)], "--env")
    if options.cwd:
        if not options.cwd.startswith("/"):
            raise RunxError(f"--cwd: must be an absolute path, not {options.cwd!r}")
        found["cwd"] = [os.fsencode(options.cwd)]
    if options.user:
        uid, colon, gid = options.user.partition(":")
        before = found.get("user") or [b"0", b"0"]
        found["user"] = [_id("--user", uid), _id("--user", gid) if colon else before[1]]
    more = (_id("--additional-gids", gid) for gid in options.additional_gids)
    found["groups"] = list(dict.fromkeys([*found.get("groups", ()), *more]))
    return found, process_record.with_capabilities(found, options.cap) if options.cap else []


def _id(option: str, text: str) -> bytes:
    if not text.isascii() or not text.isdigit() or len(text) > 10 or int(text) > 0xFFFFFFFF:
        raise RunxError(f"{option}: {text!r} is not a number of a user or group")
    return text.encode()


def _run(record: "Record", process: process_record.Records, size: tuple[int, int] | None, options: ExecOptions) -> int:
    text, args = process_record.text(process), process["args"]
    socket = os.path.abspath(options.console_socket) if options.console_socket else ""
    if size is not None and options.detach and not socket:
        raise RunxError("cannot allocate tty if runx will detach without setting console socket", "give --console-socket")
    if socket and (size is None or not options.detach):
        raise RunxError("cannot use console socket if runx will not detach or allocate tty", "give --detach and --tty")
    if options.detach:
        pid = carrier.detached(record.directory, text, args, socket, size, while_paused=options.ignore_paused)
        try:
            _write_pid(options.pid_file, pid)
        except RunxError:
            carrier.end(pid)
            raise
        return 0
    return carrier.attached(
        record.directory,
        text,
        args,
        lambda: _write_pid(options.pid_file, os.getpid()),
        with_terminal=size is not None,
        while_paused=options.ignore_paused,
    )


def _write_pid(path: str, pid: int) -> None:
    """Write the pid as `create` writes that of the supervisor."""
    if not path:
        return
    from runx.linux.files import write_atomically

    try:
        write_atomically(path, str(pid).encode())
    except OSError as error:
        raise RunxError(f"cannot write the pid file {path}: {reason(error)}") from None
