"""What a supervisor tells the guest of the file system that the layer is on."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from runx.exec.console import frames as link
from runx.exec.container.record import Record
from runx.exec.storage import room
from runx.exec.supervisor.space import LayerSpace, layer_of

MIB = 2**20


class Watched:
    """A layer of 1 GiB, of which the host holds some, on a file system with so much beyond the reserve."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        self.spare = 100 * MIB
        self.file = directory / "layer"
        self.file.touch()
        os.truncate(self.file, 1 << 30)
        self.frames: list[bytes] = []
        self.guest = SimpleNamespace(greeted=False, has_room=True, put=self.frames.append)
        guest: Any = self.guest
        self.part = LayerSpace(Record("/nowhere"), str(self.file), guest)
        monkeypatch.setattr(time, "monotonic", lambda: self.now)
        monkeypatch.setattr(room, "spare", lambda *_: self.spare)

    def write(self, mib: int) -> None:
        """As the guest does, to blocks of the layer that the host does not have yet."""
        before = self.held()
        fd = os.open(self.file, os.O_WRONLY)
        os.posix_fallocate(fd, before, mib * MIB)
        os.close(fd)
        self.spare -= self.held() - before

    def held(self) -> int:
        return self.file.stat().st_blocks * 512

    def turn(self) -> list[tuple[int, int]]:
        """Take a turn at the time at which the part wants one; limit and held of the frames of that turn."""
        poller: Any = None
        at = self.part.watch(poller)
        if at is not None:
            self.now = max(self.now, at)
        self.part.handle({})
        told = [(int.from_bytes(frame[4:12], "little"), int.from_bytes(frame[12:], "little")) for frame in self.frames]
        assert all(frame[:4] == bytes((link.SPACE, 0, 16, 0)) for frame in self.frames)
        self.frames.clear()
        return told


@pytest.fixture
def watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Watched]:
    watched = Watched(tmp_path, monkeypatch)
    yield watched
    watched.part.close()


def test_a_guest_is_told_when_it_listens(watched: Watched) -> None:
    poller: Any = None
    assert watched.part.watch(poller) is None and watched.turn() == []
    watched.guest.greeted = True
    assert watched.turn() == [(100 * MIB, 0)]
    assert watched.turn() == []


def test_what_the_guest_writes_changes_nothing(watched: Watched) -> None:
    watched.guest.greeted = True
    watched.turn()
    watched.write(30)
    assert watched.turn() == []


def test_what_others_use_and_free(watched: Watched) -> None:
    watched.guest.greeted = True
    watched.write(30)
    ((limit, held),) = watched.turn()
    assert (limit, held) == (100 * MIB, watched.held())
    watched.spare -= 40 * MIB
    assert watched.turn() == [(60 * MIB, held)]
    watched.spare -= 500 * MIB
    assert watched.turn() == [(0, held)], "never less than nothing"
    watched.spare += 5000 * MIB
    assert watched.turn() == [(1 << 30, held)], "never more than the layer's size"


def test_looks_are_as_often_as_needed(watched: Watched) -> None:
    watched.guest.greeted = True
    waits = []
    for spare in (-5 * MIB, 100 * MIB, 4 << 30, 1 << 40):
        watched.spare = spare
        watched.turn()
        poller: Any = None
        waits.append((watched.part.watch(poller) or 0) - watched.now)
    assert waits == pytest.approx([0.25, 0.25, 4, 10])


def test_a_change_of_the_layer_is_told_too(watched: Watched) -> None:
    """The guest may have removed files, which changes no number of the host. It is asked seldom."""
    watched.guest.greeted = True
    watched.turn()
    os.utime(watched.file, (5, 5))
    begin, told = watched.now, []
    while not told:
        told = watched.turn()
    assert told == [(100 * MIB, 0)] and 9.9 < watched.now - begin < 11
    begin = watched.now
    while watched.now < begin + 60:
        assert watched.turn() == [], "nothing has changed since"


def test_a_guest_that_takes_nothing_gets_the_newest(watched: Watched) -> None:
    watched.guest.greeted = True
    watched.guest.has_room = False
    assert watched.turn() == []
    watched.spare = 20 * MIB
    watched.guest.has_room = True
    assert watched.turn() == [(20 * MIB, 0)]


def test_the_layer_among_disks() -> None:
    assert layer_of(["ro base /images/a b", "rw layer /store/a b/runx-layer"]) == "/store/a b/runx-layer"
    assert layer_of(["rw raw /layer"]) == ""


def test_a_reserve_is_at_most_a_tenth() -> None:
    assert room.reserve(100 << 30, 1024) == 1 << 30
    assert room.reserve(300 * MIB, 1024) == 30 * MIB
