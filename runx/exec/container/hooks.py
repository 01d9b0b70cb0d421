"""Hooks: programs of the engine that run when a container is created, started and deleted (OCI config.md, "POSIX-platform
Hooks"). Hooks of startContainer run in the guest (guest-assets/init/child/hooks.c), all others on the host.

`create` keeps a container's hooks in the file `hooks` of its directory, for later commands. Each field ends with NUL, which no
value of a hook contains. Fast commands read the file, and JSON would be too slow for them.
"""

import os

from runx.errors import RunxError, reason
from runx.exec import spawn
from runx.linux import netns

ORDER_WITH_HOOKS = b"h"
"""`create` sends this byte to the supervisor when it will run hooks for the container, and another byte when there are none."""
HOOKS_NOW = "hooks\n"
"""The supervisor's answer when it is time for the hooks. It continues at the next byte."""

_NAME = "hooks"
_SHOWN = 2000
"""Characters of the output of a hook that failed, from its end."""

TYPE_CHECKING = False  # as typing's, which takes longer to import than a fast command has
if TYPE_CHECKING:
    from collections.abc import Iterator

    from runx.exec.plan_json import VmPlan
    from runx.log import Log


class Hook:
    """One hook of the plan. It runs in the directory `bundle`."""

    __slots__ = ("args", "bundle", "ends", "env", "kind", "origin", "path", "timeout_s")

    def __init__(self, bundle: bytes, kind: bytes, fields: "Iterator[bytes]") -> None:
        """fields: those of the file after the hook's kind. As many as belong to the hook are consumed."""
        self.bundle = bundle
        self.kind = kind.decode()
        self.origin = next(fields).decode()
        """Its place in the configuration: `hooks.prestart[0]`."""
        timeout_s = next(fields)
        self.timeout_s = float(timeout_s) if timeout_s else None
        self.ends = next(fields) == b"ends"
        """Whether a failure ends the container. If not, it is a warning."""
        self.path = next(fields)
        self.args = _words(fields) or []
        self.env = _words(fields)


def keep(directory: str, plan: "VmPlan") -> None:
    """Write the plan's hooks on the host into the container's directory. Without such hooks there is no file."""
    here = [hook for hook in plan["hooks"] if hook["kind"] != "startContainer"]
    fields = [plan["bundle"]]
    for hook in here:
        fields += [hook["kind"], hook["origin"], str(hook["timeout_s"] or ""), hook["failure"], hook["path"]]
        for words in (hook["args"], hook["env"]):
            fields += ["-"] if words is None else [str(len(words)), *words]
    if here:
        fd = os.open(f"{directory}/{_NAME}", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with open(fd, "wb") as file:
            file.write("".join(f"{field}\0" for field in fields).encode("utf-8", "surrogateescape"))


def load(directory: str, *kinds: str) -> list[Hook]:
    """A container's hooks of these kinds, in their order."""
    try:
        with open(f"{directory}/{_NAME}", "rb") as file:
            bundle, *rest = file.read().split(b"\0")[:-1]
    except FileNotFoundError:
        return []
    fields = iter(rest)
    hooks = [Hook(bundle, kind, fields) for kind in fields]
    return [hook for hook in hooks if hook.kind in kinds]


def _words(fields: "Iterator[bytes]") -> list[bytes] | None:
    count = next(fields)
    return None if count == b"-" else [next(fields) for _ in range(int(count))]


def run_all(hooks: list[Hook], state: str, log: "Log", network: int = -1) -> None:
    """Run hooks one after the other, in the bundle's directory, with the container's state on standard input.

    log: for failures that are warnings. network: a descriptor of the network namespace to run them in; -1: ours. Raises RunxError
    at the first failure that ends the container.
    """
    for hook in hooks:
        try:
            _run(hook, state, network)
        except RunxError as error:
            if hook.ends:
                raise
            log.warn(error.message)


def _run(hook: Hook, state: str, network: int) -> None:
    name = f"{hook.origin} ({hook.path.decode('utf-8', 'replace')})"
    given, output = (os.memfd_create(name, os.MFD_CLOEXEC) for name in ("state", "output"))
    failed, failure = os.pipe2(os.O_CLOEXEC)
    try:
        os.write(given, state.encode("utf-8", "surrogateescape"))
        os.lseek(given, 0, os.SEEK_SET)
        pid = os.fork()
        if pid == 0:
            _become(hook, network, given, output, failure)
        os.close(failure)
        failure = -1
        why = os.read(failed, 4096).decode("utf-8", "replace")  # end of file: execve succeeded
        if why:
            os.waitpid(pid, 0)
            raise RunxError(f"{name}: {why}")
        status = spawn.wait(pid, hook.timeout_s)
        if status is None:
            os.killpg(pid, 9)  # with all processes that it started
            spawn.wait(pid, spawn.KILLED_LIMIT_S)
            raise RunxError(f"{name} did not end within {hook.timeout_s:g} s{_said(output)}")
        code = os.waitstatus_to_exitcode(status)
        if code:
            how = f"was ended by signal {-code}" if code < 0 else f"failed with exit status {code}"
            raise RunxError(f"{name} {how}{_said(output)}")
    finally:
        for fd in (given, output, failed, failure):
            if fd >= 0:
                os.close(fd)


def _said(output: int) -> str:
    words = spawn.one_line(spawn.tail(output), _SHOWN)
    return f": {words}" if words else ""


def _become(hook: Hook, network: int, given: int, output: int, failure: int) -> None:
    """In the child: become the hook. Never returns. If that fails, the reason is written to `failure`."""
    import _signal  # type: ignore[import-not-found]  # the signal module takes 4 ms to load

    try:
        spawn.stand_alone(output, given)
        for number in (_signal.SIGPIPE, _signal.SIGXFSZ):  # Python ignores them
            _signal.signal(number, _signal.SIG_DFL)
        if network >= 0:
            netns.enter(network)
        try:
            os.chdir(hook.bundle)
        except OSError:
            os.chdir("/")  # an engine may remove a bundle before it deletes the container
        if hook.env is None:
            os.execv(hook.path, hook.args)
        environment = {name: value for name, _, value in (entry.partition(b"=") for entry in hook.env)}
        os.execve(hook.path, hook.args, environment)
    except OSError as error:
        os.write(failure, f"cannot be executed: {reason(error)}".encode())
    except BaseException as error:
        os.write(failure, str(error).encode("utf-8", "replace") or b"?")
    finally:
        os._exit(127)
