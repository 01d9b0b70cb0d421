"""Tests in the Xen lab that `--lab` names (docs/lab.md). After the last, dom0 must be as it was before the first.

All are marked `lab`. Tests marked `needs_qemu` are skipped on a Debian whose QEMU cannot serve PV guests.
"""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))

from runxtools.lab import kinds
from runxtools.lab.lab import Lab
from runxtools.lab.leaks import inventory, leaks

WITHOUT_QEMU = "trixie"
"""The suite whose QEMU (10.0) cannot serve PV guests: xl waits minutes for it, then `create` fails."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    kind = kinds.named(config.getoption("--lab"))
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.lab)
            if not kind.systemd and item.get_closest_marker("systemd"):
                item.add_marker(pytest.mark.skip(reason=f"systemd does not start dom0 of {kind.name}"))
            if kind.suite == WITHOUT_QEMU and item.get_closest_marker("needs_qemu"):
                item.add_marker(pytest.mark.skip(reason=f"QEMU of {kind.suite} cannot serve PV guests: --lab bookworm"))


@pytest.fixture(scope="session")
def lab(pytestconfig: pytest.Config) -> Iterator[Lab]:
    """A lab that is up and has this checkout installed."""
    lab = Lab(kinds.named(pytestconfig.getoption("--lab")))
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
