"""An unchanged podman with runx: conmon waits for the supervisor, and the log file has the reason of a failure."""

import errno
import json
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from engine_network_tests import *  # noqa: F403
from engine_tests import *  # noqa: F403
from engine_tests import IMAGE
from runxtools import ociimage
from runxtools.machine import Machine
from runxtools.testing.containers import LIMIT_S, RUNX


@pytest.fixture
def engine(host: Machine, scratch: str, storage_driver: str, tmp_path: Path) -> Iterator[list[str]]:
    """podman's command line, with its own storage that has the test image."""
    # In the double the guest's kernel is the host's, which may lack that controller.
    controllers = host.run(["cat", "/sys/fs/cgroup/cgroup.controllers"], check=True).stdout.split()
    limit = "" if b"pids" in controllers else "pids_limit = 0\n"
    backend = "cni" if host.run(["test", "-e", "/usr/lib/podman/netavark"]).returncode else "netavark"
    settings = f'[containers]\n{limit}[network]\nnetwork_backend = "{backend}"\n'
    # The name of the setting has changed between podman 4 and 5.
    settings += '[engine]\nruntime_supports_nocgroups = ["runx"]\nruntime_supports_nocgroup = ["runx"]\n'
    host.run(["sh", "-c", f"cat > {scratch}/containers.conf"], stdin=settings.encode(), check=True)
    command = [
        "env",
        f"CONTAINERS_CONF={scratch}/containers.conf",
        "podman",
        "--root",
        f"{scratch}/storage",
        "--runroot",
        f"{scratch}/run",
        "--storage-driver",
        storage_driver,
    ]
    command += ["--cgroup-manager", "cgroupfs", "--events-backend", "file", "--runtime", RUNX]
    host.get("/bin/busybox", tmp_path / "busybox")
    ociimage.write(tmp_path / "image.tar", tmp_path / "busybox", IMAGE)
    host.put(tmp_path / "image.tar", f"{scratch}/image.tar")
    host.run([*command, "load", "-i", f"{scratch}/image.tar"], check=True, timeout=LIMIT_S)
    yield command
    host.run([*command, "rm", "--all", "--force"], check=True, timeout=LIMIT_S)
    # podman's own; it makes it for its first network and keeps it.
    host.run(["sh", "-c", "! mountpoint -q /run/netns || umount -R /run/netns"], check=True)


def test_a_container_without_a_control_group(host: Machine, engine: list[str]) -> None:
    """podman knows by the runtime's name alone that it can do without (containers.conf(5), runtime_supports_nocgroups)."""
    groups = "find /sys/fs/cgroup -name 'libpod*' -o -name '*conmon*' | sort"
    before = host.run(["sh", "-c", groups], check=True).stdout
    argv = [*engine, "run", "--cgroups", "disabled", "--network", "none", "--name", "free", IMAGE, "/bin/sh", "-c", "exit 3"]
    result = host.run(argv, timeout=LIMIT_S)
    assert result.returncode == 3, result.stderr
    assert host.run(["sh", "-c", groups], check=True).stdout == before


@pytest.mark.parametrize("carrier", ["disk", "ram"])
def test_a_container_without_shares(host: Machine, engine: list[str], carrier: str) -> None:
    """A root by disk or in memory, and copies of podman's files: no 9p is needed. Writes to the root survive a restart."""
    script = (
        "cat /kept; hostname > /kept; grep -c named /etc/hosts /etc/hostname; echo more >> /etc/hosts;"
        "df -k /dev/shm | tail -1; exit 6"
    )
    run = [*engine, "run", "--network", "none", "--hostname", "named", "--shm-size", "1m", "--name", "kept"]
    argv = [*run, "--annotation", f"org.runx.root.carrier={carrier}", IMAGE, "/bin/sh", "-c", script]
    result = host.run(argv, timeout=LIMIT_S)
    assert result.returncode == 6, result.stderr
    lines = result.stdout.decode().splitlines()
    assert lines[:2] == ["/etc/hosts:1", "/etc/hostname:1"], result.stderr
    assert lines[2].split()[1] == "1024"
    again = host.run([*engine, "start", "--attach", "kept"], timeout=LIMIT_S)
    assert again.stdout.startswith(b"named\n/etc/hosts:1\n"), (again.stdout, again.stderr)
    hosts = host.run([*engine, "inspect", "--format", "{{.HostsPath}}", "kept"], check=True).stdout.decode().strip()
    assert b"more" not in host.run(["cat", hosts], check=True).stdout, "what it writes there stays in the guest"
    host.run([*engine, "rm", "kept"], check=True, timeout=LIMIT_S)


def test_a_seccomp_profile(host: Machine, engine: list[str], scratch: str, tmp_path: Path) -> None:
    """The profile replaces podman's own; mkdir never gives its error otherwise."""
    rule = {"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO", "errnoRet": errno.EXDEV}
    (tmp_path / "profile.json").write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}))
    host.put(tmp_path / "profile.json", f"{scratch}/profile.json")
    script = "grep Seccomp: /proc/self/status; mkdir /tmp/x; echo $?"
    options = ["--rm", "--network", "none", "--security-opt", f"seccomp={scratch}/profile.json"]
    result = host.run([*engine, "run", *options, IMAGE, "/bin/sh", "-c", script], timeout=LIMIT_S)
    assert result.stdout == b"Seccomp:\t2\n1\n", result.stderr
    assert os.strerror(errno.EXDEV).encode() in result.stderr
