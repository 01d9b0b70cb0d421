"""The sandbox of a pod: runc's commands without a virtual machine, and what it is for the containers of the pod."""

import ctypes
import json
import os
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from commandhost import Host
from compiler_cases import TextFacts
from runx.compiler.diagnostics import CompileError
from runx.compiler.host.facts import SandboxFacts
from runx.compiler.host.host_facts import HostFacts
from runx.compiler.model.plan import VmPlan
from runx.compiler.pipeline import Inputs, compile
from runx.exec.supervisor import control

TYPE, SANDBOX_ID = "io.kubernetes.cri.container-type", "io.kubernetes.cri.sandbox-id"
CRIO_TYPE, CRIO_SANDBOX_ID = "io.kubernetes.cri-o.ContainerType", "io.kubernetes.cri-o.SandboxID"


@pytest.fixture
def sandbox(host: Host) -> Host:
    """A machine whose bundle is a sandbox. Its program would be seen, if it ran: there is none."""
    host.config["annotations"] = {TYPE: "sandbox", SANDBOX_ID: "c"}
    host.config["process"] |= {"args": ["/pause"]}  # type: ignore[operator]
    host.write_config()
    return host


@pytest.fixture
def subreaper() -> Iterator[None]:
    """We are what engines are: the supervisor becomes our child."""
    libc = ctypes.CDLL(None)
    assert libc.prctl(36, 1, 0, 0, 0) == 0  # PR_SET_CHILD_SUBREAPER
    yield
    libc.prctl(36, 0, 0, 0, 0)


def cpu_ticks(pid: int) -> int:
    """Processor time (proc_pid_stat(5), utime and stime)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def exit_status(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


# -- the commands -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("word", ["TERM", "INT"])
def test_a_life(sandbox: Host, subreaper: None, word: str) -> None:
    pid = sandbox.create()
    assert sandbox.state()["status"] == "created"
    assert sandbox.state()["pid"] == pid
    assert sandbox.runx("start", "c").returncode == 0
    assert sandbox.state()["status"] == "running"
    assert "running" in sandbox.runx("start", "c").stderr
    assert "that is not stopped: running" in sandbox.runx("delete", "c").stderr
    (listed,) = json.loads(sandbox.runx("list", "--format", "json").stdout)
    assert (listed["id"], listed["pid"], listed["rootfs"]) == ("c", pid, str(sandbox.bundle / "rootfs"))
    assert json.loads(sandbox.runx("ps", "--format", "json", "c").stdout) == [pid]
    for ignored in ("HUP", "USR1", "CHLD"):
        assert sandbox.runx("kill", "c", ignored).returncode == 0
    assert sandbox.state()["status"] == "running"
    assert sandbox.runx("kill", "c", word).returncode == 0
    assert exit_status(pid) == 0, "as `pause` ends"
    assert sandbox.state()["status"] == "stopped"
    assert sandbox.runx("kill", "c", "TERM").stderr == "runx: container not running\n"
    assert sandbox.runx("delete", "c").returncode == 0
    assert sandbox.xen.calls() == []
    sandbox.nothing_left()


def test_needs_no_xen(sandbox: Host, subreaper: None) -> None:
    """Neither its tools nor its daemons."""
    environment = {"PATH": "/usr/bin:/bin", "XENSTORED_PATH": "/nonexistent"}
    argv = sandbox.argv("create", "--bundle", str(sandbox.bundle), "--pid-file", str(sandbox.bundle / "pid"), "c")
    null = subprocess.DEVNULL
    subprocess.run(argv, env=environment, stdin=null, stdout=null, stderr=null, timeout=60, check=True)
    pid = int((sandbox.bundle / "pid").read_text())
    for words, status in ((["start", "c"], 0), (["kill", "c", "KILL"], 0)):
        assert subprocess.run(sandbox.argv(*words), env=environment, timeout=60).returncode == status
    assert exit_status(pid) == -signal.SIGKILL
    subprocess.run(sandbox.argv("delete", "c"), env=environment, timeout=60, check=True)
    sandbox.nothing_left()


@pytest.mark.parametrize("started", [False, True])
def test_sigkill_and_delete(sandbox: Host, subreaper: None, started: bool) -> None:
    pid = sandbox.create()
    if started:
        assert sandbox.runx("start", "c").returncode == 0
    assert sandbox.runx("kill", "c", "KILL").returncode == 0
    assert exit_status(pid) == -signal.SIGKILL
    assert sandbox.state()["status"] == "stopped"
    assert sandbox.runx("kill", "c", "KILL").stderr == "runx: container not running\n"
    assert sandbox.runx("kill", "--all", "c", "KILL").returncode == 0
    assert sandbox.runx("delete", "c").returncode == 0
    sandbox.nothing_left()


@pytest.mark.parametrize(("before", "words"), [((), ()), (("start",), ("--force",)), (("start", "pause"), ("--force",))])
def test_delete_of_one_that_lives(sandbox: Host, before: tuple[str, ...], words: tuple[str, ...]) -> None:
    sandbox.create()
    for command in before:
        assert sandbox.runx(command, "c").returncode == 0
    assert sandbox.runx("delete", *words, "c").returncode == 0
    sandbox.await_no_process()
    sandbox.nothing_left()


def test_a_signal_ends_one_that_was_never_started(sandbox: Host, subreaper: None) -> None:
    pid = sandbox.create()
    assert sandbox.runx("kill", "c", "TERM").returncode == 0
    assert exit_status(pid) == 143


def test_signals_wait_for_a_paused_one(sandbox: Host, subreaper: None) -> None:
    pid = sandbox.create()
    for words in (["start", "c"], ["pause", "c"], ["kill", "c", "TERM"]):
        assert sandbox.runx(*words).returncode == 0
    assert sandbox.state()["status"] == "paused"
    assert sandbox.runx("pause", "c").returncode == 1
    assert sandbox.runx("resume", "c").returncode == 0
    assert exit_status(pid) == 0


def test_a_signal_to_its_process_is_one_to_it(sandbox: Host, subreaper: None) -> None:
    """Engines know the pid, and containerd's shim signals it."""
    pid = sandbox.create()
    assert sandbox.runx("start", "c").returncode == 0
    os.kill(pid, signal.SIGTERM)
    assert exit_status(pid) == 0


def test_what_it_uses(sandbox: Host) -> None:
    pid = sandbox.create()
    limit = time.monotonic() + 60
    while not (before := cpu_ticks(pid)):  # it does little by itself
        assert time.monotonic() < limit
        control.request(str(sandbox.root / "c"), f"signal {signal.SIGCHLD:d}")
    result = sandbox.runx("events", "--stats", "c")
    assert result.returncode == 0, result.stderr
    data = json.loads(result.stdout)["data"]
    kib = dict(line.split(":") for line in Path(f"/proc/{pid}/status").read_text().splitlines())["VmRSS"].split()[0]
    assert abs(data["memory"]["usage"]["usage"] - int(kib) * 1024) < 1 << 20
    assert data["memory"]["usage"]["limit"] == 2**64 - 1
    ticks = data["cpu"]["usage"]["total"] * os.sysconf("SC_CLK_TCK") / 1e9
    assert before <= ticks <= cpu_ticks(pid)


def test_what_it_has_not(sandbox: Host) -> None:
    sandbox.create()
    for words in (["update", "--memory", "128m", "c"], ["console", "c"]):
        result = sandbox.runx(*words)
        assert (result.returncode, "the sandbox of a pod" in result.stderr) == (1, True), result.stderr


def test_a_terminal_that_nobody_uses(sandbox: Host, tmp_path: Path) -> None:
    """The engine gets it, as of any container; that it closes its end is no signal."""
    sandbox.config["process"] |= {"terminal": True}  # type: ignore[operator]
    sandbox.write_config()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "console"))
        listener.listen()
        words = ["create", "--bundle", str(sandbox.bundle), "--console-socket", str(tmp_path / "console"), "c"]
        assert sandbox.runx(*words).returncode == 0
        connection, _ = listener.accept()
        with connection:
            _, (master,), _, _ = socket.recv_fds(connection, 64, 4)
    assert os.isatty(master)
    assert sandbox.runx("start", "c").returncode == 0
    os.close(master)
    assert sandbox.runx("kill", "c", "USR1").returncode == 0
    assert sandbox.state()["status"] == "running"


def test_hooks(sandbox: Host, tmp_path: Path) -> None:
    """They are the engine's, and find its pid."""
    script = 'read -r state; echo "$0 $state" >> "$1"'
    hooks = {
        kind: [{"path": "/bin/sh", "args": ["sh", "-c", script, kind, str(tmp_path / "told")]}]
        for kind in ("prestart", "createContainer", "startContainer", "poststart", "poststop")
    }
    sandbox.config["hooks"] = hooks
    sandbox.write_config()
    pid = sandbox.create()
    assert sandbox.runx("start", "c").returncode == 0
    assert sandbox.runx("delete", "--force", "c").returncode == 0
    told = [line.split(" ", 1) for line in (tmp_path / "told").read_text().splitlines()]
    assert [(kind, json.loads(state)["pid"]) for kind, state in told] == [
        ("prestart", pid), ("createContainer", pid), ("poststart", pid), ("poststop", 0),
    ]  # fmt: skip


def test_a_hook_that_fails_leaves_nothing(sandbox: Host) -> None:
    sandbox.config["hooks"] = {"prestart": [{"path": "/bin/false"}]}
    sandbox.write_config()
    result = sandbox.runx("create", "--bundle", str(sandbox.bundle), "c")
    assert result.returncode == 1 and "/bin/false" in result.stderr
    sandbox.await_no_process()
    sandbox.nothing_left()


# -- the plan --------------------------------------------------------------------------------------------------------------


def plan(
    facts: TextFacts | None = None,
    namespaces: tuple[dict[str, str], ...] = (),
    args: tuple[str, ...] = ("/bin/sh",),
    **annotations: str,
) -> VmPlan:
    config = {
        "ociVersion": "1.2.0",
        "process": {"args": args, "cwd": "/"},
        "root": {"path": "rootfs"},
        "annotations": annotations,
        "linux": {"namespaces": [{"type": "network"}, *namespaces]},
    }
    facts = facts or TextFacts("")
    facts.raw = json.dumps(config).encode()
    return compile(Inputs("/bundle", container_id="c", state_root="/run/runx", assets="/assets", facts=facts)).plan


class PodFacts(TextFacts):
    """A host on which any directory is that of a sandbox."""

    def __init__(self) -> None:
        super().__init__("")
        self.asked: list[str] = []

    def sandbox(self, directory: str) -> SandboxFacts:
        self.asked.append(directory)
        return SandboxFacts("web", "example", (("kernel/msgmax", "1"),))


@pytest.mark.parametrize(("type_name", "id_name"), [(TYPE, SANDBOX_ID), (CRIO_TYPE, CRIO_SANDBOX_ID)])
def test_engines_annotations(type_name: str, id_name: str) -> None:
    assert plan(**{type_name: "sandbox"}).domain is None
    facts = PodFacts()
    of_the_pod = plan(facts, **{type_name: "container", id_name: "abc123"})
    assert set(facts.asked) == {"/run/runx/abc123"}
    assert (of_the_pod.guest.hostname, of_the_pod.guest.domainname) == ("web", "example")
    assert of_the_pod.guest.sysctl == (("kernel/msgmax", "1"),)
    assert plan(**{type_name: "something"}).pod is None


def test_podmans_sandboxes_have_no_annotation() -> None:
    """What runs in them tells: the program of podman's own image for them, which does nothing."""
    podmans = {"io.container.manager": "libpod"}
    made = plan(args=("/catatonit", "-P"), **podmans)
    assert made.domain is None
    assert made.pod and made.pod.origin == "process.args"
    assert plan(args=("/catatonit", "-P")).domain
    assert plan(args=("/catatonit", "--", "/bin/sh"), **podmans).domain


def test_podman_5_gives_a_container_of_a_pod_only_the_sandboxs_id() -> None:
    """Seen with podman 5.4 and 5.8; 4.3 has the part as well."""
    podmans = {"io.container.manager": "libpod", CRIO_SANDBOX_ID: "abc123"}
    facts = PodFacts()
    made = plan(facts, ({"type": "uts", "path": "/proc/7/ns/uts"},), **podmans)
    assert made.pod and (made.pod.part, made.pod.origin) == ("container", 'annotations["io.kubernetes.cri-o.SandboxID"]')
    assert set(facts.asked) == {"/run/runx/abc123"}
    assert plan(PodFacts(), args=("/catatonit", "-P"), **podmans).domain is None
    assert plan(**{CRIO_SANDBOX_ID: "abc123"}).pod is None, "of no engine that is known to do so"


@pytest.mark.parametrize("sandbox_id", ["", "..", "../c", "a/b", "a.b", "\n"])
def test_an_id_is_no_path(sandbox_id: str) -> None:
    """An image may bring annotations."""
    facts = PodFacts()
    assert plan(facts, **{TYPE: "container", SANDBOX_ID: sandbox_id}).guest.hostname == "c"
    assert facts.asked == []


@pytest.mark.parametrize("kind", ["ipc", "uts", "pid", "user"])
def test_namespaces_of_the_pod(kind: str) -> None:
    joined = ({"type": kind, "path": f"/proc/7/ns/{kind}"},)
    ignored = {entry.path: entry.reason for entry in plan(None, joined, **{TYPE: "container"}).ignored}
    assert "virtual machine" in ignored["linux.namespaces[1]"]
    with pytest.raises(CompileError, match=f"cannot join the {kind} namespace"):
        plan(None, joined)


def test_namespaces_that_crio_has_pinned() -> None:
    """Without a sandbox, and with names of its own (drop_infra_ctr)."""
    pinned = tuple({"type": kind, "path": f"/var/run/{kind}ns/0b5c6d5e"} for kind in ("ipc", "uts"))
    made = plan(None, pinned, **{CRIO_TYPE: "container", CRIO_SANDBOX_ID: "1" * 64})
    assert {"linux.namespaces[1]", "linux.namespaces[2]"} <= {entry.path for entry in made.ignored}
    assert made.takes_interfaces


def test_a_mount_namespace_cannot_be_joined_in_a_pod_either() -> None:
    with pytest.raises(CompileError, match="cannot join the mount namespace"):
        plan(None, ({"type": "mount", "path": "/proc/7/ns/mnt"},), **{TYPE: "container"})


def test_who_shares_the_pods_processes_is_not_the_first_one() -> None:
    assert plan(None, ({"type": "pid"},), **{TYPE: "container"}).process.pid_namespace
    assert not plan(None, ({"type": "pid", "path": "/proc/7/ns/pid"},), **{TYPE: "container"}).process.pid_namespace


def test_annotations_for_runx_are_for_the_containers() -> None:
    made = plan(**{TYPE: "sandbox", "org.runx.kernel": "/boot/vmlinuz"})
    assert 'annotations["org.runx.kernel"]' in {entry.path for entry in made.ignored}


def test_a_carrier_that_is_none_is_an_error_for_a_sandbox_as_well(sandbox: Host) -> None:
    result = sandbox.runx("plan", "--root-carrier", "floppy", str(sandbox.bundle))
    assert (result.returncode, result.stderr.partition("\n")[0]) == (
        1, 'runx: --root-carrier: "floppy" is none of auto, disk, 9p, ram [RX210]',
    )  # fmt: skip


def test_the_network_of_the_host_is_refused_for_a_pod_as_well(sandbox: Host) -> None:
    linux: Any = sandbox.config["linux"]
    linux["namespaces"] = [{"type": "pid"}]
    sandbox.write_config()
    result = sandbox.runx("create", "--bundle", str(sandbox.bundle), "c")
    assert (result.returncode, "the network of the host" in result.stderr) == (1, True)


def test_a_bridge_for_the_hosts_network_makes_no_machine_of_it() -> None:
    """runx.toml's network.host, for a pod with hostNetwork: the bridge is for the pod's containers."""

    class Facts(TextFacts):
        def host_config(self) -> Any:
            return "runx.toml", b'[network]\nhost = "br0"\n'

    pod: dict[str, Any] = {"annotations": {TYPE: "sandbox"}, "linux": {"namespaces": [{"type": "pid"}]}}
    config = {"ociVersion": "1.2.0", "process": {"args": ["/pause"], "cwd": "/"}, "root": {"path": "rootfs"}, **pod}
    compiled = compile(Inputs("/bundle", container_id="c", state_root="/s", assets="/assets", facts=Facts(json.dumps(config))))
    assert (compiled.plan.domain, compiled.plan.takes_interfaces) == (None, False)


def test_what_is_kept_of_a_sandbox(sandbox: Host) -> None:
    sandbox.config |= {"hostname": "web"}
    sandbox.config["linux"] |= {"sysctl": {"net.ipv4.ip_forward": "1"}}  # type: ignore[operator]
    sandbox.write_config()
    sandbox.create()
    facts = HostFacts()
    assert facts.sandbox(str(sandbox.root / "c")) == SandboxFacts("web", None, (("net/ipv4/ip_forward", "1"),))
    assert facts.sandbox(str(sandbox.root / "none")) is None
    sandbox.config["annotations"] = {}
    sandbox.write_config()
    (sandbox.bundle / "rootfs/pause").touch(0o755)
    sandbox.create("d")
    assert facts.sandbox(str(sandbox.root / "d")) is None, "a container's own are not for others"
