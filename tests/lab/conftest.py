"""Tests in the Xen lab that `--lab` names (docs/lab.md). After the last, dom0 must be as it was before the first.

All are marked `lab`. Tests marked `needs_qemu` are skipped on a Debian whose QEMU cannot serve PV guests.

With pytest-xdist (`-n 2 --dist loadfile`) each of its workers has a lab of its own, so a test has dom0 for itself.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))

from runxtools.lab import kinds
from runxtools.lab.kinds import Kind
from runxtools.lab.lab import Lab
from runxtools.lab.leaks import inventory, leaks

WITHOUT_QEMU = "trixie"
"""The suite whose QEMU (10.0) cannot serve PV guests: xl waits minutes for it, then `create` fails."""

ONLY_ON_THE_DOUBLE = (
    "test_a_container_sees_what_overlayfs_shows_to_the_host[False]",
    "test_a_database_and_a_package_manager[ram]",
)
"""Tests of tests/shared that take minutes in an emulated machine, beside others with the same files and programs."""
LONG = (
    "test_machine_pods.py",
    "test_podman.py",
    "test_software.py",
    "test_a_container_sees_what_overlayfs_shows_to_the_host[True]",
    "test_a_database_and_a_package_manager[9p]",
    "test_a_database_of_two_containers",
    "test_containers_on_a_full_disk",
    "test_memory_runs_out_again_and_again",
    "test_a_container_with_its_root_in_memory_has_its_whole_limit[64-48]",
    "test_ten_at_once",
    "test_five_at_once",
    "test_ports_are_forwarded",
    "test_files_are_copied_by_exec",
    "test_a_second_container_at_once_is_refused",
    "test_a_health_check",
    "test_a_network_of_another_container",
    "test_no_server_is_an_error_with_its_network",
    "test_nothing_is_checked_if_the_host_says_so",
    "test_isolated_ports[not isolated]",
)
"""Modules and tests that get the marker `long`: each takes minutes, or another engine's tests have the same containers. The last
ones are as good on the double, where every run has them."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    kind = _kind(config)
    left_out = [item for item in items if item.path.parent == Path(__file__).parent and item.name in ONLY_ON_THE_DOUBLE]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.lab)
            if item.path.name in LONG or item.name in LONG:
                item.add_marker(pytest.mark.long)
            if not kind.systemd and item.get_closest_marker("systemd"):
                item.add_marker(pytest.mark.skip(reason=f"systemd does not start dom0 of {kind.name}"))
            if kind.cpus == 1 and item.get_closest_marker("two_cpus"):
                item.add_marker(pytest.mark.skip(reason="the lab of a process that shares the tests has one processor: -n 0"))
            if kind.suite == WITHOUT_QEMU and item.get_closest_marker("needs_qemu"):
                item.add_marker(pytest.mark.skip(reason=f"QEMU of {kind.suite} cannot serve PV guests: --lab bookworm"))


def _kind(config: pytest.Config) -> Kind:
    """The lab of this process, which may be a worker."""
    kind = kinds.named(config.getoption("--lab"))
    worker = getattr(config, "workerinput", None)
    return kind.parts(worker["workercount"])[int(worker["workerid"].removeprefix("gw"))] if worker else kind


@pytest.fixture(scope="session")
def lab(pytestconfig: pytest.Config) -> Iterator[Lab]:
    """A lab that is up and has this checkout installed. After the last test, dom0 must be as it was before the first."""
    lab = Lab(_kind(pytestconfig))
    lab.up()
    before = inventory(lab)
    yield lab
    left = leaks(lab, before)
    assert not left, "left behind in dom0:\n" + "\n".join(left)


@pytest.fixture(scope="session")
def host(lab: Lab) -> Lab:
    """For the tests that are not the lab's alone."""
    return lab


@pytest.fixture(scope="session")
def storage_driver() -> str:
    """podman's: with vfs, roots are plain directories, and go by 9p."""
    return "vfs"


@pytest.fixture
def scratch(lab: Lab) -> Iterator[str]:
    """A directory in dom0 that goes away with the test."""
    path = lab.run(["mktemp", "-d", "/tmp/test.XXXXXX"], check=True).stdout.decode().strip()
    yield path
    lab.run(["rm", "-rf", path], check=True)
