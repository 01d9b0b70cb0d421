"""The supervisor's loop with parts that are not there: order, descriptors, times, and how it ends; and a part that fails."""

import os
import select
import time
from collections.abc import Iterator

import pytest

from commandhost import Host
from runx.errors import RunxError
from runx.exec.container import record as records
from runx.exec.supervisor import loop

FAR_S = 3600.0


class Fake:
    """A part that tells what is asked of it."""

    def __init__(self, name: str, told: list[str], fd: int = -1, at: float | None = None, error: Exception | None = None) -> None:
        self.name = name
        self.told = told
        self.fd = fd
        self.at = at
        self.error = error
        self.ready: dict[int, int] = {}

    def watch(self, poller: select.poll) -> float | None:
        self.told.append(f"watch {self.name}")
        if self.fd >= 0:
            poller.register(self.fd, select.POLLIN)
        return self.at

    def handle(self, ready: dict[int, int]) -> None:
        self.told.append(f"handle {self.name}")
        self.ready = ready
        if self.error:
            raise self.error


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for fd in ends:
        os.close(fd)


def test_parts_have_their_turn_in_their_order() -> None:
    told: list[str] = []
    loop.turn([Fake("a", told, at=loop.NOW), Fake("b", told), Fake("c", told)])
    assert told == ["watch a", "watch b", "watch c", "handle a", "handle b", "handle c"]


def test_all_parts_are_told_what_is_ready(pipe: tuple[int, int]) -> None:
    told: list[str] = []
    quiet = os.pipe()
    parts = [Fake("a", told, pipe[0]), Fake("b", told, quiet[0], at=time.monotonic() + FAR_S)]
    os.write(pipe[1], b"x")
    loop.turn(parts)
    assert [part.ready for part in parts] == [{pipe[0]: select.POLLIN}] * 2
    for fd in quiet:
        os.close(fd)


def test_the_first_deadline_ends_the_wait(pipe: tuple[int, int]) -> None:
    due = time.monotonic() + 0.05
    parts = [Fake("a", [], pipe[0], at=due + FAR_S), Fake("b", [], at=due), Fake("c", [])]
    loop.turn(parts)
    assert due <= time.monotonic() < due + FAR_S
    assert parts[0].ready == {}


def test_what_is_due_does_not_wait() -> None:
    before = time.monotonic()
    loop.turn([Fake("a", [], at=before + FAR_S), Fake("b", [], at=loop.NOW), Fake("c", [], at=before - 1)])
    assert time.monotonic() < before + FAR_S


def test_it_ends_when_all_is_done() -> None:
    told: list[str] = []
    statuses = iter([None, None, 7])
    assert loop.run([Fake("a", told, at=loop.NOW)], lambda: next(statuses)) == 7
    assert told == ["watch a", "handle a"] * 2
    assert loop.run([], lambda: 3) == 3, "without a turn"


def test_it_ends_at_once_when_a_part_says_so() -> None:
    told: list[str] = []
    parts = [Fake("a", told, at=loop.NOW, error=loop.Ended(137)), Fake("b", told)]
    assert loop.run(parts, lambda: None) == 137
    assert told == ["watch a", "watch b", "handle a"]


@pytest.mark.parametrize("error", [RunxError("a rule was broken"), ZeroDivisionError()])
def test_other_errors_are_the_callers(error: Exception) -> None:
    told: list[str] = []
    with pytest.raises(type(error)):
        loop.run([Fake("a", told, at=loop.NOW, error=error), Fake("b", told)], lambda: None)
    assert told[-1] == "handle a"


PARTS = (
    "guest_link.GuestLink",
    "session.Streams",
    "dns.Relay",
    "requests.Requests",
    "host_signals.HostSignals",
    "vm.VirtualMachine",
    "to_guest.ToGuest",
)


@pytest.mark.parametrize("part", PARTS)
def test_a_fault_in_a_part_ends_the_container_and_leaves_nothing(host: Host, part: str) -> None:
    """The first turn is soon: xenstored answers each watch with an event."""
    module, name = part.split(".")
    host.supervise_through(patch=f"from runx.exec.supervisor import {module} as m; m.{name}.handle = lambda *_: 1 // 0")
    host.create()
    host.await_status("stopped")
    host.await_no_process()
    assert records.load(str(host.root), "c").exit_status == 255
    message = "internal error, the container is ended: ZeroDivisionError: integer division or modulo by zero"
    assert (host.bundle / "err").read_text() == f"runx: {message}\n"
    assert host.last_error() == message
    assert host.xen.domains() == {}
    assert host.runx("delete", "c").returncode == 0
    host.nothing_left()


def test_an_error_of_a_part_ends_the_container_too(host: Host) -> None:
    fault = "from runx.errors import RunxError\ndef handle(*_): raise RunxError('xenstored closed the connection')\n"
    host.supervise_through(patch=f"{fault}from runx.exec.supervisor import vm; vm.VirtualMachine.handle = handle")
    host.create()
    host.await_status("stopped")
    assert (host.bundle / "err").read_text() == "runx: the container is ended: xenstored closed the connection\n"
    assert records.load(str(host.root), "c").exit_status == 255
    assert host.runx("delete", "c").returncode == 0
    host.nothing_left()


def test_a_console_that_cannot_be_closed_leaves_no_domain(host: Host) -> None:
    fault = "from runx.errors import RunxError\ndef close(*_): raise RunxError('the ring is stuck')\n"
    host.supervise_through(patch=f"{fault}from runx.exec.console import ring; ring.PvConsole.close = close")
    host.create()
    assert host.runx("kill", "c", "TERM").returncode == 0
    host.await_status("stopped")
    assert (host.bundle / "err").read_text() == "runx: cleaning up: the ring is stuck\n"
    assert host.xen.domains() == {}
    assert host.runx("delete", "c").returncode == 0
    host.nothing_left()


def test_a_sandbox_is_a_loop_with_fewer_parts(host: Host) -> None:
    host.config["annotations"] = {"io.kubernetes.cri.container-type": "sandbox", "io.kubernetes.cri.sandbox-id": "c"}
    host.write_config()
    seen = host.root / "c/parts"  # a supervisor has no other directory to write to
    patch = (
        "from runx.exec.supervisor import loop; run = loop.run\n"
        f"def show(parts, finished): open({str(seen)!r}, 'w').write(' '.join(type(p).__name__ for p in parts)); "
        "return run(parts, finished)\nloop.run = show"
    )
    host.supervise_through(patch=patch)
    host.create()
    assert host.runx("start", "c").returncode == 0
    assert seen.read_text() == "Requests HostSignals"
    assert host.runx("delete", "--force", "c").returncode == 0
    host.await_no_process()
    host.nothing_left()
