"""What the supervisor does when a guest writes its layer back: a real server of the share, and a guest of a few words."""

import os
import select
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from runx.exec.console import frames as link
from runx.exec.container.record import Record
from runx.exec.ninep import exports
from runx.exec.supervisor import write_back
from runx.exec.supervisor.write_back import WriteBack
from runx.exec.xen import share_nodes

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the server needs namespaces")


class Store:
    """In the place of xenstore."""

    def __init__(self) -> None:
        self.nodes: dict[str, str] = {}

    def write(self, path: str, value: str) -> None:
        self.nodes[path] = value

    def read(self, path: str) -> str | None:
        return self.nodes.get(path)

    def set_permissions(self, *_: str) -> None:
        pass

    watch = set_permissions


class Told(Record):
    """Keeps what goes to the log."""

    def __init__(self, directory: str) -> None:
        super().__init__(directory)
        self.said: list[tuple[str, str]] = []

    def say(self, level: str, message: str) -> None:
        self.said.append((level, message))


class End:
    """A container whose process has ended."""

    def __init__(self, directory: Path) -> None:
        self.root, self.layer = directory / "root", directory / "runx-layer"
        self.root.mkdir()
        self.layer.write_text("what the container wrote")
        (directory / "shares").mkdir()
        plan: Any = {"root": {"carrier": "disk", "path": str(self.root), "write_back": "exit"}, "mounts": []}
        exports.keep(str(directory), plan)
        self.record = Told(str(directory))
        self.said = self.record.said
        self.record.domid = 5
        self.record.shares = ["mounts"]
        self.record.disks = [f"ro base {directory}/base", f"rw layer {self.layer}"]
        self.store = Store()
        self.gave_up = 0
        self.part = WriteBack(self.record, self.store, self._give_up)  # type: ignore[arg-type]

    def _give_up(self) -> None:
        self.gave_up += 1

    def turn_until(self, is_so: Callable[[], bool]) -> None:
        limit = time.monotonic() + 60
        while not is_so():
            assert time.monotonic() < limit, self.said
            poller = select.poll()
            self.part.watch(poller)
            self.part.handle(dict(poller.poll(100)))

    def finish(self) -> None:
        """As the supervisor does when the domain has gone."""
        self.part.close()
        self.part.drop_layer()


@pytest.fixture
def end(tmp_path: Path) -> Iterator[End]:
    made = End(tmp_path)
    yield made
    made.part.close()


def written(outcome: int = 0, text: bytes = b"") -> bytes:
    return bytes((outcome,)) + text


def test_the_share_is_there_when_the_guest_asks_and_the_layer_goes(end: End) -> None:
    frontend = share_nodes.frontend(5, 1)
    assert end.store.nodes == {}
    end.part.ask()
    end.turn_until(lambda: f"{frontend}/state" in end.store.nodes)
    assert (end.store.nodes[f"{frontend}/tag"], end.store.nodes[f"{frontend}/state"]) == ("layer", share_nodes.INITIALISING)
    assert not end.part.is_pending
    end.part.written(written())
    assert end.part.is_pending, "the host's disk does not have it yet"
    end.part._heed("synced 0 changes 12 3400000")
    assert not end.part.is_pending
    assert [(level, message[:27]) for level, message in end.said] == [("info", "wrote back 12 files, 3.4 MB")]
    assert end.layer.exists(), "the domain has it until it has gone"
    end.finish()
    assert not end.layer.exists()


def test_a_guest_that_says_too_much_is_not_believed(end: End) -> None:
    """Nothing has come: the server says so."""
    end.part.ask()
    end.part.written(written())
    end.turn_until(lambda: not end.part.is_pending)
    ((level, message),) = end.said
    assert level == "warning" and "not all of it has come; its layer stays" in message
    end.finish()
    assert end.layer.exists()


def test_the_servers_words_are_better_than_the_guests(end: End) -> None:
    end.part.ask()
    end.part.written(written(1, b"sending it: input/output error"))
    end.part._heed("synced 0 changes 2 0 /a: writing it: no space left on device")
    assert "/a: writing it: no space left on device; its layer stays" in end.said[0][1]
    end.finish()
    assert end.layer.exists() and len(end.said) == 1


def test_all_that_came_before_kill_is_enough(end: End) -> None:
    end.part.ask()
    end.part.written(written(1, b"SIGKILL came"))
    end.part._heed("synced 0 changes 2 0")
    end.finish()
    assert not end.layer.exists() and end.said[0][0] == "info"


def test_the_server_may_take_as_much_as_the_layer_has(end: End, monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(end.part._shares, "_tell", told.append)
    os.truncate(end.layer, 5 << 20)
    end.part.ask()
    end.turn_until(lambda: bool(end.store.nodes))
    assert told[0] == f"changes 0 changes root {5 << 20}"


@pytest.mark.parametrize(
    ("payload", "why"),
    [
        (written(1, b"/a: writing it: no space left on device"), "/a: writing it: no space left on device"),
        (written(1), "did not say"),
    ],
    ids=["full", "silent"],
)
def test_the_layer_stays_if_something_was_not_written(end: End, payload: bytes, why: str) -> None:
    end.part.ask()
    end.part.written(payload)
    end.turn_until(lambda: bool(end.said))
    end.finish()
    ((level, message),) = end.said
    assert level == "warning" and why in message and "its layer stays" in message
    assert end.layer.exists()


def test_the_layer_stays_if_the_guest_goes_in_the_middle(end: End) -> None:
    end.part.ask()
    end.finish()
    assert end.layer.exists()
    assert "ended before all was written" in end.said[0][1]


def test_a_broken_rule_ends_it_and_the_guest_is_told(end: End) -> None:
    """The writer in the guest would wait for an answer for ever."""
    end.part.ask()
    end.turn_until(lambda: bool(end.store.nodes))
    end.part._heed("connected 0")
    end.part._heed("closed 0 a message of 0 bytes")
    assert end.gave_up == 1 and end.part.has_failed
    assert "the share layer is not served any more: a message of 0 bytes" in end.said[0][1]
    end.finish()
    assert end.layer.exists()


def test_an_empty_layer_goes_without_a_server(end: End) -> None:
    end.part.written(bytes(1))
    assert not end.part.is_pending
    end.finish()
    assert not end.layer.exists() and end.said == [] and end.store.nodes == {}


def test_the_layer_of_a_guest_that_said_nothing_stays(end: End) -> None:
    """It was killed, or its kernel has crashed."""
    end.finish()
    assert end.layer.exists() and end.said == []


def test_the_layer_stays_if_there_is_no_server(end: End) -> None:
    """The guest is told to end without it. It hears that later than it may have written."""
    end.root.rmdir()
    end.part.ask()
    end.turn_until(lambda: bool(end.said))
    assert end.gave_up == 1
    assert "root.path: cannot bind" in end.said[0][1]
    end.part.written(written())
    assert not end.part.is_pending
    end.finish()
    assert end.layer.exists() and len(end.said) == 1


def test_the_layer_stays_if_the_disk_takes_too_long(end: End, monkeypatch: pytest.MonkeyPatch) -> None:
    end.part.ask()
    end.turn_until(lambda: bool(end.store.nodes))
    monkeypatch.setattr(write_back, "_SYNC_LIMIT_S", -1.0)
    end.part.written(written())
    end.part.handle({})
    assert not end.part.is_pending and "to its disk within" in end.said[0][1]
    end.finish()
    assert end.layer.exists()


def test_a_guest_that_speaks_out_of_turn(end: End) -> None:
    end.part.ask()
    with pytest.raises(link.LinkError, match="asked for twice"):
        end.part.ask()
    end.part.written(written())
    with pytest.raises(link.LinkError, match="written back twice"):
        end.part.written(written())
