"""PID 1 of the guest, run here in namespaces: the clock (docs/console-link.md, "The clock").

What would set the clock is compiled out of this /init (tests/support/clock.c), which notes what it was asked for.
"""

import os
import time
from pathlib import Path
from random import Random

import pytest

import guestbox as gb
from guestbox import GuestBox
from initbox import Start, shell
from runx.exec.console import frames as link
from runx.exec.supervisor.clock import GuestClock
from runx.exec.supervisor.session import Session
from runx.exec.supervisor.to_guest import ToGuest

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces and mounts need root")

MS = 1_000_000


def running(start: Start, sync_clock: int | None = 1) -> GuestBox:
    values = {} if sync_clock is None else {"sync_clock": sync_clock}
    box = start(*shell("read x"), **values)
    box.until(gb.STARTED)
    return box


def ends(box: GuestBox) -> None:
    box.send(gb.HOST_STDIN, b"go\n")
    assert box.exit_status() == 0


def noted(root: Path) -> list[str]:
    return (root / "clock").read_text().splitlines()


def test_it_tells_the_time(start: Start) -> None:
    box = running(start)
    before = time.time_ns()
    box.send(gb.HOST_ASK_TIME)
    told = int.from_bytes(box.until(gb.TIME), "little")
    assert before <= told <= time.time_ns()
    ends(box)


@pytest.mark.parametrize(
    ("by_ns", "change"),
    [
        (0, "slew 0"),
        (20 * MS, "slew 20000"),
        (-50 * MS, "slew -50000"),
        (50 * MS + 1, "step 0.050"),
        (-51 * MS, "step -0.051"),
        (-1999 * MS, "step -1.999"),
        (7_654_321 * MS, "step 7654.321"),
        (10**9 * 1000 * MS, "step 1000000000.000"),
    ],
)
def test_small_differences_are_slewed_and_large_ones_stepped(start: Start, root: Path, by_ns: int, change: str) -> None:
    (root / "clock").touch()
    box = running(start)
    box.send(link.ADJUST_TIME, by_ns.to_bytes(8, "little", signed=True))
    ends(box)
    (line,) = noted(root)
    word, number = line.split()
    assert word == change.split()[0] and float(number) == pytest.approx(float(change.split()[1]), abs=0.002)
    assert not box.log


def test_a_clock_that_cannot_be_set_is_a_warning_once(start: Start) -> None:
    """As in the double, whose guests have this machine's clock."""
    box = running(start)
    for by in (10**6, 10**10):
        box.send(link.ADJUST_TIME, by.to_bytes(8, "little"))
    ends(box)
    assert box.log.decode().splitlines() == ["init: the clock is not kept at the host's time: operation not permitted"]


@pytest.mark.parametrize("sync_clock", [None, 0])
def test_a_guest_that_keeps_its_own_clock(start: Start, root: Path, sync_clock: int | None) -> None:
    (root / "clock").touch()
    box = running(start, sync_clock)
    box.send(gb.HOST_ASK_TIME)
    box.send(link.ADJUST_TIME, (10**10).to_bytes(8, "little"))
    ends(box)
    assert gb.TIME not in box.seen and not noted(root)


@pytest.mark.parametrize("seed", range(3))
def test_any_frames_about_the_time(start: Start, root: Path, seed: int) -> None:
    random = Random(seed)
    (root / "clock").touch()
    box = running(start)
    good = 0
    for _ in range(200):
        size = random.choice([0, 7, 8, 8, 9, 4096])
        good += size == 8
        box.send(random.choice([link.ADJUST_TIME, gb.HOST_ASK_TIME]), random.randbytes(size))
    ends(box)
    assert len(noted(root)) <= good


@pytest.mark.parametrize(("host_is_ahead_ms", "change"), [(0, None), (7000, "step 7.000"), (-20, "slew -20000")])
def test_host_and_guest_together(start: Start, root: Path, host_is_ahead_ms: int, change: str | None) -> None:
    (root / "clock").touch()
    box = running(start)

    class Ring:
        def write(self, data: bytearray) -> int:
            box._unsent += bytes(data)
            box._push()
            return len(data)

    to_guest = ToGuest(Ring(), Session(0, lambda *_: None))
    to_guest.greeted = True
    kept = GuestClock(to_guest, lambda *_: None, now_ns=lambda: time.time_ns() + host_is_ahead_ms * MS)
    for _ in range(10):  # this machine may be busy, and the answer late
        kept.ask()
        kept.handle({})
        to_guest.handle({})
        kept.heard(int.from_bytes(box.until(gb.TIME), "little"))
        to_guest.handle({})
        if kept._tries == 0:
            break
    ends(box)
    if change is None:
        assert not noted(root)
        return
    (line,) = noted(root)
    word, number = line.split()
    unit = 1.0 if word == "step" else 1e6
    assert word == change.split()[0] and float(number) == pytest.approx(float(change.split()[1]), abs=0.02 * unit)
