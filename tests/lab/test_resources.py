"""Limits and priorities inside the guest, from bundles of our own: engines set only some of them."""

import json
import subprocess
from collections.abc import Sequence
from typing import Any

import pytest

from runxtools.lab.lab import Lab
from runxtools.testing.containers import IMAGE, LIMIT_S, RUNX, new_id

_ROOT = """\
set -e
mkdir -p {top}/bundle/rootfs {top}/image
ctr image mount {image} {top}/image > {top}/log
cp -a {top}/image/. {top}/bundle/rootfs/
ctr image unmount {top}/image >> {top}/log
"""
_MOUNTS = [
    {"destination": "/proc", "type": "proc", "source": "proc"},
    {"destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"]},
    {"destination": "/sys", "type": "sysfs", "source": "sysfs"},
    {"destination": "/sys/fs/cgroup", "type": "cgroup", "source": "cgroup"},
]


@pytest.fixture
def bundle(lab: Lab, scratch: str) -> str:
    """A bundle in dom0 with the test image as its root and no configuration yet."""
    lab.run(["sh", "-c", _ROOT.format(top=scratch, image=IMAGE)], check=True, timeout=LIMIT_S)
    return f"{scratch}/bundle"


def run(
    lab: Lab,
    bundle: str,
    script: str,
    process: dict[str, Any] | None = None,
    resources: dict[str, Any] | None = None,
    mounts: Sequence[dict[str, Any]] = (),
    options: Sequence[str] = (),
) -> "subprocess.CompletedProcess[bytes]":
    """`runx run` of a shell script with these members of `process` and `linux.resources`."""
    config = {
        "ociVersion": "1.2.0",
        "process": {"cwd": "/", "args": ["/bin/sh", "-c", script], "env": ["PATH=/bin"], **(process or {})},
        "root": {"path": "rootfs"},
        "mounts": [*_MOUNTS, *mounts],
        "linux": {
            "namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount", "cgroup")],
            "resources": resources or {},
        },
    }
    lab.run(["sh", "-c", f"cat > {bundle}/config.json"], stdin=json.dumps(config).encode(), check=True)
    return lab.run([RUNX, "--root", f"{bundle}/../state", "run", *options, "--bundle", bundle, new_id()], timeout=LIMIT_S)


def test_a_number_of_tasks(lab: Lab, bundle: str) -> None:
    """The shell and seven more; what the container sees as cgroups is its own, whose limit it cannot raise."""
    script = """
        cat /proc/self/cgroup /sys/fs/cgroup/pids.max
        echo max > /sys/fs/cgroup/pids.max || echo kept
        for i in 1 2 3 4 5 6 7 8 9; do sleep 1000 & echo $i; done
    """
    result = run(lab, bundle, script, resources={"pids": {"limit": 8}})
    assert result.stdout.decode().split() == ["0::/", "8", "kept", *"1234567"], result.stderr
    assert b"can't fork" in result.stderr
    assert result.returncode == 2


def test_a_limit_of_one_task_does_not_hold_up_the_setup(lab: Lab, bundle: str) -> None:
    result = run(lab, bundle, "echo alone; cat /proc/self/cgroup; echo more", resources={"pids": {"limit": 1}})
    assert result.stdout == b"alone\n", result.stderr
    assert b"can't fork" in result.stderr


def test_scheduling_and_priority(lab: Lab, bundle: str) -> None:
    process = {
        "scheduler": {"policy": "SCHED_FIFO", "priority": 7},
        "ioPriority": {"class": "IOPRIO_CLASS_BE", "priority": 6},
        "user": {"uid": 1000, "gid": 1000},
        "capabilities": {},
    }
    # proc_pid_stat(5): 40 is the real-time priority, 41 the policy.
    result = run(lab, bundle, "cut -d' ' -f40,41 /proc/self/stat; ionice -p $$", process)
    assert result.stdout.decode().split("\n")[0] == "7 1", result.stderr
    assert b"best-effort: prio 6" in result.stdout
    assert result.returncode == 0


def with_memory(lab: Lab, bundle: str, limit_mib: int, script: str) -> "subprocess.CompletedProcess[bytes]":
    """A container with a memory limit and bind mounts."""
    lab.run(["mkdir", "-p", f"{bundle}/one", f"{bundle}/two"], check=True)
    binds = [
        {"destination": f"/{name}", "type": "bind", "source": f"{bundle}/{name}", "options": ["rbind"]} for name in ("one", "two")
    ]
    resources = {"memory": {"limit": limit_mib * 2**20}, "pids": {"limit": 100}}
    return run(lab, bundle, script, resources=resources, mounts=binds)


@pytest.mark.parametrize("limit_mib", [64, 400])
def test_a_container_has_its_whole_limit(lab: Lab, bundle: str, limit_mib: int) -> None:
    """tail keeps all of what it may have to print, beside a shell and another program."""
    wanted = limit_mib * 2**20
    result = with_memory(lab, bundle, limit_mib, f"head -c {wanted} /dev/zero | tail -c {wanted} > /dev/null")
    assert (result.returncode, result.stderr) == (0, b"")


@pytest.mark.parametrize(("limit_mib", "root_mib"), [(8, 60), (64, 48)])
def test_a_container_with_its_root_in_memory_has_its_whole_limit(lab: Lab, bundle: str, limit_mib: int, root_mib: int) -> None:
    """The first machine is no larger than its start needs. All of the root is read, and comes as it was sent."""
    make = f"dd if=/dev/urandom of={bundle}/rootfs/large bs=1M count={root_mib} 2> {bundle}/log && md5sum < {bundle}/rootfs/large"
    expected = lab.run(["sh", "-c", make], check=True, timeout=LIMIT_S).stdout
    wanted = limit_mib * 2**20
    script = f"md5sum < /large; head -c {wanted} /dev/zero | tail -c {wanted} > /dev/null"
    resources = {"memory": {"limit": wanted}}
    result = run(lab, bundle, script, resources=resources, options=["--root-carrier", "ram"])
    assert (result.returncode, result.stdout, result.stderr) == (0, expected, b"")


def test_far_more_than_the_limit_is_not_there(lab: Lab, bundle: str) -> None:
    """200 MB in small pieces: one large piece would be refused, as it is more than the machine has."""
    script = """exec awk 'BEGIN { for (i = 0; i < 200000; i++) kept[i] = sprintf("%1000d", i) }'"""
    result = with_memory(lab, bundle, 64, script)
    assert result.returncode == 137, result.stderr


def test_more_memory_than_there_is(lab: Lab, bundle: str) -> None:
    """The guest's kernel ends the process, as a limit would under runc; `console` has the reason."""
    limit = {"memory": {"limit": 48 * 1024 * 1024}}
    result = run(lab, bundle, "exec tail /dev/zero", resources=limit, options=["--keep"])
    assert (result.returncode, result.stdout) == (137, b""), result.stderr
    words = [RUNX, "--root", f"{bundle}/../state"]
    container = lab.run([*words, "list", "--quiet"], check=True, timeout=LIMIT_S).stdout.decode().strip()
    said = lab.run([*words, "console", container], check=True, timeout=LIMIT_S).stdout
    assert b"kernel: Out of memory: Killed process" in said
    assert b"(tail)" in said
    lab.run([*words, "delete", container], check=True, timeout=LIMIT_S)


def test_memory_runs_out_again_and_again(lab: Lab, bundle: str) -> None:
    """The root is by 9p, for which the kernel looks for memory without end. It came to that once in eight times."""
    limit = {"memory": {"limit": 48 * 1024 * 1024}}
    script = "for i in $(seq 20); do tail /dev/zero; echo $?; done"
    result = run(lab, bundle, script, resources=limit, options=["--root-carrier", "9p"])
    assert (result.returncode, result.stdout.split()) == (0, [b"137"] * 20), result.stderr
