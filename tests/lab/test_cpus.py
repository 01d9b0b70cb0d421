"""Limits of CPUs, as Xen's scheduler has them."""

import json

import pytest

from runxtools.lab.lab import Lab
from runxtools.testing.containers import LIMIT_S, RUNX, new_id


@pytest.mark.two_cpus
def test_cpu_limits_reach_the_scheduler(lab: Lab, scratch: str) -> None:
    """A container that is created is enough: its domain is there, and has not begun to run."""
    config = {
        "ociVersion": "1.2.0",
        "process": {"cwd": "/", "args": ["/bin/true"]},
        "root": {"path": "rootfs"},
        "linux": {
            "namespaces": [{"type": "network"}],
            "resources": {"cpu": {"quota": 150000, "period": 100000, "shares": 512, "cpus": "0-1,^0"}},
        },
    }
    write = ["sh", "-c", f"cd {scratch}; install -D /bin/true bundle/rootfs/bin/true; cat > bundle/config.json"]
    lab.run(write, stdin=json.dumps(config).encode(), check=True)
    container = new_id()
    runx = [RUNX, "--root", f"{scratch}/root"]
    create = [*runx, "create", "--bundle", f"{scratch}/bundle", container]
    try:
        # The supervisor keeps the streams it is given, which are the container's.
        apart = ["sh", "-c", '"$@" > "$0" 2>&1 < /dev/null || cat "$0"', f"{scratch}/output"]
        done = lab.run([*apart, *create], timeout=LIMIT_S)
        assert not done.stdout, done.stdout
        domains = lab.run(["xl", "list"], check=True).stdout.decode()
        name = next(line.split()[0] for line in domains.splitlines() if container in line)
        parameters = lab.run(["xl", "sched-credit2", "-d", name], check=True).stdout.decode().splitlines()[-1].split()
        assert parameters[-2:] == ["128", "150"], "weight and cap"
        vcpus = lab.run(["xl", "vcpu-list", name], check=True).stdout.decode().splitlines()[1:]
        assert [line.split()[-3] for line in vcpus] == ["1", "1"], "hard affinity of two virtual CPUs"
    finally:
        lab.run([*runx, "delete", "--force", container], check=True, timeout=LIMIT_S)
