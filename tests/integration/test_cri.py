"""Pods at the machine's own speed: all that tests/shared has, and what an engine decides whatever runs the containers."""

import pytest

from cri import CONTAINER, POD, CallError, pairs
from pod_tests import *  # noqa: F403
from pod_tests import WAIT
from pods import Cri, Pod
from runxtools.machine import Machine


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
