"""Hooks: programs of the engine's that run when a container is created, started and deleted (OCI config.md, "POSIX-platform
Hooks"). Those of startContainer run in the guest (guest-assets/init/child/hooks.c), all others on the host.

`create` keeps a container's hooks in the file `hooks` of its directory, for the verbs that follow. Its fields end with NUL,
which no hook has: this file is loaded by fast verbs, for which JSON would be too slow.
"""

import os

from runx.errors import RunxError, reason
from runx.exec import spawn
from runx.linux import netns

ORDER_WITH_HOOKS = b"h"
"""What `create` tells the supervisor of a container for which it will run hooks; any other byte means that it has none."""
HOOKS_NOW = "hooks\n"
"""The supervisor's answer when the time has come. It goes on at the next byte."""

_NAME = "hooks"
_SHOWN = 2000
"""Characters, from its end, of what a hook that failed said."""

TYPE_CHECKING = False  # as typing's, which takes longer to import than a fast verb has
if TYPE_CHECKING:
    from collections.abc import Iterator

    from runx.exec.plan_json import VmPlan
    from runx.log import Log


class Hook:
    """One hook, as the plan has it. `bundle`: the directory to run it in."""

    __slots__ = ("args", "bundle", "ends", "env", "kind", "origin", "path", "timeout_s")

    def __init__(self, bundle: bytes, kind: bytes, fields: "Iterator[bytes]") -> None:
        """fields: what the file has of it after its kind; they are taken."""
        self.bundle = bundle
        self.kind = kind.decode()
        self.origin = next(fields).decode()
        """Its place in the configuration: `hooks.prestart[0]`."""
        timeout_s = next(fields)
        self.timeout_s = float(timeout_s) if timeout_s else None
        self.ends = next(fields) == b"ends"
        """Its failure ends the container; else it is a warning."""
        self.path = next(fields)
        self.args = _words(fields) or []
        self.env = _words(fields)


def keep(directory: str, plan: "VmPlan") -> None:
    """Write the hooks of a plan that run on the host into the container's directory; no file without any."""
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
    """A container's hooks of some kinds, in their order."""
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
    """Run hooks one after the other, each with the container's state on its standard input and in the bundle's directory.

    network: a descriptor of the network namespace to run them in; -1: ours. Raises RunxError at the first failure that ends
    the container; other failures are warnings.
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
        why = os.read(failed, 4096).decode("utf-8", "replace")  # its end is a successful execve
        if why:
            os.waitpid(pid, 0)
            raise RunxError(f"{name}: {why}")
        status = spawn.wait(pid, hook.timeout_s)
        if status is None:
            os.killpg(pid, 9)  # with all that it started
            os.waitpid(pid, 0)
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
    """In the child: the hook's surroundings, then the hook. Never returns; why it failed goes to `failure`."""
    import _signal  # type: ignore[import-not-found]  # the signal module would be slow to load

    try:
        spawn.stand_alone(output, given)
        for number in (_signal.SIGPIPE, _signal.SIGXFSZ):  # which Python ignores
            _signal.signal(number, _signal.SIG_DFL)
        if network >= 0:
            netns.enter(network)
        try:
            os.chdir(hook.bundle)
        except OSError:
            os.chdir("/")  # engines may remove a bundle before they delete its container
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
