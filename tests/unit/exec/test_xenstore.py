"""xenstore's protocol, against a server of our own: answers, errors, and events whenever they come."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from runx.errors import RunxError
from runx.exec.xen import console_nodes, share_nodes
from runx.exec.xen.xenstore import XenStore, XenStoreError
from runxtools.testing.fakexen import FakeXen


@pytest.fixture
def xen(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeXen]:
    with FakeXen(tmp_path / "xen") as xen:
        monkeypatch.setenv("XENSTORED_PATH", str(xen.socket_path))
        yield xen


def test_values(xen: FakeXen) -> None:
    store = XenStore()
    assert store.read("/a/b") is None
    store.write("/a/b", "ü")
    assert store.read("/a/b") == "ü"
    store.write("/a/c/d", "")
    assert store.directory("/a") == ["b", "c"]
    store.set_permissions("/a", "n0", "r7")
    assert xen.permissions["/a"] == ["n0", "r7"]
    store.remove("/a")
    assert store.directory("/a") == []
    store.remove("/a")
    store.close()


def test_a_path_is_removed_if_it_is_empty(xen: FakeXen) -> None:
    store = XenStore()
    store.remove_if_empty("/none")
    store.write("/a/b", "")
    store.remove_if_empty("/a")
    assert store.directory("/a") == ["b"]
    store.remove_if_empty("/a/b")
    store.remove_if_empty("/a")
    assert store.read("/a") is None


def test_a_path_in_which_another_client_makes_something_is_not_empty(xen: FakeXen, monkeypatch: pytest.MonkeyPatch) -> None:
    store, other = XenStore(), XenStore()
    store.write("/a", "")
    remove = store._remove

    def remove_late(path: str, transaction: int) -> None:
        other.write("/a/new", "value")
        remove(path, transaction)

    monkeypatch.setattr(store, "_remove", remove_late)
    store.remove_if_empty("/a")
    assert store.read("/a/new") == "value"


def test_a_request_too_long_is_refused_here(xen: FakeXen) -> None:
    with pytest.raises(XenStoreError, match="E2BIG"):
        XenStore().write("/a", "x" * 5000)


def test_events_that_come_together_or_with_an_answer_are_all_seen(xen: FakeXen) -> None:
    store, other = XenStore(), XenStore()
    store.watch("/w", "one")
    store.watch("@releaseDomain", "two")
    seen: list[tuple[str, str]] = []
    while len(seen) < 2:
        seen += store.events()
    assert seen == [("/w", "one"), ("@releaseDomain", "two")]
    for n in range(5):
        other.write(f"/w/{n}", "x")
    assert store.read("/w/4") == "x", "the events arrived before this answer"
    assert store.has_events
    assert store.events() == [(f"/w/{n}", "one") for n in range(5)]
    assert not store.has_events


def test_no_xenstored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XENSTORED_PATH", "/no/such/socket")
    with pytest.raises(RunxError, match="cannot reach xenstored"):
        XenStore()


def test_a_xenstored_that_has_gone_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with FakeXen(tmp_path / "xen") as xen:
        monkeypatch.setenv("XENSTORED_PATH", str(xen.socket_path))
        store = XenStore()
        store.write("/a", "x")
    for _ in range(2):  # the second finds a closed connection when it writes
        with pytest.raises(RunxError, match="xenstored closed the connection"):
            store.write("/a", "y")


def test_a_guest_owns_its_state_and_not_what_it_is_told(xen: FakeXen) -> None:
    store = XenStore()
    console_nodes.publish(store, 7)
    share_nodes.publish(store, 7, 0, "root", 1234)
    for directory in (console_nodes.frontend(7), share_nodes.frontend(7, 0)):
        assert xen.permissions[directory] == ["n7", "r0"], "where it adds its ring and its port"
        names = store.directory(directory)
        assert {"backend", "backend-id", "state"} < set(names)
        owned = [name for name in names if xen.permissions.get(f"{directory}/{name}") != ["n0", "r7"]]
        assert owned == ["state"]
    for directory in (console_nodes.backend(7), share_nodes.backend(7, 0)):
        assert xen.permissions[directory] == ["n0", "r7"]
