"""Tests on a machine that has Xen's tools but no Xen (docs/double.md)."""

import json
import os
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))

from engines import start_containerd
from runxtools.double.host import Double
from runxtools.testing.bundles import Bundle
from spaces import FIRST, Space


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


@pytest.fixture(scope="module")
def netconf(double: Double) -> Iterator[str]:
    """A word of the environment that gives a container an interface on a bridge."""
    double.run(["sh", "-euc", FIRST.format("br7", 7)], check=True)
    network = {"cniVersion": "0.2.0", "name": "n", "type": "bridge", "bridge": "br7", "ipam": {"subnet": "10.9.7.0/24"}}
    file = f"/etc/runx/networks/{uuid.uuid4().hex}.conf"
    script = 'mkdir -p "$(dirname "$1")"; cat > "$1"'
    double.run(["sh", "-euc", script, "sh", file], stdin=json.dumps(network).encode(), check=True)
    yield f"NETCONF={file},n,10.9.7.7"
    double.run(["rm", file], check=True)
    double.run(["rmdir", "-p", "--ignore-fail-on-non-empty", "/etc/runx/networks"])
    double.run(["ip", "link", "delete", "br7"], check=True)
