"""Pods at the machine's own speed: all that tests/shared has, and what an engine decides whatever runs the containers.

What the groups of Kubernetes' own suite (critest of cri-tools) ask of a runtime is here and there, but for images.
"""

from typing import Any

import pytest

from cri import CONTAINER, POD, CallError, pairs
from pod_tests import *  # noqa: F403
from pod_tests import WAIT
from pods import Cri, Pod, until
from runxtools.machine import Machine
from runxtools.testing.containers import LIMIT_S


def test_stop(pod: Pod) -> None:
    """SIGTERM, and SIGKILL for one that has not ended when its time is over."""
    polite = pod.run("polite", "trap 'echo stopping; exit 5' TERM; echo ready; while :; do sleep 0.1; done")
    pod.stop(polite, timeout_s=60)
    assert pod.end(polite).exit_code == 5
    assert pod.log("polite") == "ready\nstopping\n"
    deaf = pod.run("deaf", f"trap '' TERM; {WAIT}")
    pod.stop(deaf, timeout_s=1)
    assert pod.end(deaf).exit_code == 137


def test_what_the_sandbox_has_for_its_containers(cri: Cri, nothing_is_left: None, scratch: str) -> None:
    """Names, name servers, settings of the kernel and shared memory: engines give them to the sandbox alone."""
    linux = {"sysctls": pairs(**{"net.ipv4.ip_local_port_range": "20000 20100"})}
    dns = {"servers": ["192.0.2.53"], "searches": ["example"]}
    pod = Pod(cri, scratch, dns_config=dns, linux=linux)
    script = """
        hostname; cat /etc/hostname; echo $HOSTNAME; cat /etc/resolv.conf
        echo $(cat /proc/sys/net/ipv4/ip_local_port_range); echo shared > /dev/shm/file
        cat /dev/shm/file; stat -f -c %T /dev/shm
    """
    pod.end(pod.run("one", script))
    expected = "web-0\nweb-0\nweb-0\nsearch example\nnameserver 192.0.2.53\n20000 20100\nshared\ntmpfs\n"
    assert pod.log("one") == expected, pod.log("one", stream="stderr")


@pytest.mark.parametrize(("pid", "is_first"), [(CONTAINER, True), (POD, False)])
def test_the_pods_processes(cri: Cri, nothing_is_left: None, scratch: str, pid: int, is_first: bool) -> None:
    """A container that shares the pod's PID namespace is not the first process of it (shareProcessNamespace)."""
    pod = Pod(cri, scratch, pid=pid)
    assert pod.end(pod.run("one", "echo $$")).exit_code == 0, pod.log("one", stream="stderr")
    assert (int(pod.log("one")) == 1) == is_first, pod.log("one")


def test_volumes(host: Machine, pod: Pod, scratch: str) -> None:
    """A directory, secrets that are not to be changed, and the file for last words."""
    prepare = 'cd "$1"; mkdir data secrets; echo secret > secrets/token; : > last-words'
    host.run(["sh", "-c", prepare, "sh", scratch], check=True)
    mounts = [
        {"container_path": "/data", "host_path": f"{scratch}/data"},
        {"container_path": "/var/run/secrets", "host_path": f"{scratch}/secrets", "readonly": True},
        {"container_path": "/dev/termination-log", "host_path": f"{scratch}/last-words"},
    ]
    script = """
        cp /var/run/secrets/token /data/copy; echo x > /var/run/secrets/token || echo refused; echo words > /dev/termination-log
    """
    assert pod.end(pod.run("one", script, mounts=mounts)).exit_code == 0, pod.log("one", stream="stderr")
    assert pod.log("one") == "refused\n"
    assert host.run(["cat", f"{scratch}/data/copy", f"{scratch}/last-words"], check=True).stdout == b"secret\nwords\n"


def test_a_terminal(pod: Pod) -> None:
    assert pod.end(pod.run("one", "tty; exit 4", tty=True)).exit_code == 4
    assert pod.log("one") == "/dev/pts/0\n"


@pytest.mark.usefixtures("may_exec")
def test_streams_of_a_further_process(cri: Cri, pod: Pod) -> None:
    """As `kubectl exec` has them: with a terminal and without; and `kubectl attach` has those of the container's own."""
    program = pod.put("webexec.py", "websocket_client.py")
    container = pod.run("one", "echo ready; read line; echo got $line; read line; exit 3", stdin=True, stdin_once=True)

    def talk(url: str, stdin: bytes = b"") -> tuple[bytes, bytes, int]:
        result = cri.host.run(["python3", program, url], stdin=stdin, timeout=LIMIT_S)
        return result.stdout, result.stderr, result.returncode

    def execute(*words: str, **streams: bool) -> str:
        url: str = cri.call("Exec", container_id=container, cmd=list(words), stdout=True, **streams).url
        return url

    assert talk(execute("echo", "hello", stderr=True)) == (b"hello\n", b"", 0)
    assert talk(execute("/bin/sh", "-c", "read x; echo $x", stdin=True), b"in\n") == (b"in\n", b"", 0)
    said, errors, status = talk(execute("/bin/sh", "-c", "tty; echo err >&2; exit 4", stdin=True, tty=True))
    assert said.startswith(b"/dev/pts/") and said.endswith(b"\r\nerr\r\n") and (errors, status) == (b"", 4), said
    attached = cri.call("Attach", container_id=container, stdin=True, stdout=True, stderr=True)
    said, errors, _ = talk(attached.url, b"line\n\n")
    assert said == b"got line\n", errors
    assert pod.end(container).exit_code == 3


@pytest.mark.usefixtures("may_exec")
def test_a_security_context(cri: Cri, pod: Pod) -> None:
    """Of the container's own process and of a further one, which a kubelet's probes are."""
    context: dict[str, Any] = {
        **pod.namespaces,
        "run_as_user": {"value": 1000},
        "run_as_group": {"value": 1001},
        "supplemental_groups": [2000, 2001],
        "no_new_privs": True,
        "readonly_rootfs": True,
        "capabilities": {"add_capabilities": ["NET_ADMIN"], "drop_capabilities": ["CHOWN"]},
        "masked_paths": ["/proc/kcore", "/proc/timer_list"],
        "readonly_paths": ["/proc/sys"],
    }
    script = """
        id -u; id -g; for i in $(id -G); do echo $i; done | sort | tr '\\n' ' '; echo
        grep -E 'NoNewPrivs|CapBnd' /proc/self/status; touch /x 2>&1; cat /proc/timer_list
        grep ' /proc/sys ' /proc/mounts | cut -d ' ' -f 4 | cut -d , -f 1
    """
    container = pod.run("one", f"{{ {script} }} > /dev/stdout; {WAIT}", linux={"security_context": context})
    further = cri.call("ExecSync", container_id=container, cmd=["/bin/sh", "-c", script]).stdout.decode()
    own = pod.log("one").removesuffix("ready\n")
    lines = own.splitlines()
    assert lines[:2] == ["1000", "1001"], own
    assert {"1001", "2000", "2001"} <= set(lines[2].split()), own
    bounding = int(next(line for line in lines if line.startswith("CapBnd")).split()[1], 16)
    assert (bounding >> 12 & 1, bounding & 1) == (1, 0), "NET_ADMIN was added, CHOWN was dropped"
    assert "NoNewPrivs:\t1" in lines and "touch: /x: Read-only file system" in lines and lines[-1] == "ro", own
    assert further == own
    pod.stop(container)
    named = {"security_context": {**pod.namespaces, "run_as_username": "user"}}
    container = pod.run("two", f"id -un; {WAIT}", linux=named)
    assert pod.log("two") == "user\nready\n"
    assert cri.call("ExecSync", container_id=container, cmd=["id", "-un"]).stdout == b"user\n"
    pod.stop(container)


def test_a_log_that_is_opened_again(cri: Cri, pod: Pod) -> None:
    """As a kubelet does after it has renamed one that is long."""
    container = pod.run("one", "echo ready; while :; do echo more; sleep 0.1; done")
    log = f"{pod.logs}/one/0.log"
    cri.host.run(["mv", log, f"{log}.old"], check=True)
    cri.call("ReopenContainerLog", container_id=container)
    until(lambda: b"stdout F more" in cri.host.run(["cat", log]).stdout)
    sizes = [cri.host.run(["stat", "-c", "%s", f"{log}.old"], check=True).stdout]
    pod.stop(container)
    sizes.append(cri.host.run(["stat", "-c", "%s", f"{log}.old"], check=True).stdout)
    assert sizes[0] == sizes[1]


def test_a_volume_by_a_symbolic_link(cri: Cri, pod: Pod, scratch: str) -> None:
    cri.host.run(["sh", "-c", 'cd "$1"; mkdir real; echo here > real/file; ln -s "$1/real" link', "sh", scratch], check=True)
    container = pod.run("one", "cat /v/file", mounts=[{"container_path": "/v", "host_path": f"{scratch}/link"}])
    assert pod.end(container).exit_code == 0
    assert pod.log("one") == "here\n"


def test_what_is_done_twice_is_no_error(cri: Cri, pod: Pod) -> None:
    container = pod.run("one", WAIT)
    for _ in range(2):
        pod.stop(container)
    for _ in range(2):
        cri.call("RemoveContainer", container_id=container)
    for call in ("StopPodSandbox", "RemovePodSandbox"):
        for _ in range(2):
            cri.call(call, pod_sandbox_id=pod.id)


def test_limits(host: Machine, pod: Pod) -> None:
    linux = {"security_context": pod.namespaces, "resources": {"memory_limit_in_bytes": 256 << 20, "cpu_shares": 512}}
    container = pod.run("one", WAIT, linux=linux)
    before = host.run(["xl", "list"], check=True).stdout
    pod.cri.call("UpdateContainerResources", container_id=container, linux={"memory_limit_in_bytes": 128 << 20})
    memory = [int(out.splitlines()[-1].split()[2]) for out in (before, host.run(["xl", "list"], check=True).stdout)]
    assert memory[1] < memory[0]


def test_why_a_sandbox_fails_reaches_the_caller(cri: Cri, nothing_is_left: None, scratch: str) -> None:
    """The shim gives a sandbox's runtime /dev/null, opened for reading, as standard output and error."""
    with pytest.raises(CallError, match="is the host name, which has a field of its own"):
        Pod(cri, scratch, linux={"sysctls": pairs(**{"kernel.hostname": "x"})})
