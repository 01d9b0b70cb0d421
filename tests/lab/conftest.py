"""Tests in the Xen lab that `--lab` names (docs/lab.md). After the last, dom0 must be as it was before the first.

All are marked `lab`. Tests marked `needs_qemu` are skipped on a Debian whose QEMU cannot serve PV guests.

With pytest-xdist (`-n 2 --dist loadfile`) two tests at once use the two processors of dom0. A test marked `alone` has dom0 for
itself.
"""

import fcntl
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))

from runxtools.lab import kinds
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
)
"""Modules and tests that get the marker `long`: each takes minutes, or another engine's tests have the same containers."""
CHANGES_SETTINGS = {
    "test_anti_spoofing.py",
    "test_guest_type.py",
    "test_own_ramdisk.py",
    "test_xlconf.py",
    "test_the_hosts_network",
    "may_exec",
}
"""Modules, tests, and a fixture that change runx's settings in dom0 for a while: they are `alone`."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    kind = kinds.named(config.getoption("--lab"))
    left_out = [item for item in items if item.path.parent == Path(__file__).parent and item.name in ONLY_ON_THE_DOUBLE]
    if left_out:
        config.hook.pytest_deselected(items=left_out)
        items[:] = [item for item in items if item not in left_out]
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.lab)
            if {item.path.name, item.name, *getattr(item, "fixturenames", ())} & CHANGES_SETTINGS:
                item.add_marker(pytest.mark.alone)
            if item.path.name in LONG or item.name in LONG:
                item.add_marker(pytest.mark.long)
            if not kind.systemd and item.get_closest_marker("systemd"):
                item.add_marker(pytest.mark.skip(reason=f"systemd does not start dom0 of {kind.name}"))
            if kind.suite == WITHOUT_QEMU and item.get_closest_marker("needs_qemu"):
                item.add_marker(pytest.mark.skip(reason=f"QEMU of {kind.suite} cannot serve PV guests: --lab bookworm"))


def _lab(config: pytest.Config) -> Lab:
    return Lab(kinds.named(config.getoption("--lab")))


def _has_workers(config: pytest.Config) -> bool:
    """Whether this process gives the tests to others, which run them."""
    return bool(config.getoption("numprocesses", None)) and not _is_worker(config)


def _is_worker(config: pytest.Config) -> bool:
    return hasattr(config, "workerinput")


_BEFORE = pytest.StashKey[set[str]]()
"""The inventory of dom0 before the workers began."""


def pytest_sessionstart(session: pytest.Session) -> None:
    if _has_workers(session.config) and not session.config.option.collectonly:
        lab = _lab(session.config)
        lab.up()
        session.config.stash[_BEFORE] = inventory(lab)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Runs when the workers have ended. What one of them sees of dom0 is the other's as well."""
    before = session.config.stash.get(_BEFORE, None)
    if before is not None and (left := leaks(_lab(session.config), before)):
        print("\nleft behind in dom0:\n" + "\n".join(left))
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


@contextmanager
def _turn(alone: bool, directory: Path) -> Iterator[None]:
    """Be in dom0 during the context, beside others or alone. Who waits to be alone lets nobody in before."""
    with ExitStack() as stack:
        gate = stack.enter_context((directory / "tests-gate").open("w"))
        room = stack.enter_context((directory / "tests-room").open("w"))
        fcntl.flock(gate, fcntl.LOCK_EX)
        fcntl.flock(room, fcntl.LOCK_EX if alone else fcntl.LOCK_SH)
        if not alone:
            fcntl.flock(gate, fcntl.LOCK_UN)
        yield


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    if not _is_worker(item.config):
        return (yield)
    with _turn(item.get_closest_marker("alone") is not None, _lab(item.config).directory):
        return (yield)


@pytest.fixture(scope="session")
def lab(pytestconfig: pytest.Config) -> Iterator[Lab]:
    """A lab that is up and has this checkout installed."""
    lab = _lab(pytestconfig)
    if _is_worker(pytestconfig):
        yield lab
        return
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
