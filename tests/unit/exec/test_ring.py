"""The order in which the supervisor touches the console's ring: Arm's processors keep none that is not asked for."""

import os
from typing import Any

import pytest

from runx.exec.console.ring import _IN_CONS, _IN_PROD, _OUT_CONS, _OUT_PROD, PvConsole
from runx.linux import xen


class Traced:
    """Memory that keeps what was done to it, as `WHAT read` and `WHAT written`."""

    def __init__(self, memory: Any, done: list[str], names: dict[int, str]) -> None:
        self.memory, self.done, self.names = memory, done, names

    def __getitem__(self, at: Any) -> Any:
        if name := self._name(at):
            self.done.append(f"{name} read")
        return self.memory[at]

    def __setitem__(self, at: Any, value: Any) -> None:
        if name := self._name(at):
            self.done.append(f"{name} written")
        self.memory[at] = value

    def _name(self, at: Any) -> str:
        if isinstance(at, slice):
            return "data" if at.start != at.stop and (at.stop or 0) > 0 else ""
        return self.names[at]


@pytest.fixture
def ring(monkeypatch: pytest.MonkeyPatch) -> tuple[PvConsole, memoryview, list[str]]:
    """A console whose ring is ordinary memory, its indices, and what was done to the ring."""
    page = bytearray(4096)
    index = memoryview(page).cast("I")
    done: list[str] = []
    names = {_IN_CONS: "in_cons", _IN_PROD: "in_prod", _OUT_CONS: "out_cons", _OUT_PROD: "out_prod"}
    console = PvConsole(None, 1)  # type: ignore[arg-type]
    console._page = Traced(page, done, {})  # type: ignore[assignment]
    console._index = Traced(index, done, names)  # type: ignore[assignment]
    monkeypatch.setattr(console, "_notify", lambda: done.append("notified"))
    monkeypatch.setattr(xen, "barrier", lambda: done.append("|"))
    return console, index, done


def test_reading(ring: tuple[PvConsole, memoryview, list[str]]) -> None:
    console, index, done = ring
    index[_OUT_PROD] = 5
    assert console.read() == bytes(5)
    assert done == ["out_cons read", "out_prod read", "|", "data read", "|", "out_cons written", "notified"]


def test_writing(ring: tuple[PvConsole, memoryview, list[str]]) -> None:
    console, index, done = ring
    assert console.write(b"hello") == 5
    assert done == ["in_cons read", "in_prod read", "|", "data written", "|", "in_prod written", "notified"]
    assert bytes(index.cast("B")[:5]) == b"hello"


def test_the_barrier_is_one_where_it_is_needed() -> None:
    """It can be called any number of times, and is not left out on processors that reorder."""
    assert (xen.barrier is xen.none_needed) == (os.uname().machine in ("x86_64", "i686"))
    for _ in range(3):
        xen.by_lock()
    assert xen._lock.locked()
