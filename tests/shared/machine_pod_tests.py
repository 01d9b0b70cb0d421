"""Pods that are one virtual machine each (pods.machine = "pod"), called as by a kubelet.

Modules of the lab and of the double import these tests; their conftest.py has the fixtures `host` and `scratch`.
"""

import json
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import forward_tests
from cri import EXITED, NOT_READY, POD, RUNNING, TARGET, CallError, pairs
from pod_tests import SERVE, WAIT, cri, nothing_is_left  # noqa: F401  # fixtures
from pods import Cri, Pod, until
from programs import compiled
from runxtools.machine import Machine
from runxtools.testing.containers import LIMIT_S, RUNX

_PUT = """
    mkdir -p /run/settings/runx
    printf '[pods]\\nmachine = "pod"\\n[policy]\\nexec = true\\n[kill]\\nend_timeout = 60\\n' > /run/settings/runx/runx.toml
    mount -t overlay -o lowerdir=/run/settings:/etc overlay /etc
"""


@pytest.fixture(autouse=True)
def pods_are_machines(host: Machine) -> Iterator[None]:
    """runx.toml, in an overlay on /etc, which the double shares with its host."""
    host.run(["sh", "-euc", _PUT], check=True)
    yield
    host.run(["sh", "-euc", "umount /etc; rm -r /run/settings"], check=True)


@pytest.fixture
def pod(cri: Cri, nothing_is_left: None, scratch: str) -> Pod:  # noqa: F811
    return Pod(cri, scratch)


@pytest.fixture(scope="module")
def meet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return compiled("meet", tmp_path_factory.mktemp("meet"))


@pytest.fixture
def shared(host: Machine, scratch: str, meet: Path) -> list[dict[str, Any]]:
    """The mounts of a volume that several containers have, and of the program `meet`."""
    host.run(["mkdir", f"{scratch}/volume", f"{scratch}/programs"], check=True)
    host.put(meet, f"{scratch}/programs/meet")
    return [
        {"container_path": "/volume", "host_path": f"{scratch}/volume"},
        {"container_path": "/programs", "host_path": f"{scratch}/programs", "readonly": True},
    ]


def execute(pod: Pod, container: str, *words: str) -> tuple[str, int]:
    done = pod.cri.call("ExecSync", container_id=container, cmd=list(words), timeout=60)
    return (done.stdout + done.stderr).decode(), done.exit_code


def domains(host: Machine) -> list[str]:
    return host.run(["xl", "list"], check=True).stdout.decode().splitlines()[2:]


def test_three_containers_at_once(host: Machine, pod: Pod, shared: list[dict[str, Any]]) -> None:
    """A server that listens on localhost alone; a sidecar that passes on to it; one that keeps a log, which comes by a socket."""
    server = pod.run("server", f"echo page > /tmp/page; httpd -p 127.0.0.1:80 -h /tmp; {WAIT}", mounts=shared)
    pod.run("log", "exec /programs/meet listen /volume/log /volume/lines; : echo ready", mounts=shared)
    pass_on = "busybox nc -ll -p 8080 -e wget -q -O - http://127.0.0.1/page &"
    sidecar = pod.run("sidecar", f"{pass_on} {WAIT}", mounts=shared)
    assert len(domains(host)) == 1
    assert pod.states() == {"server": RUNNING, "log": RUNNING, "sidecar": RUNNING}

    nc = ["sh", "-c", f"busybox nc -w 5 {pod.status().network.ip} 8080 < /dev/null"]
    until(lambda: host.run(nc, timeout=LIMIT_S).stdout == b"page\n")
    for name, container in (("server", server), ("sidecar", sidecar)):
        assert execute(pod, container, "/programs/meet", "say", "/volume/log", f"from {name}") == ("", 0)
    until(lambda: host.run(["cat", f"{pod.logs}/../volume/lines"]).stdout == b"from server\nfrom sidecar\n")
    assert execute(pod, server, "sh", "-c", "echo refused > /programs/x")[1] == 1, "read-only"

    pod.stop(sidecar)
    assert pod.end(sidecar).exit_code == 137
    assert pod.container(server).state == RUNNING
    pod.cri.call("StopPodSandbox", pod_sandbox_id=pod.id)
    assert pod.states() == {"server": EXITED, "log": EXITED, "sidecar": EXITED}
    assert domains(host) == []


def test_ports_are_forwarded(pod: Pod, tmp_path: Path) -> None:
    """To a server of any container, as they have one localhost."""
    one = pod.run("one", WAIT)
    pod.run("two", f"{forward_tests.SERVE} {WAIT}", mounts=forward_tests.programs(pod, tmp_path))
    forward_tests.check(pod, pod.sandbox)
    until(lambda: " 01 " not in execute(pod, one, "cat", "/proc/net/tcp")[0])


def test_what_containers_share(pod: Pod, shared: list[dict[str, Any]]) -> None:
    """Network, names and shared memory; but neither processes nor files of their roots."""
    script = f"echo $$ $(hostname); echo 1 > /dev/shm/one; touch /mine; {WAIT}"
    one, two = (pod.run(name, script, mounts=shared) for name in ("one", "two"))
    assert pod.log("one") == pod.log("two") == "1 web-0\nready\n"
    assert execute(pod, two, "cat", "/dev/shm/one") == ("1\n", 0)
    flags = execute(pod, two, "grep", " /dev/shm ", "/proc/mounts")[0].split()[3].split(",")
    assert {"nodev", "noexec", "nosuid"} <= set(flags), "as the engine mounts it"
    assert execute(pod, one, "touch", "/only-one") == ("", 0)
    assert execute(pod, two, "ls", "/only-one")[1] == 1
    ps = [RUNX, "--root", pod.cri.states, "ps", two]
    until(lambda: pod.cri.host.run(ps, check=True).stdout.count(b"while :") == 1)
    until(lambda: "sleep" in execute(pod, one, "ps")[0])
    until(lambda: execute(pod, one, "ps")[0].count("while :") == 1)  # a shell that is to become sleep has the same words
    assert execute(pod, one, "cat", "/proc/self/cgroup")[0].splitlines()[-1] == "0::/"


_MAKE_NODES = """
    set -- $(awk 'NR > 2 { print $1, $2; exit }' /proc/partitions)
    for place in / /dev /tmp /dev/shm /volume; do
        mknod $place/disk b $1 $2 || continue
        mknod $place/link c 229 1 || continue
        head -c 1 $place/disk > /dev/null && echo "a disk is read in $place"
        (exec 3<> $place/link) && echo "the link is opened in $place"
        rm $place/disk $place/link
        echo $place
    done 2> /tmp/said
    grep -c 'Permission denied' /tmp/said
    head -c 4 /dev/zero | wc -c; head -c 4 /dev/urandom | wc -c; echo to > /dev/null; ls /dev/disk 2>&1 | wc -l
"""


def test_nodes_lead_to_no_device_of_the_pod(pod: Pod, shared: list[dict[str, Any]]) -> None:
    """As under runc, whose control groups guard devices: engines give CAP_MKNOD to all. A disk has another container's root."""
    pod.run("other", WAIT)
    made = pod.run("one", _MAKE_NODES, mounts=shared)
    assert pod.end(made).exit_code == 0
    assert pod.log("one") == "/\n/dev\n/tmp\n/dev/shm\n/volume\n10\n4\n4\n1\n"


_LOOK_AT_RIGHTS = """
    id -u; id -g; id -G; awk '/^(CapEff|CapBnd|NoNewPrivs|Seccomp):/ { print $1, $2 }' /proc/self/status
    for file in /x /proc/sys/kernel/panic; do (echo 1 > $file) 2> /dev/null && echo written; done
    wc -c < /proc/keys
"""
_RIGHTS = """\
1000
2000
2000 50 3000
CapEff: 0000000000000000
CapBnd: 0000000000000001
NoNewPrivs: 1
Seccomp: 2
0
"""


def test_security_contexts(pod: Pod) -> None:
    """Of each container its own, for its processes by exec as well; another is root meanwhile."""
    other = pod.run("other", WAIT)
    context = {
        "run_as_user": {"value": 1000},
        "run_as_group": {"value": 2000},
        "supplemental_groups": [3000],
        "no_new_privs": True,
        "readonly_rootfs": True,
        "capabilities": {"drop_capabilities": ["ALL"], "add_capabilities": ["CHOWN"]},
        "masked_paths": ["/proc/keys"],
        "readonly_paths": ["/proc/sys"],
        **pod.namespaces,
    }
    container = pod.run("one", f"{_LOOK_AT_RIGHTS} {WAIT}", linux={"security_context": context})
    found = pod.log("one").removesuffix("ready\n")
    lines, expected = found.splitlines(), _RIGHTS.splitlines()
    assert sorted(lines[2].split()) == sorted(expected[2].split())  # the image gives its user a group
    assert lines[:2] + lines[3:] == expected[:2] + expected[3:]
    assert execute(pod, container, "sh", "-c", _LOOK_AT_RIGHTS) == (found, 0)
    assert execute(pod, other, "sh", "-c", "id -u; echo 1 > /x; cat /x") == ("0\n1\n", 0)


def test_memory_that_two_containers_map_of_one_file(pod: Pod, shared: list[dict[str, Any]]) -> None:
    pod.run("one", "/programs/meet map /dev/shm/number 42 & echo ready; wait", mounts=shared)
    two = pod.run("two", WAIT, mounts=shared)
    until(lambda: "mapped" in pod.log("one"))
    assert execute(pod, two, "/programs/meet", "read", "/dev/shm/number") == ("42\n", 0)


def test_the_pods_processes(cri: Cri, nothing_is_left: None, scratch: str) -> None:  # noqa: F811
    """One PID namespace for all (shareProcessNamespace), whose first process waits for what others leave."""
    pod = Pod(cri, scratch, pid=POD)
    one = pod.run("one", f"(sleep 1000 &); {WAIT}")
    two = pod.run("two", f"echo $$; {WAIT}")
    assert int(pod.log("two").splitlines()[0]) > 1
    assert "sleep 1000" in execute(pod, two, "ps")[0]
    pod.stop(one)
    pod.end(one)
    assert "sleep 1000" not in execute(pod, two, "ps")[0], "what a container leaves ends with it"
    assert pod.container(two).state == RUNNING


def test_a_debug_container(pod: Pod) -> None:
    """`kubectl debug --target`: in the PID namespace of another container."""
    target = pod.run("one", WAIT)
    namespaces = {"namespace_options": {"pid": TARGET, "target_id": target}}
    debug = pod.run("debug", f"ps; {WAIT}", linux={"security_context": namespaces})
    assert "while :" in pod.log("debug")
    assert execute(pod, debug, "cat", "/proc/1/root/etc/hostname") == ("web-0\n", 0)
    pod.stop(target)
    assert pod.end(debug).exit_code == 137, "as the kernel ends a PID namespace with its first process"


def test_init_containers_logs_and_statuses(pod: Pod) -> None:
    first = pod.run("init", "echo prepared; echo problems >&2; exit 0")
    assert pod.end(first).exit_code == 0
    assert (pod.log("init"), pod.log("init", stream="stderr")) == ("prepared\n", "problems\n")
    web = pod.run("web", SERVE)
    assert pod.end(pod.run("bad", "exit 5")).exit_code == 5
    missing = pod.create("missing", "true", command=["/no-such-program"])
    with pytest.raises(CallError, match="stat /no-such-program: no such file or directory"):
        pod.cri.call("StartContainer", container_id=missing)
    assert pod.container(missing).exit_code in (127, 128), "containerd 1.6 says 128 whatever the runtime's status is"
    polite = pod.run("polite", "trap 'echo stopping; exit 6' TERM; echo ready; while :; do sleep 0.1; done")
    pod.stop(polite, timeout_s=60)
    assert (pod.end(polite).exit_code, pod.log("polite")) == (6, "ready\nstopping\n")
    deaf = pod.run("deaf", f"trap '' TERM; {WAIT}")
    pod.stop(deaf, timeout_s=1)
    assert pod.end(deaf).exit_code == 137
    assert pod.container(web).state == RUNNING


_LOOK = """
    set -e
    top=$(mktemp -d)
    mounts=$(ctr --address "$1/socket" --namespace k8s.io snapshot mounts "$top" "$2")
    upper=$(printf %s "$mounts" | sed 's/.*upperdir=\\([^, ]*\\).*/\\1/')
    lower=$(printf %s "$mounts" | sed 's/.*lowerdir=\\([^, ]*\\).*/\\1/')
    mount -t overlay -o "lowerdir=$upper:$lower" overlay "$top"  # without an upper directory, as the container may run
    cd "$top"
    sh -c "$3" 2>&1 || true
    cd /
    umount "$top"
    rmdir "$top"
"""


def in_root(pod: Pod, container: str, script: str) -> str:
    """What a script prints, with standard error, in a root filesystem as the host has it, containerd's layers joined."""
    words = ["sh", "-c", _LOOK, "sh", pod.cri.home, container, script]
    return pod.cri.host.run(words, check=True, timeout=LIMIT_S).stdout.decode()


def layers(pod: Pod) -> int:
    """How many layers of changes there are in containerd's store."""
    find = ["find", f"{pod.cri.home}/root", "-ignore_readdir_race", "-name", "runx-layer"]
    return len(pod.cri.host.run(find, check=True).stdout.split())


_WRITE = """
    echo kept > /etc/kept && rm /bin/wget && rm -r /home && mkdir /home && echo only > /home/new
    mkdir -p /made/deep && ln /etc/kept /made/linked && chown 1000:1000 /made/linked && chmod 4755 /made/linked
    i=0; while [ $i -lt 300 ]; do echo $i > /made/deep/$i; i=$((i+1)); done
"""
_WRITTEN = """
    cat etc/kept home/new; stat -c '%a %u:%g %h' made/linked; ls made/deep | wc -l; ls home; [ -e bin/wget ] || echo gone
"""


def test_what_a_container_wrote_is_in_its_root_filesystem(pod: Pod) -> None:
    """When it has ended; others of the pod go on. As of a container in a machine of its own, for commit, diff and cp."""
    other = pod.run("other", WAIT)
    ended = pod.run("ended", f"{_WRITE} exit 3")
    assert pod.end(ended).exit_code == 3
    killed = pod.run("killed", f"{_WRITE} dd if=/dev/zero of=/big bs=1M count=20 2> /dev/null; {WAIT}")
    assert "No such file" in in_root(pod, killed, "cat etc/kept"), "while it runs, its layer has it"
    pod.stop(killed)
    assert pod.end(killed).exit_code == 137
    for container in (ended, killed):
        written = in_root(pod, container, _WRITTEN)
        assert written == "kept\nonly\n4755 1000:1000 2\n300\nnew\ngone\n", written
    assert in_root(pod, killed, "stat -c %s big") == f"{20 << 20}\n"
    assert layers(pod) == 1, "that of the one that runs"
    assert execute(pod, other, "true") == ("", 0)
    pod.stop(other)
    assert pod.end(pod.run("idle", "exit 0")).exit_code == 0, pod.log("idle", stream="stderr")
    assert layers(pod) == 0


def test_what_cannot_be_written_back_stays_in_the_layer(host: Machine, pod: Pod) -> None:
    """It is an error of that container alone."""
    other = pod.run("other", WAIT)
    container = pod.run("one", "echo kept > /kept; echo ready; while [ ! -e /end ]; do sleep 0.1; done")
    host.run(["rm", f"{pod.cri.states}/{container}/exports-layer"], check=True)
    assert execute(pod, container, "touch", "/end") == ("", 0)
    assert pod.end(container).exit_code == 125
    assert "No such file" in in_root(pod, container, "cat kept")
    assert layers(pod) == 2
    assert execute(pod, other, "true") == ("", 0)


def runx(pod: Pod, *words: str, status: int = 0) -> str:
    done = pod.cri.host.run([RUNX, "--root", pod.cri.states, *words], timeout=LIMIT_S)
    assert done.returncode == status, done
    return (done.stdout + done.stderr).decode()


_COUNT = "echo ready; i=0; while :; do i=$((i+1)); echo $i > /tmp/count; done"


def test_one_container_is_paused(pod: Pod) -> None:
    other, container = pod.run("other", WAIT), pod.run("one", _COUNT)

    def use() -> dict[str, Any]:
        found: dict[str, Any] = json.loads(runx(pod, "events", "--stats", container))["data"]
        return found

    def state() -> str:
        found: str = json.loads(runx(pod, "state", container))["status"]
        return found

    before = use()
    runx(pod, "pause", container)
    assert state() == "paused"
    stopped = use()["cpu"]["usage"]["total"]
    assert stopped > before["cpu"]["usage"]["total"] > 0
    assert execute(pod, other, "sleep", "0.2") == ("", 0), "others go on"
    assert use()["cpu"]["usage"]["total"] == stopped
    assert "not running" in runx(pod, "pause", container, status=1)
    assert "cannot exec in a paused container" in runx(pod, "exec", container, "true", status=255)
    runx(pod, "resume", container)
    assert state() == "running"
    until(lambda: use()["cpu"]["usage"]["total"] > stopped)
    assert ("memory" in before) == ("memory" in execute(pod, other, "cat", "/sys/fs/cgroup/cgroup.controllers")[0])
    runx(pod, "pause", container)
    pod.stop(container)
    assert pod.end(container).exit_code == 137
    assert execute(pod, other, "true") == ("", 0)


def test_a_machine_is_paused(pod: Pod) -> None:
    """The guest answers no question about a container then: an error at once says why. `podman pod pause` makes such calls."""
    container = pod.run("one", WAIT)
    runx(pod, "pause", pod.id)
    for words in (("pause", container), ("update", "--cpu-share", "512", container), ("events", "--stats", container)):
        assert "the virtual machine of the pod is paused" in runx(pod, *words, status=1), words
    assert "the virtual machine of the pod is paused" in runx(pod, "exec", container, "true", status=255)
    runx(pod, "resume", pod.id)
    assert execute(pod, container, "true") == ("", 0)


_TRACES = """
    ls /proc/$1/fd | wc -l
    xenstore-ls | grep -c .
    losetup -ln -O BACK-FILE | grep -cF "$3"
    ls /run/runx-loops | wc -l
    cat /proc/$2/mountinfo | wc -l
    ls /proc/$2/fd | wc -l
"""


def test_restarts_leave_nothing(host: Machine, cri: Cri, pod: Pod, shared: list[dict[str, Any]]) -> None:  # noqa: F811
    """Descriptors, nodes in xenstore, loop devices, mounts of the share's server, control groups and mounts in the guest."""
    other = pod.run("other", WAIT, mounts=shared)
    children = f"/proc/{pod.sandbox}/task/{pod.sandbox}/children"
    (server,) = host.run(["cat", children], check=True).stdout.decode().split()

    def counts() -> list[int]:
        traces = host.run(["sh", "-c", _TRACES, "sh", str(pod.sandbox), server, cri.home], check=True).stdout.decode()
        guest = "ls /dev | wc -l; cat /proc/mounts | wc -l; echo /proc/[0-9]* | wc -w"
        return [int(count) for count in (traces + execute(pod, other, "sh", "-c", guest)[0]).split()]

    def restart(attempt: int) -> None:
        container = pod.run("web", SERVE, attempt=attempt, mounts=shared)
        pod.stop(container)
        assert pod.end(container).exit_code == 137
        cri.call("RemoveContainer", container_id=container)

    restart(0)
    # The most of some: what ends by itself, as a shell's `sleep`, is not there each time.
    before = [max(row) for row in zip(*(counts() for _ in range(5)), strict=True)]
    for attempt in range(1, 21):
        restart(attempt)
    after: list[int] = []

    def is_settled() -> bool:
        after[:] = counts()
        return all(now <= then for now, then in zip(after, before, strict=True))

    until(is_settled, lambda: f"before: {before}, after: {after}")
    again = pod.run("web", SERVE, attempt=21, mounts=shared)
    assert execute(pod, other, "wget", "-q", "-O", "-", "http://localhost/page") == ("served by web-0\n", 0)
    assert pod.container(again).state == RUNNING


@pytest.mark.parametrize("which", ["supervisor", "shim", "pod"])
def test_what_is_killed_can_be_removed(host: Machine, cri: Cri, pod: Pod, which: str) -> None:  # noqa: F811
    container, other = pod.run("one", WAIT), pod.run("other", WAIT)
    words = [RUNX, "--root", cri.states, "ps", "--format", "json", container]
    supervisor = re.sub(r"\D", "", host.run(words, check=True).stdout.decode())
    if which == "supervisor":
        host.run(["kill", "-9", supervisor], check=True)
        assert pod.end(container).exit_code == 137
        assert execute(pod, other, "true") == ("", 0), "the others go on"
        until(lambda: execute(pod, other, "sh", "-c", "ls /dev/xvd* 2> /dev/null | wc -l")[1] == 0)
    elif which == "pod":
        host.run(["kill", "-9", str(pod.sandbox)], check=True)
        until(lambda: pod.status().state == NOT_READY)
        assert (pod.end(container).exit_code, pod.end(other).exit_code) == (137, 137)
    else:
        host.run(["pkill", "-9", "-f", f"[c]ontainerd-shim-runc-v2 .*-id {pod.id} "], check=True)
        host.run(["kill", "-9", supervisor], check=True)
    until(lambda: is_removed(cri))
    cri.end_shim(pod.id)
    cri.until_nothing_is_left()


def test_containerd_is_restarted(cri: Cri, pod: Pod) -> None:  # noqa: F811
    one = pod.run("one", WAIT)
    cri.restart()
    until(lambda: answers(pod, one))
    two = pod.run("two", WAIT)
    assert execute(pod, two, "hostname") == ("web-0\n", 0)
    pod.stop(one)
    assert pod.end(one).exit_code == 137
    assert pod.states() == {"one": EXITED, "two": RUNNING}


def answers(pod: Pod, container: str) -> bool:
    """Whether containerd serves the container: after its start, this side and the plugin take some time."""
    try:
        return execute(pod, container, "echo", "there") == ("there\n", 0)
    except CallError:
        return False


def is_removed(containerd: Cri) -> bool:
    """As a kubelet: containerd may not know yet that the containers of a shim that was killed have ended."""
    try:
        containerd.remove_pods()
    except CallError as error:
        assert "container is still running" in str(error)
        return False
    return True


@pytest.mark.parametrize("propagation", [1, 2])
def test_mounts_that_propagate_are_refused(pod: Pod, scratch: str, propagation: int) -> None:
    mounts = [{"container_path": "/data", "host_path": scratch, "propagation": propagation}]
    pod.cri.host.run(["mount", "-t", "tmpfs", "tmpfs", scratch], check=True)
    pod.cri.host.run(["mount", "--make-shared", scratch], check=True)
    try:
        container = pod.create("one", "true", mounts=mounts)
        with pytest.raises(CallError, match="a mount of the host does not reach a virtual machine"):
            pod.cri.call("StartContainer", container_id=container)
    finally:
        pod.cri.host.run(["umount", scratch], check=True)


def test_a_container_cannot_ask_for_a_machine_of_its_own(pod: Pod) -> None:
    container = pod.create("one", "true", envs=pairs(RUNX_KERNEL="/bin/busybox"))
    with pytest.raises(CallError, match="the pod is one"):
        pod.cri.call("StartContainer", container_id=container)


def test_a_terminal(pod: Pod) -> None:
    assert pod.end(pod.run("one", "tty; exit 4", tty=True)).exit_code == 4
    assert pod.log("one") == "/dev/pts/0\n"


def stream(pod: Pod, call: str, stdin: bytes, **request: Any) -> "subprocess.CompletedProcess[bytes]":
    """What a client of Exec or Attach sees."""
    program = pod.put("webexec.py", "websocket_client.py")
    url = pod.cri.call(call, stdin=True, stdout=True, **request).url
    return pod.cri.host.run(["python3", program, url], stdin=stdin, timeout=LIMIT_S)


def test_streams(pod: Pod) -> None:
    """Exec with a terminal, and attach to a container that reads; others go on."""
    other = pod.run("other", WAIT)
    words = ["/bin/sh", "-c", "tty; read -r line; echo [$line]; exit 3"]
    in_terminal = stream(pod, "Exec", b"hello\n", container_id=other, cmd=words, tty=True)
    assert in_terminal.returncode == 3
    assert in_terminal.stdout.replace(b"hello\r\n", b"", 1) == b"/dev/pts/0\r\n[hello]\r\n"
    reads = pod.create("reads", "read -r line; echo got $line; exit 4", stdin=True)
    pod.cri.call("StartContainer", container_id=reads)
    assert stream(pod, "Attach", b"a line\n", container_id=reads, stderr=True).stdout == b"got a line\n"
    assert (pod.end(reads).exit_code, pod.log("reads")) == (4, "got a line\n")
    assert pod.container(other).state == RUNNING


def test_a_log_is_opened_again(host: Machine, pod: Pod) -> None:
    """As a kubelet has it done when it has moved one that is large."""
    container = pod.run("one", "echo ready; while :; do echo tick; sleep 0.1; done")
    log = f"{pod.logs}/one/0.log"
    host.run(["mv", log, f"{log}.1"], check=True)
    pod.cri.call("ReopenContainerLog", container_id=container)
    until(lambda: host.run(["grep", "-q", "tick", log]).returncode == 0)


def test_the_size_is_the_pods(host: Machine, cri: Cri, nothing_is_left: None, scratch: str) -> None:  # noqa: F811
    """As a kubelet tells it: the sum of the containers' limits."""
    resources = {"memory_limit_in_bytes": 300 << 20, "cpu_quota": 300000, "cpu_period": 100000}
    Pod(cri, scratch, linux={"resources": resources})
    (line,) = domains(host)
    memory, vcpus = map(int, line.split()[2:4])
    assert 300 < memory < 380
    assert vcpus == 3


def test_a_pod_chooses(host: Machine, cri: Cri, nothing_is_left: None, scratch: str) -> None:  # noqa: F811
    """The annotation of the sandbox goes before runx.toml, and the pod's containers follow the sandbox."""
    pod = Pod(cri, scratch, annotations=pairs(**{"org.runx.pods.machine": "container"}))
    assert domains(host) == []
    pod.run("one", WAIT)
    assert len(domains(host)) == 1
    with pytest.raises(CallError, match="one container of a pod can run at a time"):
        pod.cri.call("StartContainer", container_id=pod.create("two", "true"))


def test_a_container_ends_as_a_whole_when_memory_has_run_out(host: Machine, pod: Pod) -> None:
    """As kubelets ask for it. Where the guest's kernel has no such file, the container runs without it."""
    linux = {"resources": {"unified": pairs(**{"memory.oom.group": "1"})}, "security_context": pod.namespaces}
    container = pod.run("one", WAIT, linux=linux)
    plan = json.loads(host.run(["cat", f"{pod.cri.states}/{container}/plan.json"], check=True).stdout)
    assert ["memory.oom.group", "1"] in plan["joined"]["control_group"]
    if "memory" in execute(pod, container, "cat", "/sys/fs/cgroup/cgroup.controllers")[0]:
        assert execute(pod, container, "cat", "/sys/fs/cgroup/memory.oom.group") == ("1\n", 0)


def test_the_limits_of_a_container_change(pod: Pod) -> None:
    """Where the guest has the controllers: the double's guest may have none, and the error says so then."""
    container = pod.run("one", WAIT)
    controllers = execute(pod, container, "cat", "/sys/fs/cgroup/cgroup.controllers")[0].split()

    def update() -> None:
        pod.cri.call("UpdateContainerResources", container_id=container, linux={"memory_limit_in_bytes": 64 << 20})

    if "memory" in controllers:
        update()
        assert execute(pod, container, "cat", "/sys/fs/cgroup/memory.max") == (f"{64 << 20}\n", 0)
    else:
        with pytest.raises(CallError, match=r"memory\.max"):
            update()
    assert pod.container(container).state == RUNNING
