"""What a guest may make the supervisor do: floods cost a bounded share of a processor, and output is not held up."""

import time
from pathlib import Path

import pytest

from runx.exec.console import frames as link
from runx.exec.supervisor import loop
from runx.exec.supervisor.allowance import Allowance
from runxtools.testing.hostile import HELLO, Conversation

SPENT_S = 0.005
"""Processor time of each look at the clock of it, which each turn of the loop does once."""
FLOODS = {
    "events without anything": b"",
    "empty frames": link.frame(link.STDERR),
    "credit of nothing": link.frame(link.CREDIT_IN, bytes(5)),
    "a byte for the log": link.frame(link.LOG, b"x"),
}


class Spender:
    """Processor time that grows with each look, on a clock that stands still but for waiting."""

    def __init__(self) -> None:
        self.used_s = 0.0

    def used(self) -> float:
        self.used_s += SPENT_S
        return self.used_s


def turns_in(conversation: Conversation, piece: bytes, seconds: float) -> int:
    """How often the guest was served in this time, while it does nothing but write such pieces and send events. One turn at
    least, and the last one may be that which uses up its share."""
    parts = (*conversation.guest.first_parts, *conversation.guest.last_parts, conversation.allowance)
    served = 0
    end = time.monotonic() + seconds
    while True:
        conversation.ring.unread = piece * (2048 // len(piece)) if piece else b""
        before = conversation.ring.acknowledged
        loop.turn(parts)
        served += conversation.ring.acknowledged - before
        if time.monotonic() >= end:
            return served


@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS.keys())
def test_a_flood_is_served_at_a_bounded_rate(flood: bytes, tmp_path: Path) -> None:
    """A tenth of a processor: of five milliseconds each, twenty turns a second."""
    with Conversation(tmp_path, "reads", Allowance(400, used=Spender().used)) as conversation:
        assert conversation.hear(HELLO + link.frame(link.STARTED)) is None
        while not conversation.allowance.rests_until():  # the burst, half a second of processor time
            turns_in(conversation, flood, 0)
        served = turns_in(conversation, flood, 1.0)
        assert 10 <= served <= 30


def test_frames_of_any_session_count(tmp_path: Path) -> None:
    """Those of a process that exec has started are no way around the bound."""
    with Conversation(tmp_path, "reads", Allowance(400, used=Spender().used), sessions=1) as conversation:
        assert conversation.hear(HELLO + link.frame(link.STARTED)) is None
        assert conversation.hear(b"") is None  # the record goes to the guest
        assert conversation.hear(link.frame(link.STARTED, session=1)) is None
        flood = link.frame(link.STDERR, session=1)
        for _ in range(600):
            turns_in(conversation, flood, 0)
            if conversation.allowance.rests_until():
                break
        assert 10 <= turns_in(conversation, flood, 1.0) <= 30


def test_a_guest_of_a_hundredth_has_a_tenth(tmp_path: Path) -> None:
    """Whatever it brings: here, all that fits into the ring."""
    with Conversation(tmp_path, "reads", Allowance(1, used=Spender().used)) as conversation:
        assert conversation.hear(HELLO + link.frame(link.STARTED)) is None
        full = link.frame(link.STDOUT, b"x" * 2044)
        for _ in range(600):
            conversation.ring.unread = full
            loop.turn((*conversation.guest.first_parts, *conversation.guest.last_parts, conversation.allowance))
            conversation._check()  # reads the output, so that there is credit
            if conversation.allowance.rests_until():
                break
        else:
            raise AssertionError("it is never over its share")


def test_output_of_a_container_without_a_limit_is_never_held_up(tmp_path: Path) -> None:
    with Conversation(tmp_path, "reads", Allowance(100)) as conversation:
        assert conversation.hear(HELLO + link.frame(link.STARTED)) is None
        for _ in range(400):
            assert conversation.hear(link.frame(link.STDOUT, b"x" * 2044)) is None
            assert not conversation.allowance.rests_until()


def test_a_guest_that_rests_can_be_killed(tmp_path: Path) -> None:
    """Its supervisor serves everybody else meanwhile."""
    with Conversation(tmp_path, "reads", Allowance(1, used=Spender().used)) as conversation:
        assert conversation.hear(HELLO + link.frame(link.STARTED)) is None
        while not conversation.allowance.rests_until():
            turns_in(conversation, b"", 0)
        conversation.ring.given.clear()
        assert conversation.kill() is None
        loop.turn((*conversation.guest.first_parts, *conversation.guest.last_parts, conversation.allowance))
        assert conversation.ring.given == link.signal(9)
