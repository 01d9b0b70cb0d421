"""SIGKILL at each step of exec: the carrier, the supervisor, the shim; while the container is created, runs and ends.

strace(1) kills before a chosen system call: nothing of the product knows of it. As many of the calls as a run has time for are
tried, spread evenly. RUNX_KILL_POINTS=1000 tries all.
"""

import json
import os
import re
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from exec_setting import may_exec  # noqa: F401  # a fixture
from runxtools.double.host import Double
from runxtools.testing.bundles import LIMIT_S, Bundle
from runxtools.testing.containers import Running


def until(condition: Callable[[], object], explain: Callable[[], object] = lambda: "") -> None:
    """As that of containers, for what takes a moment."""
    limit = time.monotonic() + LIMIT_S
    while not condition():
        assert time.monotonic() < limit, explain()
        time.sleep(0.1)


pytestmark = pytest.mark.usefixtures("may_exec")
POINTS = int(os.environ.get("RUNX_KILL_POINTS", "5"))
CALLS = "memfd_create,socket,connect,sendmsg,recvmsg,accept4,clone,fork,vfork,setsid,write,read,close,dup2,poll,openat,pipe2"
NULL = subprocess.DEVNULL
WAITS = "trap 'exit 3' TERM; echo ready; while :; do read x || sleep 0.1; done"


@pytest.fixture
def bundle(host: Double, tmp_path: Path) -> Iterator[Bundle]:
    bundle = Bundle(host, tmp_path)
    yield bundle
    bundle.runx("delete", "--force", "c")
    nothing_is_left(bundle)


@pytest.fixture
def running(bundle: Bundle) -> Iterator["subprocess.Popen[bytes]"]:
    """`runx run` of a container whose process waits for TERM."""
    process = bundle.popen(WAITS)
    yield process
    bundle.runx("delete", "--force", "c")
    process.communicate(timeout=LIMIT_S)


def processes_of_host(bundle: Bundle) -> list[str]:
    """Of the container, on the host: the supervisor, carriers, the server of shares."""
    listed = bundle.host.run(["ps", "-eo", "pid,args", "-ww"], check=True).stdout.decode().splitlines()
    return [line for line in listed if (str(bundle.state) in line or " runx: " in line) and "strace" not in line]


def nothing_is_left(bundle: Bundle) -> None:
    until(lambda: not processes_of_host(bundle), lambda: processes_of_host(bundle))
    domains = bundle.host.run(["xl", "list"], check=True).stdout.decode().splitlines()[2:]
    assert not domains and not list(bundle.state.glob("*"))


def guests(bundle: Bundle) -> list[str]:
    """Commands of the processes in the guest."""
    return [line.split(maxsplit=3)[3] for line in bundle.runx("ps", "c", check=True).stdout.decode().splitlines()[1:]]


def still_works(bundle: Bundle) -> None:
    """The container runs, with nothing but its process, and takes a further one."""
    until(
        lambda: len(guests(bundle)) <= 2 and not any("sleep 1000" in line or "sleep 2" in line for line in guests(bundle)),
        lambda: guests(bundle),
    )
    assert json.loads(bundle.runx("state", "c", check=True).stdout)["status"] == "running"
    result = bundle.runx("exec", "c", "/bin/sh", "-c", "echo works; exit 5")
    assert (result.stdout, result.returncode) == (b"works\n", 5), result.stderr


def strace(log: Path, at: tuple[str, int] | None, *words: str) -> list[str]:
    inject = ["-e", f"inject={at[0]}:signal=KILL:when={at[1]}"] if at else []
    return ["strace", "-f", "-qq", "-o", str(log), "-e", f"trace={CALLS}", "-e", "signal=none", *inject, *words]


def was_killed(log: Path) -> bool:
    """Whether a call was the last one of its process."""
    return re.search(r"= \?$", log.read_text(errors="replace"), re.MULTILINE) is not None


def points(log: Path, first: str) -> list[tuple[str, int]]:
    """Where to kill: from the first call of this name on."""
    named = re.findall(r"^(\d+) +(\w+)\(", log.read_text(errors="replace"), re.MULTILINE)
    names = [name for _, name in named]
    calls = [(call[1], named[: n + 1].count(call)) for n, call in enumerate(named)]  # strace counts for each process
    calls = calls[names.index(first) :]
    assert len(calls) >= 3, "traced nothing"
    return calls[:: max(1, len(calls) // POINTS)]


@pytest.mark.parametrize("options", [(), ("--detach",)], ids=["attached", "detached"])
def test_a_carrier(bundle: Bundle, running: "subprocess.Popen[bytes]", tmp_path: Path, options: tuple[str, ...]) -> None:
    """Its process in the guest ends with it, at whatever step that was, and the container goes on."""
    log = tmp_path / "strace"

    def execute(at: tuple[str, int] | None, *words: str) -> int:
        argv = strace(log, at, *bundle.argv("exec", *options, "c", *words))
        return bundle.host.run(argv, timeout=LIMIT_S, stdin=b"").returncode

    assert execute(None, "true") == 0
    tried = points(log, "memfd_create")
    killed = 0
    for at in tried:
        execute(at, "sleep", "2")
        killed += was_killed(log)
        still_works(bundle)
    assert killed >= len(tried) * 0.7, "how many calls there are varies, but not that much"
    assert running.poll() is None


@pytest.mark.parametrize("options", [(), ("--detach",)], ids=["attached", "detached"])
def test_a_carrier_whose_process_runs(bundle: Bundle, running: "subprocess.Popen[bytes]", options: tuple[str, ...]) -> None:
    pid_file = bundle.directory / "pid"
    argv = bundle.argv("exec", *options, "--pid-file", str(pid_file), "c", "sleep", "1000")
    process = bundle.host.popen(argv, stdin=NULL, stdout=NULL, stderr=NULL)
    until(lambda: any("sleep 1000" in line for line in guests(bundle)))
    bundle.host.run(["kill", "-KILL", pid_file.read_text()], check=True)
    process.wait(LIMIT_S)
    still_works(bundle)
    assert running.poll() is None


def test_a_carrier_in_a_created_container(bundle: Bundle, tmp_path: Path) -> None:
    """Exec is an error there; what is killed on the way to it leaves nothing either."""
    bundle.write("/bin/sh", "-c", WAITS)
    with (tmp_path / "out").open("wb") as out:
        bundle.host.popen(bundle.argv("create", "c"), stdin=NULL, stdout=out, stderr=out).wait(LIMIT_S)
    log = tmp_path / "strace"
    argv = bundle.argv("exec", "c", "true")
    assert bundle.host.run(strace(log, None, *argv), timeout=LIMIT_S).returncode == 255
    for at in points(log, "openat")[-3:]:
        bundle.host.run(strace(log, at, *argv), timeout=LIMIT_S)
    bundle.runx("start", "c", check=True)
    still_works(bundle)


def test_the_supervisor(bundle: Bundle, tmp_path: Path) -> None:
    """At any step of an exec: who waits for the process hears of it, and `delete --force` removes all."""
    log, pid_file = tmp_path / "strace", tmp_path / "pid"

    def life(at: tuple[str, int] | None) -> None:
        bundle.write("/bin/sh", "-c", WAITS)
        process = bundle.host.popen([*bundle.argv("run", "--pid-file", str(pid_file)), "c"], stdin=NULL, stdout=NULL, stderr=NULL)
        until(lambda: b'"running"' in bundle.runx("state", "c").stdout)
        tracer = bundle.host.popen(strace(log, at, "-p", pid_file.read_text()), stdin=NULL, stderr=NULL)
        until(lambda: log.exists())
        status = bundle.runx("exec", "c", "true").returncode
        assert status in ((0,) if at is None else (0, 1, 255)), status
        bundle.runx("delete", "--force", "c", check=True)
        process.wait(LIMIT_S)
        tracer.wait(LIMIT_S)
        nothing_is_left(bundle)

    life(None)
    tried = points(log, "recvmsg")
    killed = 0
    for at in tried:
        log.unlink()
        life(at)
        killed += was_killed(log)
    assert killed, "nobody was killed"


def test_the_supervisor_while_a_process_runs(bundle: Bundle, running: "subprocess.Popen[bytes]") -> None:
    """The carrier says that it was lost, at once."""
    execute = bundle.host.popen(bundle.argv("exec", "c", "sleep", "1000"), stdin=NULL, stdout=NULL, stderr=NULL)
    until(lambda: any("sleep 1000" in line for line in guests(bundle)))
    supervisor = json.loads(bundle.runx("state", "c", check=True).stdout)["pid"]
    bundle.host.run(["kill", "-KILL", str(supervisor)], check=True)
    assert execute.wait(LIMIT_S) == 255
    running.wait(LIMIT_S)  # which deletes the container


ENDS: dict[str, Callable[[Bundle], None]] = {
    "in order": lambda bundle: bundle.runx("kill", "c", "TERM", check=True),
    "by KILL": lambda bundle: bundle.runx("kill", "c", "KILL", check=True),
    "by xl": lambda bundle: bundle.host.run(
        ["sh", "-c", "xl destroy $(xl list | tail -n 1 | awk '{print $2}')"], check=True
    ),
}  # fmt: skip


@pytest.mark.parametrize("end", ENDS)
def test_a_container_that_ends_under_a_process_that_nobody_reads(
    bundle: Bundle, running: "subprocess.Popen[bytes]", end: str
) -> None:
    """Unread output of a session holds nothing up, whether its carrier lives or not."""
    unread = [
        bundle.host.popen(bundle.argv("exec", "c", "yes"), stdin=NULL, stdout=subprocess.PIPE, stderr=NULL) for _ in range(2)
    ]
    until(lambda: sum("yes" in line for line in guests(bundle)) == 2)
    carriers = json.loads(bundle.runx("ps", "--format", "json", "c", check=True).stdout)[1:]
    assert len(carriers) == 2
    own = str(carriers[0])
    bundle.host.run(["kill", "-KILL", own], check=True)
    ENDS[end](bundle)
    running.wait(LIMIT_S)
    statuses = sorted(process.wait(LIMIT_S) for process in unread)
    assert 137 in statuses and len(statuses) == 2, statuses
    for process in unread:
        assert process.stdout is not None
        process.stdout.close()


@pytest.mark.parametrize("when", ["running", "ending"])
def test_the_shim(host: Double, when: str) -> None:
    """containerd removes what a shim leaves, with a process of exec in it."""
    container = Running(host, f"{'trap : TERM; ' if when == 'ending' else ''}echo ready; while :; do sleep 0.1; done")
    words = ["ctr", "task", "exec", "--exec-id", "e", container.id, "sleep", "1000"]
    execute = host.popen(words, stdin=NULL, stdout=NULL, stderr=NULL)
    ps = ["/usr/local/bin/runx", "--root", "/run/containerd/runc/default", "ps", container.id]
    until(lambda: b"sleep 1000" in host.run(ps).stdout)
    if when == "ending":
        container.kill("TERM")
    shims = host.run(["pgrep", "-f", f"^[^ ]*containerd-shim.* {container.id}"], check=True).stdout.decode().split()
    for shim in shims:
        host.run(["kill", "-KILL", shim], check=True)
    execute.wait(LIMIT_S)
    container.process.communicate(timeout=LIMIT_S)
    until(lambda: container.id.encode() not in host.run(["ctr", "task", "ls"]).stdout)
    until(lambda: len(host.run(["xl", "list"], check=True).stdout.splitlines()) == 2)
    ps = ["ps", "-eo", "args", "-ww"]
    until(lambda: not re.search(rf"{container.id}|^runx: ", host.run(ps).stdout.decode(), re.MULTILINE))
    host.run(["ctr", "container", "rm", container.id])
