"""podman runs containers with runx as it is: conmon waits for the supervisor, the log file tells why something failed."""

import errno
import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from containers import LIMIT_S, RUNX, Host
from runxtools import ociimage

IMAGE = "localhost/runx-test-podman:latest"


@pytest.fixture
def podman(host: Host, scratch: str, tmp_path: Path) -> Iterator[list[str]]:
    """podman's command line, with a storage of its own that has the test image."""
    # In the double the guest's kernel is the host's, which may not have that controller to give.
    controllers = host.run(["cat", "/sys/fs/cgroup/cgroup.controllers"], check=True).stdout.split()
    limit = "" if b"pids" in controllers else "pids_limit = 0\n"
    host.run(["sh", "-c", f"cat > {scratch}/containers.conf"], stdin=f"[containers]\n{limit}".encode(), check=True)
    command = [
        "env",
        f"CONTAINERS_CONF={scratch}/containers.conf",
        "podman",
        "--root",
        f"{scratch}/storage",
        "--runroot",
        f"{scratch}/run",
        "--storage-driver",
        "vfs",
    ]
    command += ["--cgroup-manager", "cgroupfs", "--events-backend", "file", "--runtime", RUNX]
    host.get("/bin/busybox", tmp_path / "busybox")
    ociimage.write(tmp_path / "image.tar", tmp_path / "busybox", IMAGE)
    host.put(tmp_path / "image.tar", f"{scratch}/image.tar")
    host.run([*command, "load", "-i", f"{scratch}/image.tar"], check=True, timeout=LIMIT_S)
    yield command
    host.run([*command, "rm", "--all", "--force"], check=True, timeout=LIMIT_S)


def test_a_container(host: Host, podman: list[str]) -> None:
    script = "echo to stdout; echo to stderr >&2; cat; hostname; exit 4"
    argv = [*podman, "run", "--network", "none", "--hostname", "named", "-i", IMAGE, "/bin/sh", "-c", script]
    result = host.run(argv, stdin=b"input\n", timeout=LIMIT_S)
    assert result.stdout == b"to stdout\ninput\nnamed\n", result.stderr
    assert b"to stderr\n" in result.stderr
    assert result.returncode == 4
    listing = host.run([*podman, "ps", "-a", "--format", "{{.Status}}"], check=True, timeout=LIMIT_S).stdout
    assert listing.startswith(b"Exited (4)")
    result = host.run([*podman, "run", "--rm", "--network", "none", IMAGE, "no-such-program"], timeout=LIMIT_S)
    assert result.returncode == 127
    assert b"no-such-program" in result.stderr


def test_stop_and_logs(host: Host, podman: list[str]) -> None:
    """A container in the background: its output is kept, and `podman stop` reaches its trap."""
    script = "trap 'echo stopping; exit 5' TERM; echo ready; while :; do sleep 0.1; done"
    run = [*podman, "run", "--detach", "--network", "none", IMAGE, "/bin/sh", "-c", script]
    # The supervisor is conmon's child, and conmon lives on: neither may keep the caller's pipes.
    container = host.run(run, check=True, timeout=LIMIT_S).stdout.decode().strip()
    follow = host.popen([*podman, "logs", "--follow", container], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    assert follow.stdout is not None
    assert follow.stdout.readline() == b"ready\n"
    host.run([*podman, "stop", container], check=True, timeout=LIMIT_S)
    assert follow.communicate(timeout=LIMIT_S)[0] == b"stopping\n"
    status = host.run([*podman, "inspect", "--format", "{{.State.ExitCode}}", container], check=True, timeout=LIMIT_S)
    assert status.stdout == b"5\n"
    host.run([*podman, "rm", container], check=True, timeout=LIMIT_S)


def test_a_terminal(host: Host, podman: list[str]) -> None:
    argv = [
        *podman,
        "run",
        "--rm",
        "-it",
        "--network",
        "none",
        IMAGE,
        "/bin/sh",
        "-c",
        "tty; echo ready; read line; echo got $line; exit 6",
    ]
    process = host.popen(argv, tty=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert process.stdin is not None
    assert process.stdout is not None
    seen = b""
    while b"ready\r\n" not in seen:
        data = process.stdout.read1(4096)  # type: ignore[attr-defined]
        assert data, seen
        seen += data
    process.stdin.write(b"hello\r")
    process.stdin.flush()
    seen += process.communicate(timeout=LIMIT_S)[0]
    assert b"/dev/pts/0\r\n" in seen
    assert b"got hello\r\n" in seen
    assert process.returncode == 6


def test_a_seccomp_profile(host: Host, podman: list[str], scratch: str, tmp_path: Path) -> None:
    """podman takes the user's profile for its own here; the error is one that mkdir never has."""
    rule = {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno.EXDEV}
    (tmp_path / "profile.json").write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}))
    host.put(tmp_path / "profile.json", f"{scratch}/profile.json")
    script = "grep Seccomp: /proc/self/status; mkdir /tmp/x; echo $?"
    options = ["--rm", "--network", "none", "--security-opt", f"seccomp={scratch}/profile.json"]
    result = host.run([*podman, "run", *options, IMAGE, "/bin/sh", "-c", script], timeout=LIMIT_S)
    assert result.stdout == b"Seccomp:\t2\n1\n", result.stderr
    assert os.strerror(errno.EXDEV).encode() in result.stderr
