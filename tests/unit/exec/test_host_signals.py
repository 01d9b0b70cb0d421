"""Signals to the supervisor's own pid, which engines know as the container's."""

import os
import signal
from collections.abc import Iterator

import pytest

from runx.errors import RunxError
from runx.exec.container.record import Record
from runx.exec.supervisor import loop
from runx.exec.supervisor.host_signals import HostSignals
from runx.exec.supervisor.lifecycle import Lifecycle
from runx.exec.supervisor.pending_signals import LIMIT
from runx.exec.supervisor.session import Session


class Machine:
    """Gives signals to a queue, as a guest on the link does."""

    def __init__(self, session: Session) -> None:
        self.deliver = session.signals.put

    def start(self) -> None: ...

    def pause(self) -> None: ...

    def resume(self) -> None: ...


class Supervised:
    """A container of which there is only what takes signals."""

    def __init__(self) -> None:
        self.said: list[tuple[str, str]] = []
        self.session = Session(0, self.say)
        self.record = Record("/nonexistent")
        self.machine = Machine(self.session)
        self.part = HostSignals(Lifecycle(self.record, self.machine), self.session, False, self.say)

    def say(self, level: str, text: str) -> None:
        self.said.append((level, text))

    def send(self, number: int) -> None:
        os.kill(os.getpid(), number)
        loop.turn([self.part])


@pytest.fixture
def supervised() -> Iterator[Supervised]:
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
    handlers = {number: signal.getsignal(number) for number in numbers}
    wakeup = signal.set_wakeup_fd(-1)
    yield Supervised()
    os.close(signal.set_wakeup_fd(wakeup))
    for number, handler in handlers.items():
        signal.signal(number, handler)


def test_a_signal_goes_into_the_queue(supervised: Supervised) -> None:
    supervised.record.status = "running"
    supervised.session.process_started()
    supervised.send(signal.SIGUSR1)
    assert (supervised.session.signals.take(), supervised.said) == ([signal.SIGUSR1], [])


def test_a_signal_that_ends_the_container_does(supervised: Supervised) -> None:
    supervised.record.status = "created"
    with pytest.raises(loop.Ended) as end:
        supervised.send(signal.SIGTERM)
    assert end.value.status == 143


def test_a_signal_for_a_full_queue_is_dropped_and_told_once(supervised: Supervised) -> None:
    supervised.record.status = "running"
    for _ in range(LIMIT):
        supervised.session.signals.put(signal.SIGHUP)
    for _ in range(3):
        supervised.send(signal.SIGUSR1)
    assert supervised.said == [("warning", "signal 10 to the supervisor's pid is dropped: the guest takes no more signals")]
    assert len(supervised.session.signals) == LIMIT


def test_whatever_refuses_a_signal_does_not_end_the_loop(supervised: Supervised) -> None:
    def refuse(number: int) -> None:
        raise RunxError(f"xenstored: no room for {number}")

    supervised.record.status = "running"
    supervised.machine.deliver = refuse
    supervised.send(signal.SIGTERM)
    assert "no room for 15" in supervised.said[0][1]
