"""A share of processor time: what is over it waits, what is below it does not."""

import pytest

from runx.linux.cpu_share import LEAST, WASTED, CpuShare


class Machine:
    """A clock, and the processor time that this process has used."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.used_s = 0.0

    def share(self, percent: int) -> CpuShare:
        return CpuShare(percent, clock=lambda: self.now, used=lambda: self.used_s)


def used_in(machine: Machine, share: CpuShare, seconds: float, turn_s: float, wasted: float) -> float:
    """Processor time that a guest causes which never stops, in turns of some time."""
    begin, end = machine.used_s, machine.now + seconds
    while machine.now < end:
        if until := share.rests_until():
            machine.now = max(machine.now, min(until, end))
            continue
        machine.used_s += turn_s
        machine.now += turn_s
        share.charge(wasted)
    return machine.used_s - begin


@pytest.mark.parametrize("percent", [1, 10, 40, 100, 400])
def test_no_more_than_the_share_is_used(percent: int) -> None:
    machine = Machine()
    used_s = used_in(machine, machine.share(percent), 100, 0.001, 0.0)
    assert used_s == pytest.approx(100 * min(1, max(LEAST, percent / 100)), abs=1)


@pytest.mark.parametrize(("wasted", "share"), [(1.0, WASTED), (0.5, 2 * WASTED), (0.0, 1.0)])
def test_what_is_wasted_is_a_small_share(wasted: float, share: float) -> None:
    machine = Machine()
    assert used_in(machine, machine.share(400), 100, 0.001, wasted) == pytest.approx(100 * share, rel=0.1)


def test_a_short_burst_is_free_and_is_made_up_for() -> None:
    machine = Machine()
    share = machine.share(1)
    machine.used_s = 0.4
    share.charge(1.0)
    assert not share.rests_until()
    machine.used_s = 0.7
    share.charge(1.0)
    assert share.rests_until() == pytest.approx(machine.now + 2)  # 0.2 s are owed, at a tenth of a processor
    machine.now += 2.1
    assert not share.rests_until()


def test_others_time_is_not_charged() -> None:
    machine = Machine()
    share = machine.share(1)
    machine.used_s = 100.0
    share.forget()
    share.charge(1.0)
    assert not share.rests_until()
