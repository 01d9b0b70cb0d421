"""Hooks: each kind at its time, what they are given, what their failures do, and in which network namespace they find things."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from commandhost import Host
from runx.errors import RunxError
from runx.exec.container.hooks import Hook, run_all
from runx.log import Log

ON_CREATE = ("prestart", "createRuntime", "createContainer")
KINDS = (*ON_CREATE, "poststart", "poststop")
OURS = os.readlink("/proc/self/ns/net")


class Hooks:
    """Hooks in a bundle that tell what they see. Each appends a line of JSON to `seen`."""

    def __init__(self, host: Host, directory: Path) -> None:
        self.host = host
        self.seen = directory / "seen"
        self.script = directory / "hook"
        # All programs by their paths: there is no environment, not even PATH.
        self.script.write_text(
            f"""#!/bin/sh
state=$(/bin/cat)
pid=${{state#*'"pid": '}} pid=${{pid%%,*}}
theirs=null
[ "$pid" = 0 ] || theirs="\\"$(/usr/bin/readlink "/proc/$pid/ns/net")\\""
[ -e {host.root}/c ] && there=true || there=false
env=$(/usr/bin/tr '\\0' ' ' < /proc/$$/environ)
printf '{{"args": "%s", "state": %s, "cwd": "%s", "ours": "%s", "theirs": %s, "there": %s, "env": "%s"}}\\n' \
 "$0 $*" "$state" "$PWD" "$(/usr/bin/readlink /proc/self/ns/net)" "$theirs" "$there" "$env" >> {self.seen}
[ $# = 0 ] || eval "$1"
"""
        )
        self.script.chmod(0o755)

    def use(self, version: str = "1.2.0", **kinds: list[dict[str, Any]]) -> None:
        self.host.config |= {"hooks": kinds, "ociVersion": version}
        self.host.write_config()

    def one(self, command: str = "", **more: Any) -> dict[str, Any]:
        """A hook that runs a command of the shell after it has told what it sees."""
        return {"path": str(self.script), "args": [str(self.script), command], **more}

    def of_a_guest_that_does_not_boot(self) -> None:
        """Its process never runs, so `start` gives the wait for it up, and here soon."""
        self.host.supervise_through(patch="from runx.exec.supervisor import requests; requests.START_LIMIT_S = 0.2")

    def told(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.seen.read_text().splitlines()] if self.seen.exists() else []

    def fails(self, *words: str) -> str:
        """The error of a command that fails."""
        result = self.host.runx(*words)
        assert result.returncode == 1
        assert result.stderr.removeprefix("runx: ").splitlines()[0] in self.host.last_error()
        return self.host.last_error()

    def create_fails(self) -> str:
        return self.fails("create", "--bundle", str(self.host.bundle), "c")


@pytest.fixture
def hooks(host: Host, tmp_path: Path) -> Hooks:
    return Hooks(host, tmp_path)


def test_a_life(host: Host, hooks: Hooks) -> None:
    hooks.of_a_guest_that_does_not_boot()
    hooks.use(**{kind: [hooks.one(f": {kind} {number}") for number in (1, 2)] for kind in KINDS})
    pid = host.create()
    told = hooks.told()
    assert [entry["args"].split(" : ")[1] for entry in told] == [f"{kind} {number}" for kind in ON_CREATE for number in (1, 2)]
    for entry in told:
        assert entry["state"] == {
            "ociVersion": "1.2.0",
            "id": "c",
            "status": "creating",
            "pid": pid,
            "bundle": str(host.bundle),
            "annotations": {"org.example.key": 'a "value"'},
        }
        assert entry["theirs"] == os.readlink(f"/proc/{pid}/ns/net") != OURS
        assert entry["ours"] == (entry["theirs"] if "createContainer" in entry["args"] else OURS)
        assert entry["cwd"] == str(host.bundle)
    assert host.state()["status"] == "created"

    assert host.runx("start", "c").returncode == 0
    assert len(hooks.told()) == 8
    for entry in hooks.told()[6:]:
        assert (entry["state"]["status"], entry["state"]["pid"], entry["ours"]) == ("running", pid, OURS)
        assert "poststart" in entry["args"]

    assert host.runx("kill", "c", "KILL").returncode == 0
    host.await_status("stopped")
    assert len(hooks.told()) == 8
    assert host.runx("delete", "c").returncode == 0
    assert len(hooks.told()) == 10
    for entry in hooks.told()[8:]:
        assert (entry["state"]["status"], entry["state"]["pid"], entry["there"]) == ("stopped", 0, False)
        assert "poststop" in entry["args"]
    host.nothing_left()


def test_the_environment(host: Host, hooks: Hooks) -> None:
    hooks.use(prestart=[hooks.one(env=["A=b=c", "E="])], createRuntime=[{"path": str(hooks.script)}])
    host.create()
    first, second = hooks.told()
    assert first["env"].split() == ["A=b=c", "E="]
    assert "XENSTORED_PATH=" in second["env"]  # of runx, as runc does without `env`
    assert second["args"].strip() == str(hooks.script)  # the path, without args


@pytest.mark.parametrize("kind", ON_CREATE)
def test_a_failure_during_create(host: Host, hooks: Hooks, kind: str) -> None:
    poststop = [hooks.one(": poststop")]
    hooks.use(**{kind: [hooks.one("echo out; echo err >&2; exit 3"), hooks.one(": never")], "poststop": poststop})
    error = hooks.create_fails()
    assert error == f"hooks.{kind}[0] ({hooks.script}) failed with exit status 3: out / err"
    first, last = hooks.told()
    assert (last["state"]["status"], "poststop" in last["args"], last["there"]) == ("stopped", True, False)
    assert not Path(f"/proc/{first['state']['pid']}").exists()
    host.nothing_left()


def test_a_time_limit(host: Host, hooks: Hooks, tmp_path: Path) -> None:
    """The hook is killed with all that it started."""
    hooks.use(createRuntime=[hooks.one(f"/bin/sleep 1000 & echo $! > {tmp_path}/child; echo waiting; wait", timeout=1)])
    began = time.monotonic()
    assert hooks.create_fails() == f"hooks.createRuntime[0] ({hooks.script}) did not end within 1 s: waiting"
    assert time.monotonic() - began >= 1
    child = Path("/proc", (tmp_path / "child").read_text().strip(), "stat")
    assert not child.exists() or child.read_text().split()[2] == "Z"
    host.nothing_left()


@pytest.mark.parametrize("timeout", [2592000, 2**63 - 1])
def test_a_time_limit_beyond_what_the_kernel_waits(host: Host, hooks: Hooks, timeout: int) -> None:
    """poll(2) takes 24 days. Engines pass numbers of 64 bits."""
    hooks.use(createRuntime=[hooks.one("true", timeout=timeout)], poststop=[hooks.one("true", timeout=timeout)])
    host.create()
    result = host.runx("delete", "c")
    assert (result.returncode, result.stderr) == (0, "")
    host.nothing_left()


def test_what_cannot_be_executed(host: Host, hooks: Hooks) -> None:
    for path, reason in (("/no/such/hook", "no such file or directory"), (str(host.bundle), "permission denied")):
        hooks.use(prestart=[{"path": path}])
        assert hooks.create_fails() == f"hooks.prestart[0] ({path}): cannot be executed: {reason}"
    host.nothing_left()


def test_a_hook_that_a_signal_ends(host: Host, hooks: Hooks) -> None:
    hooks.use(prestart=[hooks.one("kill -TERM $$")])
    assert hooks.create_fails() == f"hooks.prestart[0] ({hooks.script}) was ended by signal 15"
    host.nothing_left()


def test_signals_that_python_ignores_are_as_usual(host: Host, hooks: Hooks) -> None:
    hooks.use(prestart=[hooks.one("kill -PIPE $$")])
    assert "ended by signal 13" in hooks.create_fails()


def test_a_hook_reads_nothing(host: Host, hooks: Hooks) -> None:
    host.config["annotations"] = {"long": "x" * 300_000}
    hooks.use(prestart=[{"path": "/bin/true"}])
    host.create()


def test_poststart_before_and_since_version_1_3(host: Host, hooks: Hooks) -> None:
    hooks.of_a_guest_that_does_not_boot()
    both = [hooks.one("echo bad; exit 4"), hooks.one()]
    hooks.use(version="1.2.1", poststart=both)
    host.create()
    result = host.runx("start", "c")
    words = f"hooks.poststart[0] ({hooks.script}) failed with exit status 4: bad"
    assert (result.returncode, result.stderr) == (0, f"runx: warning: {words}\n")
    last = json.loads(host.log.read_text().splitlines()[-1])
    assert (last["level"], last["msg"]) == ("warning", words)
    assert len(hooks.told()) == 2
    assert host.state()["status"] == "running"
    assert host.runx("delete", "--force", "c").returncode == 0

    hooks.seen.unlink()
    hooks.use(version="1.3.0", poststart=both, poststop=[hooks.one(": poststop")])
    host.create()
    assert hooks.fails("start", "c") == words
    assert ["poststop" in entry["args"] for entry in hooks.told()] == [False, True]
    host.nothing_left()


def test_a_failure_after_delete_is_a_warning(host: Host, hooks: Hooks) -> None:
    hooks.use(poststop=[hooks.one("exit 5"), {"path": "/no/such/hook"}, hooks.one()])
    host.create()
    (host.bundle / "config.json").unlink()
    (host.bundle / "pid").unlink()
    result = host.runx("delete", "--force", "c")
    assert result.returncode == 0
    assert "warning: hooks.poststop[0]" in result.stderr and "exit status 5" in result.stderr
    assert "warning: hooks.poststop[1] (/no/such/hook): cannot be executed" in result.stderr
    assert len(hooks.told()) == 2
    host.nothing_left()


def test_a_bundle_that_has_gone(host: Host, hooks: Hooks) -> None:
    hooks.use(poststop=[hooks.one()])
    host.create()
    host.bundle.rename(host.bundle.with_name("elsewhere"))
    assert host.runx("delete", "--force", "c").returncode == 0
    assert hooks.told()[0]["cwd"] == "/"


def test_no_poststop_without_a_domain(host: Host, hooks: Hooks) -> None:
    hooks.use(prestart=[hooks.one()], poststop=[hooks.one()])
    host.xen.fault("create", "no")
    assert "xl create failed" in hooks.create_fails()
    assert hooks.told() == []
    host.nothing_left()


def test_run(host: Host, hooks: Hooks) -> None:
    hooks.of_a_guest_that_does_not_boot()
    # The one that is told of the start ends the container.
    kinds = {kind: [hooks.one()] for kind in KINDS} | {
        "poststart": [hooks.one(f"PATH=/bin {host.xen.directory}/bin/xl destroy 1")]
    }
    hooks.use("1.3.0", **kinds)
    assert host.runx("run", "--bundle", str(host.bundle), "c").returncode == 137
    assert len(hooks.told()) == 5
    host.nothing_left()


def test_create_is_killed_while_a_hook_runs(host: Host, hooks: Hooks, tmp_path: Path) -> None:
    """The supervisor sees it, and takes the domain away."""
    os.mkfifo(tmp_path / "fifo")
    hooks.use(prestart=[hooks.one(f"echo $$ > {tmp_path}/fifo; exec /bin/sleep 1000")])
    patch = "from runx.exec.commands import start; start.CREATION_LIMIT_S = 0.2; from runx.cli.main import"
    host.program = host.program.replace("from runx.cli.main import", patch)
    argv = host.argv("create", "--bundle", str(host.bundle), "c")
    create = subprocess.Popen(argv, env=host.xen.environment(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    hook = int((tmp_path / "fifo").read_text())
    try:
        assert host.state()["status"] == "creating"
        assert "cannot start a container in the creating state" in host.runx("start", "c").stderr
        assert "  hint: `create` is still at work" in host.runx("start", "c").stderr
        supervisor = os.pidfd_open(hooks.told()[0]["state"]["pid"])
        create.kill()
        create.wait()
        await_end(supervisor)
        assert host.xen.domains() == {}
        assert host.state()["status"] == "stopped"
        assert host.runx("delete", "c").returncode == 0
        host.nothing_left()
    finally:
        os.kill(hook, signal.SIGKILL)


def create_that_waits_for_us(host: Host, hooks: Hooks, directory: Path, then: str) -> "tuple[subprocess.Popen[str], Path]":
    """A `create` whose hook runs, and the fifo that is to be read for the hook to go on."""
    begun, finish = directory / "begun", directory / "finish"
    for fifo in (begun, finish):
        os.mkfifo(fifo)
    hooks.use(prestart=[hooks.one(f"echo > {begun}; echo > {finish}{then}")])
    create = host.popen("create", "--bundle", str(host.bundle), "c")
    begun.read_text()
    return create, finish


def test_start_waits_for_create(host: Host, hooks: Hooks, tmp_path: Path) -> None:
    """Some callers start a container as soon as `state` knows it."""
    create, finish = create_that_waits_for_us(host, hooks, tmp_path, "")
    assert host.state()["status"] == "creating"
    start = host.popen("start", "c")
    with pytest.raises(subprocess.TimeoutExpired):
        start.wait(0.5)
    finish.read_text()
    assert (create.wait(60), start.wait(60)) == (0, 0)
    assert host.state()["status"] == "running"
    assert host.runx("delete", "--force", "c").returncode == 0


def test_start_of_what_create_could_not_make(host: Host, hooks: Hooks, tmp_path: Path) -> None:
    create, finish = create_that_waits_for_us(host, hooks, tmp_path, "; exit 1")
    start = host.popen("start", "c")
    finish.read_text()
    assert (create.wait(60), start.wait(60)) == (1, 1)
    assert start.stderr is not None
    assert start.stderr.read().startswith("runx: ")


def test_a_container_is_destroyed_while_its_hooks_run(host: Host, hooks: Hooks) -> None:
    hooks.use(prestart=[hooks.one(f"{host.xen.directory}/bin/xl destroy 1")])
    assert hooks.create_fails() == "the container was destroyed while its hooks ran"
    host.nothing_left()


def await_end(pidfd: int) -> None:
    import select

    poller = select.poll()
    poller.register(pidfd, select.POLLIN)
    assert poller.poll(60_000)


# The network namespace.


def test_the_network_namespace_goes_with_the_supervisor(host: Host) -> None:
    pid = host.create()
    theirs = os.readlink(f"/proc/{pid}/ns/net")
    assert theirs != OURS
    assert host.runx("delete", "--force", "c").returncode == 0
    holders = [link for process in Path("/proc").glob("[0-9]*") if (link := network_of(process)) == theirs]
    assert holders == []


def network_of(process: Path) -> str:
    try:
        return os.readlink(process / "ns/net")
    except OSError:
        return ""


def test_xl_is_in_the_hosts_network(host: Host) -> None:
    """Its scripts attach interfaces to the host's bridges, and take them away."""
    told = host.xen.socket_path.parent / "networks"  # xenstored's directory: there is no other to which a supervisor can write
    xl = host.xen.directory / "bin" / "xl"
    lines = xl.read_text().splitlines(keepends=True)
    lines.insert(1, f'echo "$1 $(readlink /proc/self/ns/net)" >> {told}\n')
    xl.write_text("".join(lines))
    host.create()
    assert host.runx("start", "c").returncode == 0
    host.xen.shut_down(1)  # the supervisor destroys it
    host.await_status("stopped")
    networks = dict(line.split() for line in told.read_text().splitlines())
    assert networks["create"] == networks["destroy"] == OURS


def test_an_interface_that_cannot_be_attached(host: Host, hooks: Hooks) -> None:
    """The container stays as it was, for the engine to delete."""
    link = "/sbin/ip link add eth7 type veth peer name eth8"
    hooks.use(createContainer=[{"path": "/bin/sh", "args": ["sh", "-c", link]}])
    (host.xen.directory / "bin/tc").symlink_to("/sbin/tc")
    host.xen.fault("network-attach", "no more devices")
    host.create()
    words = "xl network-attach failed with exit status 3: no more devices (xl's logs are in /var/log/xen/)"
    assert hooks.fails("start", "c") == words
    assert host.state()["status"] == "created"
    assert host.runx("delete", "--force", "c").returncode == 0
    host.nothing_left()


def test_a_hook_that_does_not_end_when_it_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process in a file system that hangs is such a one. It must not keep the engine waiting for ever."""
    pids: list[int] = []
    monkeypatch.setattr("os.killpg", lambda pid, _: pids.append(pid))
    monkeypatch.setattr("runx.exec.spawn.KILLED_LIMIT_S", 0.1)
    fields = ["hooks.prestart[0]", "0.1", "ends", "/bin/sleep", "2", "sleep", "60", "0"]
    hook = Hook(str(tmp_path).encode(), b"prestart", (field.encode() for field in fields))
    begin = time.monotonic()
    try:
        with pytest.raises(RunxError, match=r"did not end within 0\.1 s"):
            run_all([hook], "{}", Log("", False))
        assert time.monotonic() - begin < 30
    finally:
        os.kill(pids[0], signal.SIGKILL)
        os.waitpid(pids[0], 0)
