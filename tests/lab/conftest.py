"""Tests in the Xen lab (docs/lab.md). All are marked `lab`; after the last, dom0 must be as it was before the first."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))

from runxtools.lab.lab import Lab
from runxtools.lab.leaks import inventory, leaks


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent):
            item.add_marker(pytest.mark.lab)


@pytest.fixture(scope="session")
def lab() -> Iterator[Lab]:
    """A lab that is up and has this checkout installed."""
    lab = Lab()
    lab.up()
    before = inventory(lab)
    yield lab
    left = leaks(lab, before)
    assert not left, "left behind in dom0:\n" + "\n".join(left)


@pytest.fixture(scope="session")
def host(lab: Lab) -> Lab:
    """For the tests that are not the lab's alone."""
    return lab


@pytest.fixture
def scratch(lab: Lab) -> Iterator[str]:
    """A directory in dom0 that goes away with the test."""
    path = lab.run(["mktemp", "-d", "/tmp/test.XXXXXX"], check=True).stdout.decode().strip()
    yield path
    lab.run(["rm", "-rf", path], check=True)
