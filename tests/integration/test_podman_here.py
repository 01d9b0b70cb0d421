"""podman runs containers with runx at the machine's own speed: all that tests/shared has; and pods."""

import subprocess

import pytest

from engine_exec_tests import *  # noqa: F403
from engine_tests import IMAGE
from podman_tests import *  # noqa: F403
from runxtools.double.host import Double
from runxtools.testing.containers import LIMIT_S

# The group that podman 4.3 makes for a pod with cgroupfs allows no devices: test_a_pod_with_a_group.
NO_GROUP = "--share-parent=false"


@pytest.fixture
def pods(host: Double, engine: list[str]) -> Iterator[list[str]]:  # noqa: F405
    """podman's command line; its pods go with the test."""
    yield engine
    host.run([*engine, "pod", "rm", "--all", "--force"], check=True, timeout=LIMIT_S)
    assert len(host.run(["xl", "list"], check=True).stdout.splitlines()) == 2, "a header and dom0"
    assert host.run(["ls", "-A", "/run/runx"], check=True).stdout == b""


def test_an_overlay_volume(host: Double, engine: list[str], scratch: str) -> None:
    """What a container writes to `:O` and to the volume of an image is gone with it."""
    host.run(["sh", "-c", f"mkdir {scratch}/v; echo lower > {scratch}/v/file"], check=True)
    script = "cat /v/file; echo upper > /v/file; cat /v/file; cat /i/etc/motd; echo x > /i/etc/motd"
    options = ["--volume", f"{scratch}/v:/v:O", "--mount", f"type=image,source={IMAGE},destination=/i"]
    argv = [*engine, "run", "--rm", "--network", "none", *options, IMAGE, "/bin/sh", "-c", script]
    result = host.run(argv, timeout=LIMIT_S)
    assert result.stdout == b"lower\nupper\nrunx test image\n", result
    assert b"ead-only file system" in result.stderr
    assert host.run(["cat", f"{scratch}/v/file"], check=True).stdout == b"lower\n"


def test_cp_and_a_container_that_runs(host: Double, engine: list[str], scratch: str) -> None:
    """podman looks at the mount namespace of the supervisor then: what it cannot copy is an error (docs/roots.md)."""
    run = [*engine, "run", "--detach", "--network", "none", "--name", "box", IMAGE]
    host.run([*run, "/bin/sh", "-c", "echo made > /made; exec sleep 1000"], check=True, timeout=LIMIT_S)
    host.run(["sh", "-c", f"echo given > {scratch}/given"], check=True)
    for target in ("/given", "/tmp/given", "/root/given"):
        result = host.run([*engine, "cp", f"{scratch}/given", f"box:{target}"], timeout=LIMIT_S)
        assert result.returncode and result.stderr, (target, result)
    result = host.run([*engine, "cp", "box:/etc/motd", f"{scratch}/motd"], timeout=LIMIT_S)
    assert result.returncode and b"could not be found" in result.stderr, result
    host.run([*engine, "stop", "--time", "0", "box"], check=True, timeout=LIMIT_S)
    host.run([*engine, "cp", f"{scratch}/given", "box:/given"], check=True, timeout=LIMIT_S)
    host.run([*engine, "cp", "box:/made", f"{scratch}/made"], check=True, timeout=LIMIT_S)
    assert host.run(["cat", f"{scratch}/made"], check=True).stdout == b"made\n"


def test_update_of_memory_alone(host: Double, engine: list[str]) -> None:
    """podman asks for twice the limit of memory and swap with it."""
    run = [*engine, "run", "--detach", "--network", "none", "--memory", "200m", "--name", "box", IMAGE]
    host.run([*run, "/bin/sleep", "1000"], check=True, timeout=LIMIT_S)
    result = host.run([*engine, "update", "--memory", "128m", "box"], timeout=LIMIT_S)
    assert result.returncode == 0 and b"memory.swap: the guest has no swap" in result.stderr, result


def test_a_pod(host: Double, pods: list[str]) -> None:
    """Its containers have its network and its name in turn; what podman starts first to wait is no virtual machine."""
    host.run([*pods, "pod", "create", "--name", "web", NO_GROUP, "--publish", "8080:80"], check=True, timeout=LIMIT_S)
    host.run([*pods, "pod", "start", "web"], check=True, timeout=LIMIT_S)
    assert len(host.run(["xl", "list"], check=True).stdout.splitlines()) == 2, "a header and dom0"
    run, sh = [*pods, "run", "--pod", "web"], [IMAGE, "/bin/sh", "-c"]
    first = host.run([*run, *sh, "hostname; ip -o -4 addr show eth0; exit 3"], timeout=LIMIT_S)
    assert first.returncode == 3 and first.stdout.startswith(b"web\n") and b"inet 10." in first.stdout, first

    serve = "hostname > /tmp/page; httpd -p 80 -h /tmp; echo ready; while :; do sleep 0.1; done"
    server = host.run([*run, "--detach", *sh, serve], check=True, timeout=LIMIT_S).stdout.decode().strip()
    follow = host.popen([*pods, "logs", "--follow", server], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    assert follow.stdout is not None
    assert follow.stdout.readline() == b"ready\n"
    page = host.run(["busybox", "wget", "-q", "-O", "-", "http://127.0.0.1:8080/page"], timeout=LIMIT_S)
    assert page.stdout == b"web\n", page
    second = host.run([*run, *sh, "echo must not run"], timeout=LIMIT_S)
    assert second.returncode and second.stdout == b"", second
    assert b"one container of a pod can run at a time" in second.stderr

    host.run([*pods, "pod", "stop", "--time", "1", "web"], check=True, timeout=LIMIT_S)
    follow.communicate(timeout=LIMIT_S)
    ends = host.run([*pods, "ps", "--all", "--format", "{{.Names}} {{.Status}}"], check=True).stdout.decode()
    assert [line.split()[1:3] for line in ends.splitlines() if "-infra " in line] == [["Exited", "(0)"]], ends


def test_a_pod_with_a_group(host: Double, pods: list[str]) -> None:
    """podman 4.3 makes one that allows no devices. Xen's programs could not work there: the error says what to do."""
    version = host.run(["podman", "--version"], check=True).stdout.split()[-1]
    host.run([*pods, "pod", "create", "--name", "group"], check=True, timeout=LIMIT_S)
    result = host.run([*pods, "run", "--pod", "group", IMAGE, "echo", "runs"], timeout=LIMIT_S)
    if int(version.partition(b".")[0]) >= 5:
        assert (result.returncode, result.stdout) == (0, b"runs\n"), result
    else:
        assert result.returncode and result.stdout == b"", result
        assert b"podman pod create --share-parent=false" in result.stderr, result
