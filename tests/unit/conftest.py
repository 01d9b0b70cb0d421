"""What several of the unit tests start from: a guest's ramdisk, and a host with the Xen of bookkeeping."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

import guestbox
from commandhost import Host
from initbox import PATH, Start
from netspace import Namespace
from runxtools.testing.fakexen import FakeXen

# A test never fails for want of speed: the machine may be busy.
settings.register_profile("any-speed", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("any-speed")


@pytest.fixture(scope="session")
def programs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """/init and the probe, compiled."""
    return guestbox.compile_guest(tmp_path_factory.mktemp("guest"))


@pytest.fixture
def root(tmp_path: Path, programs: tuple[Path, Path]) -> Path:
    """The ramdisk's root; the container's is in `newroot` there."""
    # The tests' user need not be able to enter pytest's folders; a container's user must.
    guestbox.make_root(tmp_path / "root", *programs)
    return tmp_path / "root"


@pytest.fixture
def start(root: Path) -> Iterator[Start]:
    """Starts /init for a process with these records."""
    boxes: list[guestbox.GuestBox] = []

    def begin(*args: object, setup: str = guestbox.DEFAULT_SETUP, network: str = "", **values: object) -> guestbox.GuestBox:
        values = {"args": list(args), "env": [PATH], "cwd": "/", **values}
        boxes.append(guestbox.GuestBox(root, setup=setup, network=network, process=guestbox.records(**values)))
        return boxes[-1]

    yield begin
    for box in boxes:
        box.__exit__()


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    with FakeXen(tmp_path / "xen") as xen:
        host = Host(xen, tmp_path)
        yield host
        for container in list(host.root.iterdir()) if host.root.exists() else []:
            host.runx("delete", "--force", container.name)


@pytest.fixture
def spaces() -> Iterator[list[Namespace]]:
    """Namespaces that a test makes, for their end."""
    made: list[Namespace] = []
    yield made
    for space in made:
        space.close()
