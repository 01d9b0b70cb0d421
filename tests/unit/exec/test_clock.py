"""The guest's clock, kept by the supervisor: when it asks, and what it makes of the answer. No clock of this machine is set."""

import select
from pathlib import Path

import pytest

from runx.exec.console import frames as link
from runx.exec.supervisor import clock
from runx.exec.supervisor.clock import GuestClock
from runx.exec.supervisor.session import Session
from runx.exec.supervisor.to_guest import ToGuest
from runxtools.testing.hostile import HELLO, STARTED, Conversation, Ring

MS = 1_000_000
S = 1000 * MS
NOW_NS = 1_800_000_000 * S
ASK = link.frame(link.ASK_TIME)


class Host:
    """A host whose clocks the test moves, and what it says to its guest."""

    def __init__(self) -> None:
        self.monotonic = 1000.0
        self.set_by_ns = 0
        """What somebody has set the host's clock by."""
        self.guest_off_ns = 0
        """The guest's clock, relative to the host's."""
        self.log: list[str] = []
        ring = Ring()
        self.to_guest = ToGuest(ring, Session(0, lambda *_: None))
        self.to_guest.greeted = True
        self.clock = GuestClock(self.to_guest, lambda _, text: self.log.append(text), lambda: self.monotonic, self.now_ns)

    def now_ns(self) -> int:
        return NOW_NS + int((self.monotonic - 1000) * S) + self.set_by_ns

    def turn(self) -> bytes:
        """What the part says in one turn."""
        before = len(self.to_guest.waiting)
        self.clock.watch(select.poll())
        self.clock.handle({})
        said = bytes(self.to_guest.waiting[before:])
        del self.to_guest.waiting[before:]
        return said

    def sleep(self) -> float:
        """Wait as the loop does; how long that was, in seconds."""
        at = self.clock.watch(select.poll())
        assert at is not None, "it waits for the guest"
        slept = max(0.0, at - self.monotonic)
        self.monotonic += slept
        return slept

    def until_asked(self) -> float:
        """The seconds that passed."""
        slept = 0.0
        while not (said := self.turn()):
            slept += self.sleep()
        assert said == ASK
        return slept

    def answer(self, took_s: float = 0.0, read_after: float = 0.5) -> bytes:
        """Let the guest answer; what it is told then. read_after: when it reads its clock, as a part of `took_s`."""
        self.monotonic += took_s * read_after
        time_ns = self.now_ns() + self.guest_off_ns
        self.monotonic += took_s * (1 - read_after)
        self.clock.heard(time_ns)
        said = bytes(self.to_guest.waiting)
        self.to_guest.waiting.clear()
        return said


@pytest.fixture
def host() -> Host:
    return Host()


def adjusted(said: bytes) -> int:
    """By how many nanoseconds a frame has the guest change its clock."""
    kind, session, size = said[0], said[1], said[2] | said[3] << 8
    assert (kind, session, size, len(said)) == (link.ADJUST_TIME, 0, 8, 12)
    return int.from_bytes(said[4:], "little", signed=True)


@pytest.mark.parametrize("off_ms", [-7_000, -30, -2, 2, 30, 7_000])
def test_the_guest_adds_the_difference(host: Host, off_ms: int) -> None:
    host.guest_off_ns = off_ms * MS
    assert host.turn() == ASK, "at once"
    assert abs(adjusted(host.answer(0.001)) + off_ms * MS) <= MS // 2
    assert bool(host.log) == (abs(off_ms) >= 50)


@pytest.mark.parametrize("took_s", [0.0, 0.001, 0.02, 0.5, 30.0])
@pytest.mark.parametrize("read_after", [0.0, 0.3, 1.0])
def test_a_clock_that_is_right_is_left_alone(host: Host, took_s: float, read_after: float) -> None:
    """However late the answer comes. So nothing ever sets the clock of the double's guests, which is this machine's."""
    for _ in range(3 * clock.TRIES):
        host.until_asked()
        assert host.answer(took_s, read_after) == b""


@pytest.mark.parametrize("read_after", [0.0, 1.0])
def test_a_late_answer_is_asked_for_again(host: Host, read_after: float) -> None:
    host.guest_off_ns = 40 * MS
    host.until_asked()
    assert host.answer(0.5, read_after) == b"", "it might be wrong by 250 ms"
    assert host.until_asked() == pytest.approx(clock.RETRY_S)
    assert abs(adjusted(host.answer(0.002, read_after)) + 40 * MS) <= MS + 1000


def test_a_guest_that_always_answers_late_is_off_by_half_of_that_at_most(host: Host) -> None:
    host.guest_off_ns = -9 * S
    for _ in range(clock.TRIES):
        host.until_asked()
        said = host.answer(0.5, 1.0)
    assert abs(adjusted(said) - 9 * S) <= 251 * MS
    assert host.until_asked() == pytest.approx(clock.PERIOD_S)


def test_it_asks_every_few_minutes_and_never_twice_without_an_answer(host: Host) -> None:
    host.until_asked()
    assert host.turn() == b"" and host.clock.watch(select.poll()) is None
    host.answer()
    assert host.until_asked() == pytest.approx(clock.PERIOD_S)


def test_it_asks_after_a_pause(host: Host) -> None:
    host.until_asked()
    host.answer()
    host.clock.ask()
    assert host.until_asked() == 0


def test_it_asks_when_the_hosts_clock_is_set(host: Host) -> None:
    host.until_asked()
    host.answer()
    host.set_by_ns = 3600 * S
    host.guest_off_ns = -3600 * S
    assert host.until_asked() <= clock.LOOK_S
    assert abs(adjusted(host.answer()) - 3600 * S) <= MS
    assert "-3600.000 s" in host.log[0]


def test_a_slew_that_is_not_wanted_any_more_is_ended(host: Host) -> None:
    """The host's clock is set to where the guest's is, while that is on its way to where the host's was."""
    host.guest_off_ns = -40 * MS
    host.until_asked()
    assert adjusted(host.answer()) == 40 * MS
    host.set_by_ns = -35 * MS
    host.guest_off_ns = 0
    assert host.until_asked() <= clock.LOOK_S
    assert adjusted(host.answer()) == 0, "in place of the 35 ms that are left"
    host.until_asked()
    assert host.answer() == b""


def test_a_time_that_no_frame_can_say(host: Host) -> None:
    host.until_asked()
    host.clock.heard(2**64 - 1)
    assert adjusted(bytes(host.to_guest.waiting)) == -(2**63 - 1)


def test_lines_of_the_log_are_few(host: Host) -> None:
    host.guest_off_ns = 1000 * S
    for _ in range(50):
        host.until_asked()
        host.answer()
    assert len(host.log) == 10


def test_nothing_is_said_before_the_guest_listens_or_has_room(host: Host) -> None:
    host.to_guest.greeted = False
    assert host.turn() == b"" and host.clock.watch(select.poll()) is None
    host.to_guest.greeted = True
    host.to_guest.waiting += bytes(link.PAYLOAD_LIMIT)
    assert host.turn() == b""
    assert host.sleep() > 0.1, "it does not spin"
    host.to_guest.waiting.clear()
    assert host.turn() == ASK


TIME = link.frame(link.TIME, NOW_NS.to_bytes(8, "little"))


def test_a_guest_may_say_the_time_only_if_it_is_asked(tmp_path: Path) -> None:
    with Conversation(tmp_path, keeps_clock=True) as conversation:
        assert conversation.hear(HELLO + STARTED) is None
        assert ASK in conversation.ring.history
        assert conversation.hear(TIME) is None
        outcome = conversation.hear(TIME)
    assert isinstance(outcome, link.LinkError) and "not asked for" in outcome.message


def test_nobody_asks_a_guest_whose_clock_is_its_own(tmp_path: Path) -> None:
    with Conversation(tmp_path) as conversation:
        assert conversation.hear(HELLO + STARTED) is None
        assert ASK not in conversation.ring.history
        outcome = conversation.hear(TIME)
    assert isinstance(outcome, link.LinkError) and "not asked for" in outcome.message
