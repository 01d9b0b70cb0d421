"""Signals that come before the process: when they are delivered to it."""

from runx.exec.supervisor.pending_signals import EarlySignals


def test_they_are_as_late_after_the_process_as_they_were_after_the_machine() -> None:
    signals = EarlySignals()
    signals.machine_started(10.0)
    signals.put(15, 10.5)
    signals.put(1, 12.0)
    assert (signals.take(100.0), signals.next_at(), len(signals)) == ([], None, 2)  # there is no process yet
    signals.process_started(13.0)
    assert (signals.take(13.4), signals.next_at()) == ([], 13.5)
    assert (signals.take(13.5), signals.next_at()) == ([15], 15.0)
    assert signals.take(15.0) == [1]
    assert (signals.take(99.0), signals.next_at(), len(signals)) == ([], None, 0)


def test_a_signal_for_a_process_that_runs_is_due_at_once() -> None:
    signals = EarlySignals()
    signals.machine_started(1.0)
    signals.process_started(2.0)
    signals.put(10, 7.0)
    assert signals.take(7.0) == [10]


def test_none_overtakes_another() -> None:
    signals = EarlySignals()
    signals.machine_started(0.0)
    signals.put(15, 4.0)
    signals.process_started(5.0)
    signals.put(10, 6.0)
    assert (signals.take(8.9), signals.take(9.0)) == ([], [15, 10])


def test_a_guest_that_says_again_that_its_process_runs_puts_nothing_off() -> None:
    signals = EarlySignals()
    signals.machine_started(0.0)
    signals.put(15, 1.0)
    signals.process_started(2.0)
    signals.process_started(50.0)
    assert signals.take(3.0) == [15]
