"""Control groups and changed limits: containerd's metrics, and `runx update` of a running machine."""

import json
import re

from runxtools.machine import Machine
from runxtools.testing.containers import LIMIT_S, RUNX, Running

STATE = "/run/containerd/runc/default"
"""State root of runx for containers of containerd's namespace `default`."""


def runx(host: Machine, *words: str) -> "tuple[int, bytes, bytes]":
    result = host.run([RUNX, "--root", STATE, *words], timeout=LIMIT_S)
    return result.returncode, result.stdout, result.stderr


def groups(host: Machine, container: str) -> list[str]:
    """Directories of a container's control group."""
    found = host.run(["find", "/sys/fs/cgroup", "-type", "d", "-name", container], timeout=LIMIT_S)
    return found.stdout.decode().split()


def test_metrics_and_the_group(host: Machine) -> None:
    container = Running(host, "echo ready; cat")
    metrics = host.run(["ctr", "task", "metrics", container.id], timeout=LIMIT_S)
    assert (metrics.returncode, metrics.stderr) == (0, b"")
    state = json.loads(runx(host, "state", container.id)[1])
    mine = host.run(["cat", f"/proc/{state['pid']}/cgroup"], check=True).stdout.decode()
    assert f"/default/{container.id}\n" in mine
    assert groups(host, container.id)
    assert container.end()[0] == 0
    assert groups(host, container.id) == []


def test_memory_goes_down_and_up_again(host: Machine) -> None:
    container = Running(host, "echo ready; cat", ["--memory-limit", str(128 * 1024 * 1024)])
    domain = next(name for name in domains(host) if container.id in name)
    before = domains(host)[domain]
    assert runx(host, "update", "--memory", "64m", container.id) == (0, b"", b"")
    low = domains(host)[domain]
    assert before - 80 <= low <= before - 60
    stats = json.loads(runx(host, "events", "--stats", container.id)[1])
    assert stats["data"]["memory"]["usage"]["limit"] < 110 * 1024 * 1024
    status, _, errors = runx(host, "update", "--memory", "256m", container.id)
    assert status == 1
    assert b"cannot grow" in errors
    assert runx(host, "update", "--memory", "128m", container.id) == (0, b"", b"")
    assert domains(host)[domain] == before
    assert container.end()[0] == 0


def test_processors(host: Machine) -> None:
    container = Running(host, "echo ready; cat", ["--cpus", "1.5"])
    limits = ["--cpu-quota", "50000", "--cpu-period", "100000", "--cpu-share", "512"]
    assert runx(host, "update", *limits, container.id) == (0, b"", b"")
    name = next(name for name in domains(host) if container.id in name)
    scheduler = next(
        line.split(":")[1].strip()
        for line in host.run(["xl", "info"], check=True, timeout=LIMIT_S).stdout.decode().splitlines()
        if line.startswith("xen_scheduler")
    )
    said = host.run(["xl", f"sched-{scheduler}", "-d", name], check=True, timeout=LIMIT_S).stdout.decode()
    assert re.search(r"\s128\s+50$", said.strip()), said
    status, _, errors = runx(host, "update", "--cpu-quota", "400000", "--cpu-period", "100000", container.id)
    assert status == 1
    assert b"cannot have more" in errors
    status, _, errors = runx(host, "update", "--pids-limit", "7", container.id)
    assert status == 1
    assert b"--pids-limit" in errors
    assert container.end()[0] == 0


def domains(host: Machine) -> dict[str, int]:
    """Memory of each domain in MiB, by name."""
    lines = host.run(["xl", "list"], check=True, timeout=LIMIT_S).stdout.decode().splitlines()[1:]
    return {line.split()[0]: int(line.split()[2]) for line in lines}
