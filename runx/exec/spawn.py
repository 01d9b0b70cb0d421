"""Start other programs: from argument lists, without a shell, with a time limit and clear errors.

`run` does all of it. Those who must do something in the child before it becomes the program (xen/domain.py, storage/mkfs.py,
container/hooks.py) take the parts from here. supervisor/launch.py waits for no end.

No subprocess module here: it takes more time to load than a fast command has.
"""

import os
import select

from runx.errors import RunxError
from runx.linux import netns
from runx.paths import PROGRAMS

TIMEOUT_S = 60.0
"""Time limit of a program whose caller gives no other."""
KILLED_LIMIT_S = 5.0
"""How long to wait for a process that was killed. In the hypervisor, or in a file system that hangs, it may not end."""
_OUTPUT_LIMIT = 64 * 1024
_IPROUTE = "install iproute2: interfaces and their filters are set up with it"
_HINTS = {"xl": "install Xen's tools (Debian: xen-utils-4.17) or put xl on PATH", "ip": _IPROUTE, "tc": _IPROUTE}
"""What to do if a program is missing."""


def environment() -> dict[str, str]:
    """Environment of programs: the caller's PATH, messages in English, and where xenstored is. Nothing else."""
    names = ("XENSTORED_PATH", "XENSTORED_RUNDIR", "XEN_RUN_DIR")
    kept = {name: os.environ[name] for name in names if name in os.environ}
    return {"PATH": os.environ.get("PATH") or PROGRAMS, "LC_ALL": "C", **kept}


def program(name: str) -> str:
    """Path of a program that PATH finds. An absolute path is returned as it is. Raises RunxError when there is none."""
    if name.startswith("/"):
        return name
    for directory in environment()["PATH"].split(":"):
        path = f"{directory or '.'}/{name}"
        if os.access(path, os.X_OK) and not os.path.isdir(path):
            return path
    raise RunxError(f"{name}: command not found", _HINTS.get(name, ""))


_LONGEST_S = (2**31 - 1) / 1000
"""The longest time that poll(2) takes, 24 days. A longer limit is none."""


def wait(pid: int, timeout_s: float | None) -> int | None:
    """Wait for a child; its wait status, or None when it still runs after timeout_s. timeout_s None: no limit."""
    pidfd = os.pidfd_open(pid)
    try:
        poller = select.poll()
        poller.register(pidfd, select.POLLIN)
        if not poller.poll(None if timeout_s is None or timeout_s > _LONGEST_S else int(timeout_s * 1000)):
            return None
    finally:
        os.close(pidfd)
    return os.waitpid(pid, 0)[1]


def tail(fd: int, limit: int = _OUTPUT_LIMIT) -> str:
    """The last `limit` bytes of an open file, as text."""
    size = os.fstat(fd).st_size
    return os.pread(fd, limit, max(0, size - limit)).decode("utf-8", "replace")


def finish(what: str, pid: int, output_fd: int, timeout_s: float, hint: str = "") -> tuple[int, str]:
    """Wait for a program that was started; (exit status, output). At the time limit it is killed.

    what: the program's name in errors. hint: of the error at the time limit. Raises RunxError, with the program's output, at the
    time limit and when a signal ended the program.
    """
    try:
        status = wait(pid, timeout_s)
    except BaseException:
        _kill(pid)
        raise
    if status is None:
        _kill(pid)
        said = tail(output_fd).strip()
        raise RunxError(f"{what} did not end within {timeout_s:g} s" + (f"; it said: {said}" if said else ""), hint)
    code = os.waitstatus_to_exitcode(status)
    text = tail(output_fd)
    if code < 0:
        raise RunxError(f"{what} was ended by signal {-code}" + (f"; it said: {text.strip()}" if text.strip() else ""))
    return code, text


def _kill(pid: int) -> None:
    os.kill(pid, 9)
    wait(pid, KILLED_LIMIT_S)  # not for ever: a process in the hypervisor, or in a file system that hangs, may not end


def stand_alone(output: int, given: int = -1) -> None:
    """In a child: begin a session, and write standard output and error to the file `output`.

    given: a descriptor for standard input; -1: /dev/null.
    """
    os.setsid()
    os.dup2(os.open("/dev/null", os.O_RDONLY) if given < 0 else given, 0)
    os.dup2(output, 1)
    os.dup2(output, 2)


def report(output: int, what: str, error: BaseException) -> None:
    """In a child: write an error to the file `output`, for `reported`. what: what failed, for an error that is no RunxError."""
    words = f"{error.message}\0{error.hint}" if isinstance(error, RunxError) else f"{what}: {error!r}\0"
    os.write(output, words.encode("utf-8", "surrogateescape"))


def reported(text: str) -> RunxError:
    """In the parent: the error that a child wrote with `report`."""
    message, _, hint = text.partition("\0")
    return RunxError(message, hint)


def one_line(output: str, limit: int) -> str:
    """Output of a program as part of a message: its last `limit` characters, on one line."""
    return " / ".join(line.strip() for line in output.splitlines() if line.strip())[-limit:]


def run(argv: list[str], *, timeout_s: float, network: int = -1, hint: str = "") -> tuple[int, str]:
    """Run a program to its end, without input; (exit status, the last 64 KiB of its output and errors together).

    network: a descriptor of the network namespace to run it in; -1: ours. hint: of the error at the time limit. Raises RunxError
    when the program cannot be started, a signal ends it, or it takes longer than timeout_s.
    """
    what = " ".join(argv[:2])
    path = program(argv[0])
    if network >= 0:
        argv = netns.inside([path, *argv[1:]], network)
        path = program(argv[0])
    output = os.memfd_create("output", os.MFD_CLOEXEC)
    try:
        actions = [
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_DUP2, output, 1),
            (os.POSIX_SPAWN_DUP2, output, 2),
        ]
        # setsid: Ctrl-C at the caller's terminal must not interrupt xl.
        pid = os.posix_spawn(path, argv, environment(), file_actions=actions, setsid=True)
        return finish(what, pid, output, timeout_s, hint)
    finally:
        os.close(output)


def checked(argv: list[str], what: str, network: int = -1, timeout_s: float = TIMEOUT_S) -> str:
    """Run a program and return its output. Raises RunxError, with the output, when its exit status is not 0."""
    status, said = run(argv, timeout_s=timeout_s, network=network)
    if status:
        raise RunxError(f"{what} failed with exit status {status}: {one_line(said, 1000) or 'it said nothing'}")
    return said


def batch(program: str, lines: list[str], what: str, network: int = -1) -> None:
    """Run the commands of these lines with one ip(8) or tc(8). network: as for `run`. Raises RunxError, as `checked`."""
    commands = os.memfd_create("commands", 0)  # inherited
    try:
        os.write(commands, "".join(f"{line}\n" for line in lines).encode())
        checked([program, "-batch", f"/proc/self/fd/{commands}"], what, network)
    finally:
        os.close(commands)
