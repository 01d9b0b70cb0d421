"""KILL of a guest that speaks the link: it has its time to end in order, and no more."""

import os
import select
from collections.abc import Iterator

import pytest

from link_ring import Ring
from runx.exec.console import frames as link
from runx.exec.supervisor.killing import READERS_S, Killing
from runx.exec.supervisor.loop import Ended
from runx.exec.supervisor.session import Session
from runx.exec.supervisor.to_guest import ToGuest

KILL = link.frame(link.SIGNAL, b"\x09")
ANSWER_S, END_S = 1, 8


class Guest:
    """A container whose guest says what the test says, at times that the test tells."""

    def __init__(self) -> None:
        self.now = 100.0
        self.log: list[tuple[str, str]] = []
        self.null = os.open(os.devnull, os.O_RDWR)
        self.session = Session(0, lambda *_: None, (self.null, self.null, self.null))
        self.session.process_started()
        self.ring = Ring()
        self.to_guest = ToGuest(self.ring, self.session)
        self.to_guest.greeted = True
        limits_s = (ANSWER_S, END_S)
        self.killing = Killing(self.session, self.to_guest, limits_s, lambda *line: self.log.append(line), lambda: self.now)

    def turn(self, busy_s: float = 0.0, waits: bool = False) -> None:
        """A turn of the loop. busy_s: how long other parts take. waits: whether no event comes before it is time to act."""
        poller = select.poll()
        self.to_guest.watch(poller)
        at = self.killing.watch(poller)
        if waits:
            assert at is not None, "nothing ends this container"
            self.now = max(self.now, at)
        self.now += busy_s
        self.to_guest.handle({})
        self.killing.handle({})

    def outcome(self) -> int:
        """Take turns without any event; the container's exit status."""
        self.turn()
        try:
            while True:
                self.turn(waits=True)
        except Ended as end:
            return end.status


@pytest.fixture
def guest() -> Iterator[Guest]:
    guest = Guest()
    yield guest
    os.close(guest.null)


def test_kill_goes_before_the_signals_that_wait_and_only_once(guest: Guest) -> None:
    guest.session.signals.put(15)
    guest.killing.ask()
    guest.killing.ask()
    guest.turn()
    assert guest.ring.given == KILL + link.frame(link.SIGNAL, b"\x0f")


def test_a_guest_that_does_not_answer(guest: Guest) -> None:
    guest.killing.ask()
    assert guest.outcome() == 137
    assert guest.now == 100.0 + ANSWER_S
    assert guest.log == [
        ("warning", "the guest did not answer KILL within 1 s, and is destroyed: what the container wrote last may be lost")
    ]


def test_the_time_to_answer_begins_when_the_guest_has_the_frame(guest: Guest) -> None:
    guest.ring.room = 3
    guest.killing.ask()
    guest.turn()
    guest.now += 0.9
    guest.ring.room = 100
    guest.turn()
    assert guest.outcome() == 137
    assert guest.now == 100.9 + ANSWER_S


def test_a_guest_that_reads_nothing(guest: Guest) -> None:
    guest.ring.room = 0
    guest.killing.ask()
    assert guest.outcome() == 137
    assert guest.now == 100.0 + ANSWER_S


def test_what_the_guest_said_while_the_supervisor_was_busy_counts(guest: Guest) -> None:
    """A call of xl may take longer than the guest has for its answer. The next turn begins with what the guest has said."""
    guest.killing.ask()
    guest.turn()
    guest.turn(busy_s=ANSWER_S + 1)
    guest.session.ending = 137
    guest.turn()


def test_a_guest_that_answers_and_does_not_end(guest: Guest) -> None:
    """The status of a process that ended by itself just before is its own."""
    guest.killing.ask()
    guest.turn()
    guest.session.ending = 3
    assert guest.outcome() == 3
    assert guest.now == 100.0 + END_S
    assert guest.log == [
        ("warning", "the guest has not ended 8 s after KILL, and is destroyed: what the container wrote last may be lost")
    ]


def test_a_guest_that_ends_in_order_does_not_wait_long_for_readers(guest: Guest) -> None:
    guest.killing.ask()
    guest.turn()
    guest.session.ending = guest.session.status = 137
    guest.now += 2.0
    assert guest.outcome() == 137
    assert guest.now == 102.0 + READERS_S
    assert guest.log == []


def test_kill_ends_the_wait_for_readers_of_a_container_that_ended_by_itself(guest: Guest) -> None:
    guest.session.ending = guest.session.status = 4
    guest.killing.ask()
    assert guest.outcome() == 4
    assert (guest.now, guest.ring.given) == (100.0 + READERS_S, b"")


def test_a_process_that_does_not_run_yet_has_nothing_to_lose(guest: Guest) -> None:
    guest.session.started = False
    with pytest.raises(Ended) as end:
        guest.killing.ask()
    assert end.value.status == 137


def test_without_kill_there_is_nothing_to_wait_for(guest: Guest) -> None:
    assert guest.killing.watch(select.poll()) is None
