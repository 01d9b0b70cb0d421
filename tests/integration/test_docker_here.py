"""docker runs containers with runx as it is: its daemon, its containerd and their shim, at the machine's own speed."""

import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine_exec_tests import *  # noqa: F403
from engine_network_tests import *  # noqa: F403
from engine_tests import *  # noqa: F403
from engine_tests import IMAGE
from engines import BY_TYPE, DOCKER, docker_version, start_dockerd
from runxtools import ociimage
from runxtools.double.host import Double
from runxtools.testing.bundles import BUSYBOX
from runxtools.testing.containers import LIMIT_S, until

NONE = ("--network", "none")


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Double]:
    """A double of its own: another's containerd would be used instead of docker's."""
    with Double() as double:
        start_dockerd(double)
        image = tmp_path_factory.mktemp("docker") / "image.tar"
        ociimage.write(image, BUSYBOX, IMAGE)
        double.run([*DOCKER, "load", "-i", str(image)], check=True, timeout=LIMIT_S)
        yield double


@pytest.fixture
def docker(host: Double) -> Iterator[list[str]]:
    """docker's command line. Whatever a test leaves is removed, and then nothing of it may be left."""
    yield [*DOCKER]
    host.run(["sh", "-c", "docker ps -aq | xargs -r docker rm -f"], check=True, timeout=LIMIT_S)
    assert len(host.run(["xl", "list"], check=True).stdout.splitlines()) == 2, "a header and dom0"
    # The second is that of a runtime by the type of its shim.
    states = "for i in /run/docker/runtime-*/moby /run/containerd/runc/moby; do [ ! -d $i ] || ls -A $i; done"
    assert host.run(["sh", "-c", states], check=True).stdout == b""


@pytest.fixture
def engine(docker: list[str]) -> list[str]:
    """For the tests that podman has, too; runx is the runtime of all their containers."""
    return docker


def run(*words: str) -> list[str]:
    return [*DOCKER, "run", *NONE, *words]


def sh(*options: str, script: str) -> list[str]:
    return run(*options, IMAGE, "/bin/sh", "-c", script)


def inspect(host: Double, container: str, what: str) -> str:
    return host.run([*DOCKER, "inspect", "--format", what, container], check=True).stdout.decode().strip()


@pytest.mark.parametrize("status", [0, 3, 255])
def test_exit_status(host: Double, docker: list[str], status: int) -> None:
    assert host.run(sh("--rm", script=f"exit {status}"), timeout=LIMIT_S).returncode == status
    assert host.run([*docker, "ps", "-aq"], check=True).stdout == b"", "--rm"


def test_a_runtime_by_the_type_of_its_shim(host: Double, docker: list[str]) -> None:
    if docker_version(host) < (23,):
        pytest.skip("this docker has runtimes by path alone")
    result = host.run(sh("--rm", "--runtime", BY_TYPE, script="exit 6"), timeout=LIMIT_S)
    assert result.returncode == 6, result.stderr
    known = host.run([*docker, "info", "--format", "{{json .Runtimes}}"], check=True).stdout
    assert {"runx", BY_TYPE} <= json.loads(known).keys()


def test_kill_and_start_again(host: Double, docker: list[str]) -> None:
    script = "trap 'echo told' USR1; echo ready; while :; do sleep 0.1; done"
    host.run(sh("--detach", "--name", "one", script=script), check=True, timeout=LIMIT_S)
    for life in range(2):
        logs = host.popen([*docker, "logs", "--follow", "one"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        assert logs.stdout is not None
        assert [logs.stdout.readline() for _ in range(1 + 2 * life)][-1] == b"ready\n"
        host.run([*docker, "kill", "--signal", "USR1", "one"], check=True)
        assert logs.stdout.readline() == b"told\n"
        assert inspect(host, "one", "{{.State.Status}}") == "running"
        host.run([*docker, "kill", "one"], check=True, timeout=LIMIT_S)
        assert host.run([*docker, "wait", "one"], check=True, timeout=LIMIT_S).stdout == b"137\n"
        assert logs.communicate(timeout=LIMIT_S)[0] == b""
        if not life:
            host.run([*docker, "start", "one"], check=True, timeout=LIMIT_S)
    host.run([*docker, "rm", "one"], check=True)


def test_a_container_that_fails_is_started_again(host: Double, docker: list[str]) -> None:
    events = ["events", "--since", "1", "--filter", "container=again", "--filter", "event=die", "--format", "{{json .}}"]
    host.run(
        sh("--detach", "--name", "again", "--restart", "on-failure:2", script="echo life; exit 4"), check=True, timeout=LIMIT_S
    )
    with host.popen([*docker, *events], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as watch:
        assert watch.stdout is not None
        ends = [json.loads(watch.stdout.readline())["Actor"]["Attributes"]["exitCode"] for _ in range(3)]
        watch.kill()
    assert ends == ["4"] * 3
    assert inspect(host, "again", "{{.RestartCount}} {{.State.Status}}") == "2 exited"
    assert host.run([*docker, "logs", "again"], check=True).stdout == b"life\n" * 3


def test_one_that_is_to_run_always_is_stopped_for_good(host: Double, docker: list[str]) -> None:
    script = "trap 'exit 0' TERM; echo ready; while :; do sleep 0.1; done"
    host.run(sh("--detach", "--name", "always", "--restart", "always", script=script), check=True, timeout=LIMIT_S)
    logs = host.popen([*docker, "logs", "--follow", "always"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    assert logs.stdout is not None and logs.stdout.readline() == b"ready\n"
    host.run([*docker, "stop", "always"], check=True, timeout=LIMIT_S)
    logs.communicate(timeout=LIMIT_S)
    assert inspect(host, "always", "{{.State.Status}} {{.State.ExitCode}}") == "exited 0"


def test_what_it_says_of_a_running_one(host: Double, docker: list[str]) -> None:
    host.run(sh("--detach", "--name", "two", script="exec sleep 1000"), check=True, timeout=LIMIT_S)
    stats = host.run([*docker, "stats", "--no-stream", "two"], timeout=LIMIT_S)
    assert stats.returncode == 0 and b" two " in stats.stdout, stats
    top = host.run([*docker, "top", "two", "-e", "-ww", "-o", "pid,args"], timeout=LIMIT_S)
    assert top.returncode == 0 and b"runx.exec.supervisor" in top.stdout, top
    host.run([*docker, "pause", "two"], check=True, timeout=LIMIT_S)
    assert inspect(host, "two", "{{.State.Status}}") == "paused"
    host.run([*docker, "unpause", "two"], check=True, timeout=LIMIT_S)
    executed = host.run([*docker, "exec", "two", "true"], timeout=LIMIT_S)
    assert executed.returncode in (126, 128)  # the second with docker 28
    assert b"exec is not allowed by policy.exec of runx.toml" in executed.stdout + executed.stderr
    removed = host.run([*docker, "rm", "two"])
    assert removed.returncode and b"running" in removed.stderr
    host.run([*docker, "rm", "--force", "two"], check=True, timeout=LIMIT_S)


@pytest.mark.usefixtures("may_exec")
def test_top_where_exec_is_allowed(host: Double, docker: list[str]) -> None:
    """A row for the container's process and for each that runs by exec, as processes of the host stand for them."""

    def top() -> list[str]:
        said = host.run([*docker, "top", "top", "-e", "-ww", "-o", "pid,args"], check=True, timeout=LIMIT_S).stdout.decode()
        return [line.split(maxsplit=1)[1] for line in said.splitlines()[1:]]

    host.run(sh("--detach", "--name", "top", script="echo; exec sleep 1000"), check=True, timeout=LIMIT_S)
    until(lambda: top() == ["runx: /bin/sh -c echo; exec sleep 1000"], top)
    host.run([*docker, "exec", "--detach", "top", "sleep", "2000"], check=True, timeout=LIMIT_S)
    until(lambda: top()[1:] == ["runx: sleep 2000"], top)
    end = "kill $(pidof sleep | tr ' ' '\\n' | grep -vx 1)"
    host.run([*docker, "exec", "top", "/bin/sh", "-c", end], check=True, timeout=LIMIT_S)
    until(lambda: len(top()) == 1, top)
    host.run([*docker, "rm", "--force", "top"], check=True, timeout=LIMIT_S)


def test_binds_environment_and_user(host: Double, docker: list[str], tmp_path: Path) -> None:
    for name in ("rw", "ro"):
        (tmp_path / name).mkdir()
    options = ["--rm", "-v", f"{tmp_path}/rw:/rw", "-v", f"{tmp_path}/ro:/ro:ro", "-e", "A=b=c", "-u", "0:50", "-w", "/tmp"]
    script = "echo here > /rw/file; echo here > /ro/file || echo refused; echo $A; id -g; pwd; grep Seccomp: /proc/self/status"
    result = host.run(sh(*options, "--read-only", script=script), timeout=LIMIT_S)
    assert result.stdout.decode().split("\n") == ["refused", "b=c", "50", "/tmp", "Seccomp:\t2", ""], result
    assert (tmp_path / "rw/file").read_text() == "here\n" and list((tmp_path / "ro").iterdir()) == []


@pytest.fixture
def network(host: Double, docker: list[str]) -> Iterator[str]:
    """A network of docker's own, where containers know each other by name."""
    host.run([*docker, "network", "create", "--subnet", "10.213.91.0/24", "names"], check=True, timeout=LIMIT_S)
    yield "names"
    host.run(["sh", "-c", "docker ps -aq | xargs -r docker rm -f"], check=True, timeout=LIMIT_S)
    host.run([*docker, "network", "rm", "names"], check=True, timeout=LIMIT_S)


def test_names_of_containers(host: Double, docker: list[str], network: str) -> None:
    """docker's server of names is in the container's network namespace, and /etc/resolv.conf is written in a hook of docker's."""
    serve = "echo served by web > /tmp/page; httpd -p 80 -h /tmp; echo ready; while :; do sleep 0.1; done"
    run = ["run", "--detach", "--name", "web", "--network", network, "--network-alias", "site", IMAGE, "/bin/sh", "-c", serve]
    host.run([*docker, *run], check=True, timeout=LIMIT_S)
    logs = host.popen([*docker, "logs", "--follow", "web"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    assert logs.stdout is not None and logs.stdout.readline() == b"ready\n"
    script = (
        "cat /etc/resolv.conf; wget -q -O - http://web/page; wget -q -O - http://site/page; nslookup nobody.names || echo none"
    )
    other = host.run([*docker, "run", "--rm", "--network", network, IMAGE, "/bin/sh", "-c", script], timeout=LIMIT_S)
    text = other.stdout.decode()
    assert "\nnameserver 127.0.0.11\n" in f"\n{text}", (text, other.stderr)  # docker 25 and newer write comments before it
    assert text.count("served by web\n") == 2, (text, other.stderr)
    assert text.endswith("none\n")
    host.run([*docker, "rm", "--force", "web"], check=True, timeout=LIMIT_S)
    logs.communicate(timeout=LIMIT_S)
