"""Pods of Kubernetes: containerd's CRI plugin, called as by a kubelet, runs their containers with runx.

Modules of the lab and of the double import these tests; their conftest.py has the fixtures `host` and `scratch`.
"""

import io
import json
import random
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

import forward_tests
from cri import EXITED, NOT_READY, READY, RUNNING, CallError
from exec_setting import may_exec  # noqa: F401  # a fixture
from pods import ADDRESS, Cri, Pod, started, until
from runxtools.machine import Machine
from runxtools.testing.containers import LIMIT_S, RUNX

WAIT = "echo ready; while :; do sleep 0.1; done"
SERVE = f"echo served by $(hostname) > /tmp/page; httpd -p 80 -h /tmp; {WAIT}"


@pytest.fixture(scope="module")
def cri(host: Machine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cri]:
    with started(host, tmp_path_factory.mktemp("cri")) as cri:
        yield cri


@pytest.fixture
def nothing_is_left(cri: Cri) -> Iterator[None]:
    """Client of a containerd for the pods of a module."""
    yield
    cri.remove_pods()
    cri.until_nothing_is_left()


@pytest.fixture
def pod(cri: Cri, nothing_is_left: None, scratch: str) -> Pod:
    return Pod(cri, scratch)


def in_network(pod: Pod, *command: str) -> str:
    """Output of a command in the pod's network namespace."""
    enter = ["nsenter", f"--net=/proc/{pod.sandbox}/ns/net"]
    return pod.cri.host.run([*enter, *command], check=True).stdout.decode()


def test_a_sandbox_is_no_virtual_machine(host: Machine, pod: Pod) -> None:
    """No program of its image runs: its one process is the supervisor, in the pod's network namespace."""
    status = pod.status()
    assert status.state == READY
    assert status.network.ip.startswith(ADDRESS)
    assert len(host.run(["xl", "list"], check=True).stdout.splitlines()) == 2, "a header and dom0"
    assert f"inet {status.network.ip}/" in in_network(pod, "ip", "-o", "-4", "addr", "show", "eth0")
    process = f"/proc/{pod.sandbox}"
    assert pod.group in host.run(["cat", f"{process}/cgroup"], check=True).stdout.decode()
    assert b"runx.exec.supervisor" in host.run(["cat", f"{process}/cmdline"], check=True).stdout
    assert not host.run(["sh", "-c", f"cat {process}/task/*/children"], check=True).stdout


def test_containers_one_after_the_other(host: Machine, cri: Cri, pod: Pod) -> None:
    """An init container, then a container that is started again after its end, as a kubelet does."""

    def page() -> bytes:
        wget = ["busybox", "wget", "-q", "-O", "-", f"http://{pod.status().network.ip}/page"]
        return host.run(wget, check=True, timeout=LIMIT_S).stdout

    first = pod.run("init", "echo prepared; echo problems >&2; exit 0")
    assert pod.end(first).exit_code == 0
    assert (pod.log("init"), pod.log("init", stream="stderr")) == ("prepared\n", "problems\n")
    assert " ingress " not in in_network(pod, "tc", "qdisc", "show")

    web = pod.run("web", SERVE)
    assert pod.states() == {"init": EXITED, "web": RUNNING}
    assert " ingress " in in_network(pod, "tc", "qdisc", "show")
    assert page() == b"served by web-0\n"

    assert cri.call("ContainerStats", container_id=web).stats.attributes.id == web
    assert web in [one.attributes.id for one in cri.call("ListContainerStats").stats]
    assert cri.call("PodSandboxStats", pod_sandbox_id=pod.id).stats.attributes.id == pod.id
    with pytest.raises(CallError, match=r"exec is not allowed by policy\.exec"):
        cri.call("ExecSync", container_id=web, cmd=["true"], timeout=60)
    forward_tests.check_there_is_none(pod)

    pod.stop(web)
    assert pod.end(web).exit_code == 137
    again = pod.run("web", SERVE, attempt=1)
    assert page() == b"served by web-0\n"
    cri.call("RemoveContainer", container_id=web)
    assert pod.container(again).state == RUNNING


def test_a_second_container_at_once_is_refused(pod: Pod) -> None:
    first = pod.run("web", WAIT)
    second = pod.create("sidecar", "echo must not run")
    with pytest.raises(CallError, match="one container of a pod can run at a time"):
        pod.cri.call("StartContainer", container_id=second)
    assert pod.log("sidecar") == ""
    assert pod.states() == {"web": RUNNING, "sidecar": EXITED}
    pod.stop(first)
    assert pod.end(pod.run("sidecar", "exit 3", attempt=1)).exit_code == 3


def test_a_handler_whose_pods_are_machines(host: Machine, cri: Cri, nothing_is_left: None, scratch: str) -> None:
    """So a RuntimeClass chooses, and both kinds are on a node."""
    pod = Pod(cri, scratch, handler="runx-pod")
    assert len(host.run(["xl", "list"], check=True).stdout.splitlines()) == 3, "a header, dom0 and the pod"
    for name in ("one", "two"):
        pod.run(name, WAIT)
    assert pod.states() == {"one": RUNNING, "two": RUNNING}
    assert len(host.run(["xl", "list"], check=True).stdout.splitlines()) == 3


def test_a_sandbox_that_is_killed(host: Machine, pod: Pod) -> None:
    """The pod is no longer ready, its container continues, and all of it can be removed."""
    container = pod.run("one", WAIT)
    host.run(["kill", "-9", str(pod.sandbox)], check=True)
    until(lambda: pod.status().state == NOT_READY)
    assert pod.container(container).state == RUNNING
    pod.cri.remove_pods()
    pod.cri.end_shim(pod.id)


def test_a_pod_is_stopped_with_all_in_it(cri: Cri, pod: Pod) -> None:
    """The machine has nothing left of the pod before the pod is removed."""
    container = pod.run("one", f"trap '' TERM; {WAIT}")
    kinds = {line.partition(" ")[0] for line in cri.left()}
    assert kinds == {"domain", "state", "network", "link", "control", "mount", "process"}
    cri.call("StopPodSandbox", pod_sandbox_id=pod.id)
    assert pod.status().state == NOT_READY
    assert pod.container(container).state == EXITED
    cri.until_nothing_is_left()


@pytest.mark.usefixtures("may_exec")
def test_files_are_copied_by_exec(cri: Cri, pod: Pod) -> None:
    """As `kubectl cp` does it: tar's archive over the streams of an exec, in and out."""
    program = pod.put("webexec.py", "websocket_client.py")
    container = pod.run("one", WAIT)
    archive = io.BytesIO()
    content = random.Random(5).randbytes(300_000)
    with tarfile.open(fileobj=archive, mode="w") as tar:
        member = tarfile.TarInfo("put/file")
        member.size, member.mode = len(content), 0o640
        tar.addfile(member, io.BytesIO(content))

    def execute(script: str, stdin: bytes = b"") -> "subprocess.CompletedProcess[bytes]":
        streams = {"stdin": bool(stdin), "stdout": True, "stderr": True}
        url = cri.call("Exec", container_id=container, cmd=["/bin/sh", "-c", script], **streams).url
        return cri.host.run(["python3", program, url], stdin=stdin, timeout=LIMIT_S)

    size = len(archive.getvalue())
    put = execute(f"head -c {size} | tar -x -C /tmp -f - && stat -c %a:%s /tmp/put/file", archive.getvalue())
    assert (put.returncode, put.stdout) == (0, f"640:{len(content)}\n".encode()), put.stderr
    got = execute("tar -c -C /tmp -f - put")
    assert got.returncode == 0, got.stderr
    with tarfile.open(fileobj=io.BytesIO(got.stdout)) as tar:
        file = tar.extractfile("put/file")
        assert file and file.read() == content
    failed = execute("echo bad >&2; exit 7")
    assert (failed.stdout, failed.stderr, failed.returncode) == (b"", b"bad\n", 7)
    pod.stop(container)


@pytest.mark.usefixtures("may_exec")
def test_ports_are_forwarded(host: Machine, cri: Cri, pod: Pod, tmp_path: Path) -> None:
    container = pod.run("one", f"{forward_tests.SERVE} {WAIT}", mounts=forward_tests.programs(pod, tmp_path))
    words = [RUNX, "--root", cri.states, "ps", "--format", "json", container]
    (supervisor,) = json.loads(host.run(words, check=True).stdout)
    forward_tests.check(pod, supervisor)
    pod.stop(container)
    assert pod.end(container).exit_code == 137
    forward_tests.check_there_is_none(pod)


@pytest.mark.usefixtures("may_exec")
def test_a_hook_before_the_stop(cri: Cri, pod: Pod) -> None:
    """A kubelet runs preStop by ExecSync, and stops the container when that has ended."""
    container = pod.run("one", "trap 'cat /tmp/told; exit 0' TERM; echo ready; while :; do sleep 0.1; done")
    done = cri.call("ExecSync", container_id=container, cmd=["/bin/sh", "-c", "sleep 1; echo bye > /tmp/told"], timeout=30)
    assert done.exit_code == 0
    pod.stop(container, timeout_s=30)
    assert "bye" in pod.log("one")


@pytest.mark.usefixtures("may_exec")
def test_exec_sync(cri: Cri, pod: Pod) -> None:
    """As a kubelet's probes call it, with a limit of time."""
    container = pod.run("one", f"touch /tmp/well; {WAIT}")

    def execute(*words: str, timeout: int = 0) -> tuple[bytes, bytes, int]:
        done = cri.call("ExecSync", container_id=container, cmd=list(words), timeout=timeout)
        return done.stdout, done.stderr, done.exit_code

    assert execute("/bin/sh", "-c", "ls /tmp; echo bad >&2; exit 5") == (b"well\n", b"bad\n", 5)
    with pytest.raises(CallError, match="executable file not found"):
        execute("no-such-program")
    with pytest.raises(CallError, match=r"timeout 1s exceeded|DeadlineExceeded|deadline"):
        execute("sleep", "1000", timeout=1)
    until(lambda: b"sleep 1000" not in cri.host.run([RUNX, "--root", cri.states, "ps", container], check=True).stdout)
    pod.stop(container)
