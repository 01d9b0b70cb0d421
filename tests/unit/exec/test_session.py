"""A session owns its streams, signals, terminal size and exit status; and one queue holds what its process is due."""

import os
import select
from collections.abc import Iterator
from typing import Any

import pytest

from link_ring import Ring
from runx.exec.console import frames as link
from runx.exec.console import terminal
from runx.exec.console.streams import Input
from runx.exec.supervisor import loop
from runx.exec.supervisor.session import Session, Streams
from runx.exec.supervisor.to_guest import ToGuest

TERM = link.frame(link.SIGNAL, b"\x0f")


class Ends:
    """A session, and the engine's ends of its streams."""

    def __init__(self, number: int = 0) -> None:
        stdin, self.stdin = os.pipe()
        self.stdout, stdout = os.pipe()
        self.stderr, stderr = os.pipe()
        self.messages: list[tuple[str, str]] = []
        self.session = Session(number, lambda level, text: self.messages.append((level, text)), (stdin, stdout, stderr))
        self._fds = [stdin, stdout, stderr, self.stdin, self.stdout, self.stderr]
        for fd in self._fds:
            os.set_blocking(fd, False)

    def close(self) -> None:
        for fd in self._fds:
            os.close(fd)


class Carrier:
    """Takes input when it may."""

    def __init__(self) -> None:
        self.takes_input = True
        self.taken = b""

    def take_input(self, source: Input) -> None:
        self.taken += source.read_bytes()


@pytest.fixture
def ends() -> Iterator[Ends]:
    ends = Ends()
    yield ends
    ends.close()


@pytest.fixture
def session(ends: Ends) -> Session:
    return ends.session


class Due:
    """A part for which there is always something to do."""

    def watch(self, _: select.poll) -> float:
        return loop.NOW

    def handle(self, _: dict[int, int]) -> None:
        pass


def turns(*parts: Any, count: int = 1) -> None:
    for _ in range(count):
        loop.turn([*parts, Due()])


# -- streams ---------------------------------------------------------------------------------------------------------------


def test_output_reaches_its_descriptor(ends: Ends, session: Session) -> None:
    session.outputs[link.STDOUT].receive(b"out")
    session.outputs[link.STDERR].receive(b"err")
    assert not session.drained
    turns(Streams(session, Carrier()))
    assert (os.read(ends.stdout, 10), os.read(ends.stderr, 10), session.drained) == (b"out", b"err", True)


def test_input_waits_for_its_carrier(ends: Ends, session: Session) -> None:
    carrier = Carrier()
    carrier.takes_input = False
    streams = Streams(session, carrier)
    os.write(ends.stdin, b"typed")
    turns(streams)
    assert carrier.taken == b""
    carrier.takes_input = True
    turns(streams)
    assert carrier.taken == b"typed"


def test_messages_go_to_the_log_and_to_standard_error(ends: Ends, session: Session) -> None:
    session.say("the reason\n")
    assert ends.messages == [("error", "the reason")]
    assert os.read(ends.stderr, 100) == b"runx: the reason\n"
    session.outputs[link.STDERR].hang_up()
    session.say("nobody reads it")
    assert ends.messages[1:] == [("error", "nobody reads it")]


def test_sessions_share_nothing() -> None:
    first, second = Ends(0), Ends(1)
    rings = Ring(), Ring()
    carriers = Carrier(), Carrier()
    first.session.process_started()
    first.session.signals.put(15)
    second.session.outputs[link.STDOUT].receive(b"of the second")
    second.session.status = 3
    os.write(second.stdin, b"for the second")
    parts = [
        part
        for ends, ring, carrier in zip((first, second), rings, carriers, strict=True)
        for part in (Streams(ends.session, carrier), ToGuest(ring, ends.session))
    ]
    for part in parts:
        if isinstance(part, ToGuest):
            part.greeted = True
    turns(*parts)
    assert [ends.session.number for ends in (first, second)] == [0, 1]
    assert (rings[0].given, rings[1].given) == (TERM, link.credit(1, 13, session=1))
    assert (first.session.started, second.session.started) == (True, False)
    assert (first.session.status, second.session.status) == (None, 3)
    assert [carrier.taken for carrier in carriers] == [b"", b"for the second"]
    assert os.read(second.stdout, 100) == b"of the second"
    with pytest.raises(BlockingIOError):
        os.read(first.stdout, 100)
    for ends in (first, second):
        ends.close()


# -- what a guest is due ---------------------------------------------------------------------------------------------------


def test_the_order_of_frames_in_a_turn(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """Byte for byte. What was put waits in front, then the size, signals, credit."""
    monkeypatch.setattr(terminal, "size", lambda _: (24, 80))
    ring = Ring()
    to_guest = ToGuest(ring, session)
    to_guest.greeted = True
    to_guest.put(b"before")
    session.size_changed = True
    session.process_started()
    session.signals.put(15)
    session.outputs[link.STDOUT].receive(b"x")
    session.write_ready()
    turns(to_guest)
    assert ring.given == b"before" + b"\x44\0\4\0\x18\0\x50\0" + b"\x43\0\1\0\x0f" + b"\x45\0\5\0\1\1\0\0\0"
    turns(to_guest)
    assert ring.given.count(b"\x44") == 1, "a size is told once"


def test_a_guest_that_does_not_listen_yet_is_told_later(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """The size comes first, so that the process starts with it."""
    monkeypatch.setattr(terminal, "size", lambda _: (24, 80))
    ring = Ring()
    to_guest = ToGuest(ring, session)
    session.size_changed = True
    turns(to_guest)
    assert ring.given == b""
    to_guest.put(link.network(b""))
    to_guest.greeted = True
    turns(to_guest)
    assert ring.given == b"\x44\0\4\0\x18\0\x50\0" + b"\x47\0\0\0"


# -- one queue of signals --------------------------------------------------------------------------------------------------


def test_a_signal_is_no_frame_before_the_process_runs(session: Session) -> None:
    ring = Ring()
    to_guest = ToGuest(ring, session)
    to_guest.greeted = True
    session.signals.machine_started()
    session.signals.put(15)
    turns(to_guest)
    assert (len(session.signals), bytes(to_guest.waiting), ring.given) == (1, b"", b"")
    assert to_guest.watch(select.poll()) is None, "nothing to wake up for"
    session.process_started()
    assert to_guest.watch(select.poll()) is not None
    session.signals.put(1)
    while session.signals:  # as late as they were sent
        turns(to_guest)
    assert ring.given == TERM + link.frame(link.SIGNAL, b"\x01")


def test_a_signal_waits_in_one_place(session: Session) -> None:
    """In the queue or in a frame for the ring, never in both; and the frames have a bound."""
    ring = Ring(room=0)
    to_guest = ToGuest(ring, session)
    to_guest.greeted = True
    session.process_started()
    numbers = [1 + number % 64 for number in range(5000)]
    for number in numbers:
        session.signals.put(number)
    for _ in range(100):
        turns(to_guest)
        assert len(to_guest.waiting) % len(TERM) == 0
        assert len(session.signals) + len(to_guest.waiting) // len(TERM) == len(numbers)
        assert len(to_guest.waiting) < 2 * link.PAYLOAD_LIMIT
    assert session.signals, "the guest has not taken them"
    assert to_guest.watch(select.poll()) is None, "a guest that reads nothing does not keep the loop busy"
    ring.room = 1000
    turns(to_guest, count=200)
    assert ring.given == b"".join(link.frame(link.SIGNAL, bytes((number,))) for number in numbers)
    assert not session.signals


def test_endless_input_does_not_keep_signals_back(session: Session) -> None:
    ring = Ring(room=1024)
    to_guest = ToGuest(ring, session)
    to_guest.greeted = True
    session.process_started()
    session.signals.put(15)

    class Input:
        def watch(self, _: select.poll) -> None:
            self.may = to_guest.takes_input

        def handle(self, _: dict[int, int]) -> None:
            if self.may:
                to_guest.put(link.frame(link.STDIN, b"i" * link.PAYLOAD_LIMIT))

    turns(Input(), to_guest, count=50)
    assert TERM in ring.given
