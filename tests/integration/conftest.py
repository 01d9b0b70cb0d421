"""Tests on a machine that has Xen's tools but no Xen (docs/double.md)."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))

from engines import start_containerd
from runxtools.double.host import Double
from runxtools.testing.bundles import Bundle
from spaces import Space


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if item.path.is_relative_to(Path(__file__).parent) and os.geteuid():
            item.add_marker(pytest.mark.skip(reason="namespaces and mounts need root"))


@pytest.fixture(scope="session")
def double() -> Iterator[Double]:
    with Double() as double:
        yield double


@pytest.fixture(scope="session")
def host(double: Double) -> Double:
    """With containerd, for the tests that the lab has too."""
    start_containerd(double)
    return double


@pytest.fixture(scope="session")
def storage_driver() -> str:
    """podman's: this machine's own root may be an overlay, which others cannot be above."""
    return "vfs"


@pytest.fixture
def scratch(double: Double) -> Iterator[str]:
    """A directory that goes away with the test."""
    path = double.run(["mktemp", "-d", "/tmp/test.XXXXXX"], check=True).stdout.decode().strip()
    yield path
    double.run(["rm", "-rf", path], check=True)


@pytest.fixture
def bundle(double: Double, tmp_path: Path) -> Bundle:
    return Bundle(double, tmp_path)


@pytest.fixture
def space(double: Double) -> Iterator[Space]:
    """The network namespace of an engine that is called `engine`."""
    made = Space(double, "engine")
    yield made
    made.remove()
