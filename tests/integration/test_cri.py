"""Pods of Kubernetes: containerd's CRI plugin, called as a kubelet calls it, runs their containers with runx."""

import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from containers import IMAGE, LIMIT_S, RUNX
from cri import CONTAINER, EXITED, NOT_READY, POD, READY, RUNNING, CallError, Client, pairs
from engines import start_cri
from runxtools.double.host import Double

STATES = "/run/containerd/runc/k8s.io"
SERVE = "echo served by $(hostname) > /tmp/page; httpd -p 80 -h /tmp; echo ready; while :; do sleep 0.1; done"
WAIT = "echo ready; while :; do sleep 0.1; done"


@pytest.fixture(scope="module")
def host() -> Iterator[Double]:
    """A double of its own: another's containerd has no CRI plugin."""
    with Double() as double:
        yield double


@pytest.fixture(scope="module")
def client(host: Double) -> Iterator[Client]:
    client = Client(start_cri(host))
    yield client
    client.close()


class Pod:
    """A sandbox that is ready, and what a kubelet does with it."""

    def __init__(self, client: Client, directory: Path, pid: int = CONTAINER, **settings: Any) -> None:
        self.client = client
        self.logs = directory / "logs"
        self.logs.mkdir()
        self.namespaces = {"namespace_options": {"pid": pid}}
        self.group = f"/kubepods/{uuid.uuid4().hex[:12]}"
        linux = {"cgroup_parent": self.group, "security_context": self.namespaces, **settings.pop("linux", {})}
        self.config = {
            "metadata": {"name": "web", "uid": self.group[-12:], "namespace": "default"},
            "hostname": "web-0",
            "log_directory": str(self.logs),
            "linux": linux,
            **settings,
        }
        self.id: str = client.call("RunPodSandbox", config=self.config, runtime_handler="runx").pod_sandbox_id

    def status(self) -> Any:
        return self.client.call("PodSandboxStatus", pod_sandbox_id=self.id).status

    def create(self, name: str, script: str, attempt: int = 0, **settings: Any) -> str:
        (self.logs / name).mkdir(exist_ok=True)
        config = {
            "metadata": {"name": name, "attempt": attempt},
            "image": {"image": IMAGE},
            "command": ["/bin/sh", "-c", script],
            "log_path": f"{name}/{attempt}.log",
            "linux": {"security_context": self.namespaces},
            **settings,
        }
        container: str = self.client.call(
            "CreateContainer", pod_sandbox_id=self.id, config=config, sandbox_config=self.config
        ).container_id
        return container

    def run(self, name: str, script: str, attempt: int = 0, **settings: Any) -> str:
        """Create and start a container; with a script that says `ready`, return when it has."""
        container = self.create(name, script, attempt, **settings)
        self.client.call("StartContainer", container_id=container)
        if "echo ready" in script:
            _until(lambda: "ready\n" in self.log(name, attempt))
        return container

    def end(self, container: str) -> Any:
        """Its status when it has ended."""
        return _until(lambda: (status := self.container(container)).state == EXITED and status)

    def container(self, container: str) -> Any:
        return self.client.call("ContainerStatus", container_id=container).status

    def log(self, name: str, attempt: int = 0, stream: str = "stdout") -> str:
        """What a container has written, from its log as kubelets read them: time, stream, F for a full line, the line."""
        file = self.logs / name / f"{attempt}.log"
        text = file.read_bytes().decode() if file.exists() else ""
        lines = [line.split(" ", 3) for line in text.split("\n")[:-1]]
        assert all(words[2] == "F" for words in lines)
        return "".join(f"{words[3]}\n" for words in lines if words[1] == stream)

    def states(self) -> dict[str, int]:
        """The state of each container of the pod, by name."""
        listed = self.client.call("ListContainers").containers
        return {one.metadata.name: one.state for one in listed if one.pod_sandbox_id == self.id}

    def remove(self) -> None:
        self.client.call("StopPodSandbox", pod_sandbox_id=self.id)
        self.client.call("RemovePodSandbox", pod_sandbox_id=self.id)


def _until(condition: Any) -> Any:
    limit = time.monotonic() + LIMIT_S
    while not (value := condition()):
        assert time.monotonic() < limit
        time.sleep(0.05)
    return value


@pytest.fixture
def nothing_is_left(host: Double, client: Client) -> Iterator[None]:
    """Of all pods of a test."""
    yield
    for sandbox in client.call("ListPodSandbox").items:
        client.call("StopPodSandbox", pod_sandbox_id=sandbox.id)
        client.call("RemovePodSandbox", pod_sandbox_id=sandbox.id)

    def sh(script: str) -> str:
        return host.run(["sh", "-c", script], check=True).stdout.decode()

    assert len(sh("xl list").splitlines()) == 2, "a header and dom0"
    assert sh(f"ls -A {STATES}; ls -A /run/netns") == ""
    assert sh("cat /proc/mounts | grep sandboxes || true") == ""
    assert sh("find /sys/fs/cgroup/kubepods -mindepth 2 -type d") == ""
    assert sh("ls /sys/class/net | grep -E '^(veth|vif)' || true") == ""
    _until(lambda: not sh("ps -eo args | grep -E 'runx.exec.supervisor|containerd-shim' | grep -v grep || true"))


@pytest.fixture
def pod(client: Client, nothing_is_left: None, tmp_path: Path) -> Iterator[Pod]:
    pod = Pod(client, tmp_path)
    yield pod
    pod.remove()


def test_a_sandbox_is_no_virtual_machine(host: Double, pod: Pod) -> None:
    """Nor does anything of its image run: its one process is the supervisor, in the pod's network namespace."""
    status = pod.status()
    assert status.state == READY
    assert status.network.ip.startswith("10.88.3.")
    assert len(host.run(["xl", "list"], check=True).stdout.splitlines()) == 2, "a header and dom0"
    runx = [RUNX, "--root", STATES]
    (pid,) = host.run([*runx, "ps", "--format", "json", pod.id], check=True).stdout.decode().strip("[]\n").split(",")
    address = host.run(["nsenter", f"--net=/proc/{pid}/ns/net", "ip", "-o", "-4", "addr", "show", "eth0"], check=True).stdout
    assert status.network.ip.encode() in address
    assert pod.group in host.run(["cat", f"/proc/{pid}/cgroup"], check=True).stdout.decode()
    assert b"runx.exec.supervisor" in host.run(["cat", f"/proc/{pid}/cmdline"], check=True).stdout
    assert not host.run(["cat", f"/proc/{pid}/task/{pid}/children"], check=True).stdout


def test_containers_one_after_the_other(host: Double, client: Client, pod: Pod) -> None:
    """As a kubelet runs them: one that prepares, then one that stays and is started again when it has ended."""
    first = pod.run("init", "echo prepared; echo problems >&2; exit 0")
    assert pod.end(first).exit_code == 0
    assert (pod.log("init"), pod.log("init", stream="stderr")) == ("prepared\n", "problems\n")

    web = pod.run("web", SERVE)
    assert pod.states() == {"init": EXITED, "web": RUNNING}
    page = host.run(["busybox", "wget", "-q", "-O", "-", f"http://{pod.status().network.ip}/page"], timeout=LIMIT_S)
    assert page.stdout == b"served by web-0\n", page

    assert client.call("ContainerStats", container_id=web).stats.attributes.id == web
    assert web in [one.attributes.id for one in client.call("ListContainerStats").stats]
    assert client.call("PodSandboxStats", pod_sandbox_id=pod.id).stats.attributes.id == pod.id
    with pytest.raises(CallError, match="exec is not possible with runx"):
        client.call("ExecSync", container_id=web, cmd=["true"], timeout=60)

    client.call("StopContainer", container_id=web, timeout=0)
    assert pod.end(web).exit_code == 137
    again = pod.run("web", SERVE, attempt=1)
    page = host.run(["busybox", "wget", "-q", "-O", "-", f"http://{pod.status().network.ip}/page"], timeout=LIMIT_S)
    assert page.stdout == b"served by web-0\n", page
    client.call("RemoveContainer", container_id=web)
    assert pod.container(again).state == RUNNING


def test_a_second_container_at_once_is_refused(client: Client, pod: Pod) -> None:
    first = pod.run("web", WAIT)
    second = pod.create("sidecar", "echo must not run")
    with pytest.raises(CallError, match="one container of a pod can run at a time"):
        client.call("StartContainer", container_id=second)
    assert pod.log("sidecar") == ""
    assert pod.states() == {"web": RUNNING, "sidecar": EXITED}
    client.call("StopContainer", container_id=first, timeout=0)
    assert pod.end(pod.run("sidecar", "exit 3", attempt=1)).exit_code == 3


def test_stop(client: Client, pod: Pod) -> None:
    """SIGTERM, and SIGKILL for one that has not ended when its time is over."""
    polite = pod.run("polite", "trap 'echo stopping; exit 5' TERM; echo ready; while :; do sleep 0.1; done")
    client.call("StopContainer", container_id=polite, timeout=60)
    assert pod.end(polite).exit_code == 5
    assert pod.log("polite") == "ready\nstopping\n"
    deaf = pod.run("deaf", f"trap '' TERM; {WAIT}")
    client.call("StopContainer", container_id=deaf, timeout=1)
    assert pod.end(deaf).exit_code == 137


def test_what_the_sandbox_has_for_its_containers(client: Client, nothing_is_left: None, tmp_path: Path) -> None:
    """Names, name servers, settings of the kernel and shared memory: engines give them to the sandbox alone."""
    linux = {"sysctls": pairs(**{"net.ipv4.ip_local_port_range": "20000 20100"})}
    dns = {"servers": ["192.0.2.53"], "searches": ["example"]}
    pod = Pod(client, tmp_path, dns_config=dns, linux=linux)
    script = """
        hostname; cat /etc/hostname; echo $HOSTNAME; cat /etc/resolv.conf
        echo $(cat /proc/sys/net/ipv4/ip_local_port_range); echo shared > /dev/shm/file
        cat /dev/shm/file; stat -f -c %T /dev/shm
    """
    pod.end(pod.run("one", script))
    expected = "web-0\nweb-0\nweb-0\nsearch example\nnameserver 192.0.2.53\n20000 20100\nshared\ntmpfs\n"
    assert pod.log("one") == expected, pod.log("one", stream="stderr")


@pytest.mark.parametrize(("pid", "is_first"), [(CONTAINER, True), (POD, False)])
def test_the_pods_processes(client: Client, nothing_is_left: None, tmp_path: Path, pid: int, is_first: bool) -> None:
    """A container that shares the pod's PID namespace is not the first process of it (shareProcessNamespace)."""
    pod = Pod(client, tmp_path, pid=pid)
    assert pod.end(pod.run("one", "echo $$")).exit_code == 0, pod.log("one", stream="stderr")
    assert (int(pod.log("one")) == 1) == is_first, pod.log("one")


def test_volumes(pod: Pod, tmp_path: Path) -> None:
    """A directory, secrets that are not to be changed, and the file for last words."""
    for name in ("data", "secrets"):
        (tmp_path / name).mkdir()
    (tmp_path / "secrets/token").write_text("secret\n")
    (tmp_path / "last-words").touch()
    mounts = [
        {"container_path": "/data", "host_path": f"{tmp_path}/data"},
        {"container_path": "/var/run/secrets", "host_path": f"{tmp_path}/secrets", "readonly": True},
        {"container_path": "/dev/termination-log", "host_path": f"{tmp_path}/last-words"},
    ]
    script = """
        cp /var/run/secrets/token /data/copy; echo x > /var/run/secrets/token || echo refused; echo words > /dev/termination-log
    """
    assert pod.end(pod.run("one", script, mounts=mounts)).exit_code == 0, pod.log("one", stream="stderr")
    assert pod.log("one") == "refused\n"
    assert (tmp_path / "data/copy").read_text() == "secret\n"
    assert (tmp_path / "last-words").read_text() == "words\n"


def test_a_terminal(pod: Pod) -> None:
    assert pod.end(pod.run("one", "tty; exit 4", tty=True)).exit_code == 4
    assert pod.log("one") == "/dev/pts/0\n"


def test_limits(host: Double, client: Client, pod: Pod) -> None:
    linux = {"security_context": pod.namespaces, "resources": {"memory_limit_in_bytes": 256 << 20, "cpu_shares": 512}}
    container = pod.run("one", WAIT, linux=linux)
    before = host.run(["xl", "list"], check=True).stdout
    client.call("UpdateContainerResources", container_id=container, linux={"memory_limit_in_bytes": 128 << 20})
    memory = [int(out.splitlines()[-1].split()[2]) for out in (before, host.run(["xl", "list"], check=True).stdout)]
    assert memory[1] < memory[0]


def test_a_sandbox_that_is_killed(host: Double, client: Client, pod: Pod) -> None:
    """The pod is not ready any more, its container lives on, and all of it can be removed."""
    container = pod.run("one", WAIT)
    (pid,) = (
        host.run([RUNX, "--root", STATES, "ps", "--format", "json", pod.id], check=True).stdout.decode().strip("[]\n").split(",")
    )
    host.run(["kill", "-9", pid], check=True)
    _until(lambda: pod.status().state == NOT_READY)
    assert pod.container(container).state == RUNNING


def test_a_pod_is_stopped_with_all_in_it(client: Client, pod: Pod) -> None:
    container = pod.run("one", f"trap '' TERM; {WAIT}")
    client.call("StopPodSandbox", pod_sandbox_id=pod.id)
    assert pod.status().state == NOT_READY
    assert pod.container(container).state == EXITED
