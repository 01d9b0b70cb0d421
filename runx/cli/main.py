"""The command line: a table of commands, each loaded only when it is called.

The exit status is 0, or 1 with one message on standard error and as the last line of level `error` in --log.
"""

import os
import sys

from runx import SPEC_VERSION, __version__
from runx.cli import standard_streams
from runx.cli.options import Arguments, Option, did_you_mean, help_lines, parse
from runx.errors import RunxError, bounded, of_full_disk

TYPE_CHECKING = False  # as typing's, which takes longer to import than a fast command has
if TYPE_CHECKING:
    from collections.abc import Callable

    from runx.exec.commands.create import CreateOptions
    from runx.log import Log

_HELP = Option("-h", "--help", help="show this help")
GLOBAL_OPTIONS = (
    Option(
        "--root",
        value="DIR",
        help="where the state of containers is kept (default: paths.state of runx.toml, or /run/runx)",
    ),
    Option("--log", value="FILE", help="append messages to FILE as well"),
    Option("--log-format", value="FORMAT", default="text", help="format of --log: text or json"),
    Option("--debug", help="accepted for runc's callers; Python tracebacks are shown for internal errors"),
    Option("--systemd-cgroup", help="linux.cgroupsPath is SLICE:PREFIX:NAME, and systemd makes a scope of it"),
    Option(
        "--cgroup-manager",
        value="KIND",
        default="cgroupfs",
        help="as in crun: cgroupfs; systemd, which means --systemd-cgroup; or disabled, for no control group",
    ),
    Option(
        "--pod-machine",
        value="KIND",
        help="what is a virtual machine of a pod: container or pod (default: pods.machine of runx.toml)",
    ),
    Option("--rootless", value="MODE", help="accepted for runc's callers; runx needs root"),
    Option("--criu", value="PATH", help="accepted for runc's callers; not used"),
    _HELP,
    Option("-v", "--version", help="show the versions of runx and of the OCI runtime specification"),
)


_NO_DESCRIPTORS = "--preserve-fds: a virtual machine cannot be given file descriptors of the host"


def _create_options(options: Arguments, arguments: Arguments) -> "CreateOptions":
    """The options that `create` and `run` have in common."""
    from runx.exec.commands.create import CreateOptions

    values = arguments.values
    if values["preserve_fds"] not in ("", "0"):
        raise RunxError(_NO_DESCRIPTORS)
    return CreateOptions(
        values["bundle"],
        _log(options),
        config=values["config"],
        root_carrier=values["root_carrier"],
        pod_machine=options.values["pod_machine"],
        pid_file=values["pid_file"],
        console_socket=values["console_socket"],
        pidfd_socket=values["pidfd_socket"],
        cgroup_manager="systemd" if "systemd_cgroup" in options.switches else options.values["cgroup_manager"],
    )


def _log(options: Arguments) -> "Log":
    from runx.log import Log  # commands that succeed and warn of nothing do without it

    return Log(options.values["log"], options.values["log_format"] == "json")


def _create(options: Arguments, arguments: Arguments) -> None:
    from runx.exec.commands.create import create

    create(options.values["root"], _operand(arguments, "ID"), _create_options(options, arguments))


def _run(options: Arguments, arguments: Arguments) -> int:
    from runx.exec.commands.run import run

    switches = {name: name in arguments.switches for name in ("detach", "keep")}
    return run(options.values["root"], _operand(arguments, "ID"), _create_options(options, arguments), **switches)


def _start(options: Arguments, arguments: Arguments) -> None:
    from runx.exec.commands.start import start

    start(options.values["root"], _operand(arguments, "ID"), _log(options))


def _state(options: Arguments, arguments: Arguments) -> None:
    from runx.exec.commands.state import state

    sys.stdout.write(state(options.values["root"], _operand(arguments, "ID")))


def _kill(options: Arguments, arguments: Arguments) -> None:
    from runx.exec.commands.kill import kill

    operands = arguments.operands
    if len(operands) not in (1, 2):
        raise RunxError("kill takes ID and, optionally, SIGNAL", "usage: runx kill [--all] ID [SIGNAL]")
    kill(
        options.values["root"],
        operands[0],
        operands[1] if len(operands) == 2 else "TERM",
        all_processes="all" in arguments.switches,
    )


def _exec(options: Arguments, arguments: Arguments) -> int:
    from runx.exec.commands.exec import ExecOptions, execute

    if not arguments.operands:
        raise RunxError("exec takes ID and what to execute", "usage: runx exec [options] ID COMMAND [ARGUMENT...]")
    if arguments.values["preserve_fds"] not in ("", "0"):
        raise RunxError(_NO_DESCRIPTORS)
    wanted = ExecOptions()
    for key in vars(wanted):
        given = {**arguments.values, **arguments.lists, **dict.fromkeys(arguments.switches, True)}
        if key in given:
            setattr(wanted, key, given[key])
    return execute(options.values["root"], arguments.operands[0], arguments.operands[1:], wanted, _log(options))


def _delete(options: Arguments, arguments: Arguments) -> None:
    from runx.exec.commands.delete import delete

    root, force = options.values["root"], "force" in arguments.switches
    ids = [_operand(arguments, "ID")]
    if "regex" in arguments.switches:
        from runx.exec.commands.list import matching

        ids = matching(root, ids[0])
    for container_id in ids:
        delete(root, container_id, _log(options), force=force)


def _config(options: Arguments, arguments: Arguments) -> None:  # noqa: ARG001
    from runx.cli.config import config

    _no_operands(arguments, "config")
    config(arguments.values["config"])


def _plan(options: Arguments, arguments: Arguments) -> int:
    from runx.cli import plan

    return plan.main(arguments.operands, options.values["root"], options.values["pod_machine"])


def _pause(options: Arguments, arguments: Arguments) -> None:
    from runx.exec.commands.pause import pause

    pause(options.values["root"], _operand(arguments, "ID"))


def _resume(options: Arguments, arguments: Arguments) -> None:
    from runx.exec.commands.pause import resume

    resume(options.values["root"], _operand(arguments, "ID"))


def _list(options: Arguments, arguments: Arguments) -> None:
    import json

    from runx.exec.commands.list import list_containers, table

    _no_operands(arguments, "list")
    containers = list_containers(options.values["root"], lambda message: _log(options).warn(message))
    if "quiet" in arguments.switches:
        sys.stdout.write("".join(f"{container['id']}\n" for container in containers))
    elif _format(arguments) == "json":
        sys.stdout.write(json.dumps(containers or None) + "\n")  # null for none, as runc
    else:
        columns = ("id", "pid", "status", "bundle", "created", "owner")
        head = [column.upper() for column in columns]
        sys.stdout.write(table([head, *([str(container[column]) for column in columns] for container in containers)]))


def _ps(options: Arguments, arguments: Arguments) -> None:
    from runx.exec.commands.list import pids, processes, table

    root, container_id = options.values["root"], _operand(arguments, "ID")
    if _format(arguments) == "json":
        # For engines, which look for these numbers on the host.
        sys.stdout.write(f"[{','.join(map(str, pids(root, container_id)))}]\n")
    else:
        sys.stdout.write(table(processes(root, container_id)))


def _format(arguments: Arguments) -> str:
    chosen = arguments.values["format"]
    if chosen not in ("table", "json"):
        raise RunxError(f"--format: {chosen!r} is neither table nor json")
    return chosen


def _features(options: Arguments, arguments: Arguments) -> None:  # noqa: ARG001
    from runx.cli.features import text

    _no_operands(arguments, "features")
    sys.stdout.write(text())


def _spec(options: Arguments, arguments: Arguments) -> None:  # noqa: ARG001
    from runx.cli.spec import spec

    _no_operands(arguments, "spec")
    spec(arguments.values["bundle"])


def _console(options: Arguments, arguments: Arguments) -> None:
    from runx.exec.commands.console import console

    console(options.values["root"], _operand(arguments, "ID"), follow="follow" in arguments.switches)


def _events(options: Arguments, arguments: Arguments) -> None:
    from runx.exec.commands.events import events, interval

    container_id = _operand(arguments, "ID")
    interval_s = interval(arguments.values["interval"])
    events(options.values["root"], container_id, stats="stats" in arguments.switches, interval_s=interval_s)


def _update(options: Arguments, arguments: Arguments) -> None:
    from runx.exec.commands.update import update

    container_id = _operand(arguments, "ID")
    values = {key: value for key, value in arguments.values.items() if value}
    for key in ("l3_cache_schema", "mem_bw_schema"):
        if key in values:
            raise RunxError(f"--{key.replace('_', '-')}: nothing in a virtual machine corresponds to it")
    resources = values.pop("resources", "")
    update(options.values["root"], container_id, resources, values, _log(options))


def _operand(arguments: Arguments, name: str) -> str:
    if len(arguments.operands) != 1:
        raise RunxError(f"expected one operand, {name}, not {len(arguments.operands)}")
    return arguments.operands[0]


def _no_operands(arguments: Arguments, name: str) -> None:
    if arguments.operands:
        raise RunxError(f"{name} takes no operands", f"usage: runx {name} {COMMANDS[name].usage}".rstrip())


class Command:
    """A command: its usage, its one-line help, what it calls, and its options.

    reads_words: it reads its command line itself, options too, and is called with all words as operands. options_first: what
    follows the first operand is no option.
    """

    __slots__ = ("call", "help", "options", "options_first", "reads_words", "usage")

    def __init__(
        self,
        usage: str,
        help: str,
        call: "Callable[[Arguments, Arguments], int | None]",
        *options: Option,
        reads_words: bool = False,
        options_first: bool = False,
    ) -> None:
        self.usage = usage
        self.help = help
        self.call = call
        self.options = options
        self.reads_words = reads_words
        self.options_first = options_first


_CREATION = (
    Option("-b", "--bundle", value="DIR", default=".", help="the bundle (default: the current directory)"),
    Option(
        "-f", "--config", value="FILE", default="config.json", help="the configuration, from the bundle (default: config.json)"
    ),
    Option("--root-carrier", value="CARRIER", help="how the root filesystem travels: disk, 9p, ram or auto"),
    Option("--pid-file", value="FILE", help="write the supervisor's pid to FILE"),
    Option("--console-socket", value="SOCKET", help="send the master of the container's terminal to this unix socket"),
    Option("--pidfd-socket", value="SOCKET", help="send a pidfd of the supervisor to this unix socket"),
    Option("--preserve-fds", value="N", help="refused when not 0: a virtual machine has no descriptors of the host"),
    Option("--no-pivot", help="accepted for runc's callers; the guest always moves its root"),
    Option("--no-new-keyring", help="accepted for runc's callers; a guest's kernel has keyrings of its own"),
    Option("--no-mount-fallback", help="accepted for runc's callers; a guest never tries a mount again with other options"),
)

_FORMAT = Option("-f", "--format", value="FORMAT", default="table", help="table or json")

_NOT_UPDATED = (
    "blkio-weight", "cpu-burst", "cpu-idle", "cpu-rt-period", "cpu-rt-runtime", "cpuset-mems", "kernel-memory",
    "kernel-memory-tcp", "l3-cache-schema", "mem-bw-schema", "memory-reservation", "memory-swap", "pids-limit",
)  # fmt: skip
"""Options of runc's update for what a virtual machine does not have."""

COMMANDS = {
    "create": Command("[options] ID", "create a container from a bundle; its virtual machine waits, paused", _create, *_CREATION),
    "run": Command(
        "[options] ID", "create and start a container, wait for its end and delete it; exit with its status", _run, *_CREATION,
        Option("-d", "--detach", help="do not wait"),
        Option("--keep", help="do not delete it at its end"),
        Option("--no-subreaper", help="accepted for runc's callers; no process of the container is on this host"),
    ),
    "start": Command("ID", "start a created container", _start),
    "state": Command("ID", "print a container's state as JSON", _state),
    "kill": Command(
        "[--all] ID [SIGNAL]", "send a signal (default TERM) to a container's process", _kill,
        Option("-a", "--all", help="a stopped container is no error"),
    ),
    "exec": Command(
        "[options] ID COMMAND [ARGUMENT...]", "start a further process in a container that allows it, and exit with its status",
        _exec,
        Option("-p", "--process", value="FILE", help="read an OCI process object from FILE, in place of COMMAND and options"),
        Option("-t", "--tty", help="give it a terminal"),
        Option("--cwd", value="DIR", help="its working directory"),
        Option("-e", "--env", value="NAME=VALUE", repeats=True, help="add to its environment; may be given several times"),
        Option("-u", "--user", value="UID[:GID]", help="its user and group"),
        Option("-g", "--additional-gids", value="GID", repeats=True, help="a further group; may be given several times"),
        Option("-c", "--cap", value="NAME", repeats=True, help="a further capability, if the container's bounding set has it"),
        Option("--no-new-privs", help="set no_new_privs"),
        Option("-d", "--detach", help="return when it runs"),
        Option("--pid-file", value="FILE", help="write the pid of the process on the host that stands for it to FILE"),
        Option("--console-socket", value="SOCKET", help="send the master of its terminal to this unix socket"),
        Option("--ignore-paused", help="start it in a paused container too, when that is resumed"),
        Option("--apparmor", value="PROFILE", help="ignored: the virtual machine is the boundary"),
        Option("--process-label", value="LABEL", help="ignored: the virtual machine is the boundary"),
        Option("--preserve-fds", value="N", help="refused when not 0: a virtual machine has no descriptors of the host"),
        Option("--no-subreaper", help="accepted for runc's callers; no process of the container is on this host"),
        options_first=True,
    ),
    "delete": Command(
        "[--force] ID", "remove a stopped container", _delete,
        Option("-f", "--force", help="end the container first, in any state; an unknown ID is no error"),
        Option("--regex", help="as in crun: ID is a regular expression, for all containers in whose id it is found"),
    ),
    "config": Command(
        "[--config FILE]", "show the settings of the host and the source of each", _config,
        Option("--config", value="FILE", help="read FILE instead of /etc/runx/runx.toml"),
    ),
    "pause": Command("ID", "stop a running container's virtual machine", _pause),
    "resume": Command("ID", "continue a paused container", _resume),
    "list": Command("[options]", "list the containers", _list, _FORMAT, Option("-q", "--quiet", help="print ids only")),
    "ps": Command("[options] ID", "list a container's processes: of the guest if it allows exec, or of this host", _ps, _FORMAT),
    "update": Command(
        "[options] ID", "change the limits of a container", _update,
        Option("-r", "--resources", value="FILE", help="read a JSON object like linux.resources from FILE; - for standard input"),
        Option("--memory", value="BYTES", help="at most the size at creation; -1 for that size"),
        Option("--cpu-quota", value="US", help="CPU time in each period; -1 for no limit"),
        Option("--cpu-period", value="US", help="length of the period"),
        Option("--cpu-share", value="N", help="weight against other containers, of which most have 1024"),
        Option("--cpuset-cpus", value="LIST", help="CPUs of the host to run on, such as 0-3,7"),
        *(Option(f"--{name}", value="VALUE", help="refused: a virtual machine does not have it") for name in _NOT_UPDATED),
    ),
    "console": Command(
        "[--follow] ID", "show messages of the kernel in a container's virtual machine", _console,
        Option("-f", "--follow", help="also show new messages until the container ends"),
    ),
    "events": Command(
        "[options] ID", "show the processor time and memory of a container, a line of JSON each interval until it ends", _events,
        Option("--interval", value="DURATION", default="5s", help="such as 5s or 1m30s (default: 5s)"),
        Option("--stats", help="show one line at once"),
    ),
    "spec": Command(
        "[--bundle DIR]", "write an example config.json", _spec,
        Option("-b", "--bundle", value="DIR", default=".", help="directory of the file (default: the current directory)"),
    ),
    "features": Command("", "print the features of this runtime, as JSON for engines", _features),
    "plan": Command("[options] BUNDLE", "show what would be done for a bundle; changes nothing", _plan, reads_words=True),
}  # fmt: skip

_STATEFUL = frozenset(COMMANDS) - {"config", "features", "plan", "spec"}
"""Commands that need the state root."""

_FOR_PEOPLE = (_config, _spec)
"""What is called for commands that no engine calls. An option with an empty value is a slip there."""

_NOT_SAVED = ("9p shares cannot be saved with a domain", "keep what has to last in a volume, and create the container again")
_WHY_NOT = {
    "checkpoint": _NOT_SAVED,
    "restore": _NOT_SAVED,
}
"""Commands of runc that runx does not have: why, and what helps."""


def program() -> None:
    """Run `main` with this process's arguments, and end the process with its status.

    Python's own end frees all memory piece by piece, which takes as long as all work of a fast command.
    """
    standard_streams.take()
    try:
        status = main(sys.argv[1:])
    except KeyboardInterrupt:
        status = _interrupted()
    os._exit(status)


def _interrupted() -> int:
    """End as SIGINT ends programs, which shells look for. The status is for the case that we survive that."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_DFL)
    os.kill(os.getpid(), signal.SIGINT)
    return 128 + signal.SIGINT


def main(argv: list[str] | None = None) -> int:
    """Run one command line (default: that of the process); its exit status."""
    argv = sys.argv[1:] if argv is None else argv
    options = _log_options(argv)  # of a command line that is not understood, these are
    try:
        options, rest = parse(argv, GLOBAL_OPTIONS, stop_at_operand=True, hint=_of_commands)
        status = _obey(options, rest)
    except Exception as error:
        status = _failed(error, options)
    try:
        sys.stdout.flush()
    except Exception as error:
        status = _failed(error, options)
    return status


def _log_options(argv: list[str]) -> Arguments:
    """The global options about the log, whatever else is on the command line: an engine shows the log of a word that we do not
    know, too."""
    options = Arguments()
    options.values = {"log": "", "log_format": "text"}
    for word, following in zip(argv, [*argv, ""][1:], strict=True):
        if word in COMMANDS:
            break
        name, equals, value = word.partition("=")
        if name in ("--log", "--log-format", "-log", "-log-format"):
            options.values[name.lstrip("-").replace("-", "_")] = value if equals else following
    return options


def _obey(options: Arguments, rest: list[str]) -> int:
    for name, known in (
        ("log_format", ("text", "json")),
        ("cgroup_manager", ("cgroupfs", "systemd", "disabled")),
        ("pod_machine", ("container", "pod", "")),  # empty: as runx.toml says
    ):
        if options.values[name] not in known:
            words = ", ".join(filter(None, known))
            raise RunxError(f"--{name.replace('_', '-')}: {options.values[name]!r} is none of {words}")
    if "version" in options.switches or rest[:1] == ["version"]:
        sys.stdout.write(f"runx version {__version__}\nspec: {SPEC_VERSION}\n")
    elif "help" in options.switches or not rest or rest[0] == "help":
        sys.stdout.write(_help())
    else:
        return _call(options, rest[0], rest[1:])
    return 0


def _failed(error: Exception, options: Arguments) -> int:
    """Tell of an error; the exit status. With --debug, a fault of ours is told with its traceback."""
    if isinstance(error, BrokenPipeError):
        return 1  # the reader closed its end
    if isinstance(error, RunxError):
        _report(error, options)
        return error.status
    if full := of_full_disk(error, options.values.get("root") or "the state directory"):
        _report(full, options)
        return 1
    message = f"internal error: {type(error).__name__}: {error}"
    if "debug" in options.switches:
        _report(RunxError(message, "report the traceback"), options)
        import traceback

        traceback.print_exception(error)
    else:
        _report(RunxError(message, "run it with --debug and report the traceback"), options)
    return 1


def _call(options: Arguments, name: str, words: list[str]) -> int:
    command = COMMANDS.get(name)
    if command is None:
        raise _no_such_command(name)
    if command.reads_words:
        arguments = Arguments()
        arguments.operands = words
    else:
        allow_empty = command.call not in _FOR_PEOPLE
        first = command.options_first
        arguments, others = parse(words, (*command.options, _HELP), hint=_of_all, allow_empty=allow_empty, stop_at_operand=first)
        arguments.operands += others
    if "help" in arguments.switches:
        head = [f"usage: runx [global options] {name} {command.usage}".rstrip(), "", command.help, ""]
        sys.stdout.write("\n".join([*head, *help_lines((*command.options, _HELP))]) + "\n")
        return 0
    if name in _STATEFUL and not options.values["root"]:
        from runx.paths import state_root  # engines give --root

        options.values["root"] = state_root()
    return command.call(options, arguments) or 0


def _no_such_command(name: str) -> RunxError:
    if name in _WHY_NOT:
        why, hint = _WHY_NOT[name]
        return RunxError(f"{name} is not possible with runx: {why}", hint)
    return RunxError(f"unknown command {name!r}", did_you_mean(name, list(COMMANDS)) or "see: runx --help")


def _of_commands(name: str) -> str:
    """The hint for an option that stands before the command but is one of commands; "" for others."""
    from runx.cli import plan  # only on the way to an error

    tables = ((command, plan.OPTIONS if command == "plan" else COMMANDS[command].options) for command in COMMANDS)
    owners = [command for command, options in tables if any(name in option.names for option in options)]
    return f"{name} goes after the command: runx {'|'.join(owners)} {name}" if owners else ""


def _of_all(name: str) -> str:
    """The hint for an option that stands after the command but is a global one; "" for others."""
    is_global = any(name in option.names for option in GLOBAL_OPTIONS)
    return f"{name} goes before the command: runx {name} ... COMMAND" if is_global else ""


def _report(error: RunxError, options: Arguments) -> None:
    """Write an error to the log, for engines, and to standard error."""
    log = _log(options)
    lost = log.append("error", bounded(error.with_hint))
    sys.stderr.write(f"runx: {bounded(error.for_people())}\n" + (f"  hint: {bounded(error.hint)}\n" if error.hint else ""))
    log.tell_if_lost(lost)


def _help() -> str:
    commands = [f"  {name:<10} {command.help}" for name, command in COMMANDS.items()]
    lines = [
        "usage: runx [global options] COMMAND [options]",
        "",
        "Runs OCI containers as Xen virtual machines.",
        "",
        "Commands:",
    ]
    return "\n".join([*lines, *commands, "", "Global options:", *help_lines(GLOBAL_OPTIONS)]) + "\n"
