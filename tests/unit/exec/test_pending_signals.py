"""Signals that come before the process: when they are delivered to it."""

import pytest

from runx.errors import RunxError
from runx.exec.supervisor.pending_signals import LIMIT, PendingSignals


class Clock:
    """Shows what it is set to."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


class Signals(PendingSignals):
    """The queue, told the time with each call."""

    def __init__(self) -> None:
        self.clock = Clock()
        super().__init__(self.clock)

    def at(self, now: float) -> "Signals":
        self.clock.now = now
        return self


def test_they_are_as_late_after_the_process_as_they_were_after_the_machine() -> None:
    signals = Signals()
    signals.at(10.0).machine_started()
    signals.at(10.5).put(15)
    signals.at(12.0).put(1)
    assert (signals.at(100.0).take(), signals.next_at(), len(signals)) == ([], None, 2)  # there is no process yet
    signals.at(13.0).process_started()
    assert (signals.at(13.4).take(), signals.next_at()) == ([], 13.5)
    assert (signals.at(13.5).take(), signals.next_at()) == ([15], 15.0)
    assert signals.at(15.0).take() == [1]
    assert (signals.at(99.0).take(), signals.next_at(), len(signals)) == ([], None, 0)


def test_a_signal_for_a_process_that_runs_is_due_at_once() -> None:
    signals = Signals()
    signals.at(1.0).machine_started()
    signals.at(2.0).process_started()
    signals.at(7.0).put(10)
    assert signals.at(7.0).take() == [10]


def test_none_overtakes_another() -> None:
    signals = Signals()
    signals.at(0.0).machine_started()
    signals.at(4.0).put(15)
    signals.at(5.0).process_started()
    signals.at(6.0).put(10)
    assert (signals.at(8.9).take(), signals.at(9.0).take()) == ([], [15, 10])


def test_a_guest_that_says_again_that_its_process_runs_puts_nothing_off() -> None:
    signals = Signals()
    signals.at(0.0).machine_started()
    signals.at(1.0).put(15)
    signals.at(2.0).process_started()
    signals.at(50.0).process_started()
    assert signals.at(3.0).take() == [15]


def test_those_that_are_not_taken_wait_in_their_order() -> None:
    signals = Signals()
    signals.process_started()
    for number in (15, 1, 10):
        signals.put(number)
    assert signals.take(2) == [15, 1]
    assert (signals.next_at(), len(signals)) == (0.0, 1)
    assert signals.take(2) == [10]


def test_a_queue_that_is_full_refuses_more() -> None:
    signals = Signals()
    for _ in range(LIMIT):
        signals.put(15)
    with pytest.raises(RunxError, match="takes no more signals"):
        signals.put(15)
    signals.process_started()
    assert signals.take(1) == [15]
    signals.put(1)
    assert signals.take()[-1] == 1
