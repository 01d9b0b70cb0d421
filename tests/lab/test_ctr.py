"""containerd's ctr in the lab: all that tests/shared has, and what takes a machine of its own."""

from ctr_tests import *  # noqa: F403
from runxtools.lab.lab import Lab
from runxtools.testing.containers import Running, sh


def test_the_container_is_a_domain_of_its_own(lab: Lab) -> None:
    container = Running(lab, "echo ready; read line; uname -r; echo $$")
    domains = lab.run(["xl", "list"], check=True).stdout.decode()
    assert container.id in domains
    status, output, errors = container.end(b"go\n")
    assert status == 0, errors
    release, pid = output.decode().split()
    assert release.endswith("-runx")
    assert pid == "1", "the process is PID 1 of its namespace, as under runc"


def test_limits_become_the_machine(lab: Lab) -> None:
    """The container has at least the memory of its limit, and one processor by default."""
    result = sh(
        lab, "awk '/MemTotal|MemAvailable/ { print $2 }' /proc/meminfo; nproc", options=["--memory-limit", str(128 << 20)]
    )
    total, available, processors = map(int, result.stdout.split())
    assert 128 << 10 <= available <= total <= 192 << 10
    assert processors == 1
