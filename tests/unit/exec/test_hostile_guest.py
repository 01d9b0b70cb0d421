"""Whatever a guest says ends in a status, in the name of the rule it broke, or goes on; and costs no more than its windows."""

import array
import contextlib
import fcntl
import os
import tempfile
import termios
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from runx.exec.console import frames as link
from runx.exec.container.record import Record
from runx.exec.supervisor.session import Session
from runxtools.testing.hostile import HELLO, LOG_LIMIT, READERS, STARTED, Conversation

KINDS = st.integers(0, 15) | st.integers(0x40, 0x50) | st.just(255)
PAYLOADS = st.binary(max_size=40) | st.integers(0, 5000).map(lambda size: b"x" * size)


def frame(kind: int, zero: int, payload: bytes, length: int) -> bytes:
    return bytes((kind, zero)) + length.to_bytes(2, "little") + payload


FAIR = st.builds(link.frame, st.integers(1, 14), PAYLOADS.filter(lambda payload: len(payload) <= link.PAYLOAD_LIMIT))
UNFAIR = st.builds(frame, KINDS, st.sampled_from([0, 0, 0, 1, 255]), PAYLOADS, st.integers(0, 5) | st.integers(0, 65535))
CREDIT = st.builds(lambda stream, size: link.frame(link.CREDIT_IN, bytes((stream,)) + size.to_bytes(4, "little")),
                   st.integers(0, 3), st.integers(0, 2**32 - 1))  # fmt: skip
SPEECH = st.lists(FAIR | UNFAIR | CREDIT | st.binary(max_size=100), max_size=20)


@settings(deadline=None)
@given(st.booleans(), SPEECH, st.sampled_from(READERS), st.none() | st.integers(0, 20), st.booleans())
@example(True, [link.frame(link.STDOUT, b"x" * 4096)] * 40, "stalls", None, False)
@example(True, [STARTED, link.frame(link.ENDING, b"\x07"), link.frame(link.EXIT, b"\x07")], "stalls", 1, False)
@example(True, [link.frame(link.TIME, b"\xff" * 8)], "reads", None, True)
def test_any_speech(greets: bool, speech: list[bytes], reader: str, kill_at: int | None, keeps_clock: bool) -> None:
    """kill_at: how many pieces the guest has said when KILL comes. keeps_clock: it is asked for its time."""
    with tempfile.TemporaryDirectory() as name, Conversation(Path(name), reader, keeps_clock=keeps_clock) as conversation:
        first, rest = (speech[:kill_at], speech[kill_at:]) if kill_at is not None else (speech, [])
        outcome = conversation.hear((HELLO if greets else b"") + b"".join(first))
        if outcome is None and kill_at is not None:
            outcome = conversation.kill()
            if outcome is None:
                outcome = conversation.hear(b"".join(rest))
        assert not isinstance(outcome, int) or 0 <= outcome <= 255


OF_SESSIONS = st.builds(link.frame, st.integers(1, 9), PAYLOADS.filter(lambda p: len(p) <= 4096), st.integers(0, 4))


@settings(deadline=None)
@given(st.lists(OF_SESSIONS | FAIR | UNFAIR | CREDIT, max_size=20), st.sampled_from(READERS), st.booleans())
def test_any_speech_of_sessions(speech: list[bytes], reader: str, kills: bool) -> None:
    """Of three sessions, one of which loses its carrier, and of a connection."""
    with tempfile.TemporaryDirectory() as name, Conversation(Path(name), reader, sessions=3) as conversation:
        if conversation.hear(HELLO + STARTED) is not None:
            raise AssertionError("nothing was wrong yet")
        conversation.connect()
        outcome = conversation.hear(b"".join(speech[:10]))
        if outcome is None:
            conversation.carriers[1].hang_up()
            outcome = conversation.kill() if kills else None
        if outcome is None:
            outcome = conversation.hear(b"".join(speech[10:]))
        assert not isinstance(outcome, int) or 0 <= outcome <= 255


@settings(deadline=None)
@given(
    st.lists(st.tuples(st.sampled_from([link.STDOUT, link.STDERR]), PAYLOADS.filter(lambda p: 0 < len(p) <= 4096)), max_size=8)
)
def test_what_was_said_before_a_broken_rule_has_been_delivered(outputs: list[tuple[int, bytes]]) -> None:
    with tempfile.TemporaryDirectory() as name, Conversation(Path(name)) as conversation:
        speech = HELLO + STARTED + b"".join(link.frame(*output) for output in outputs)
        assert conversation.hear(speech) is None
        assert isinstance(conversation.hear(b"\xff" * 4), link.LinkError)
        for stream in (link.STDOUT, link.STDERR):
            assert conversation.delivered[stream] == b"".join(payload for kind, payload in outputs if kind == stream)


@pytest.mark.parametrize(
    ("speech", "rule"),
    [
        (b"garbage" * 1000, "no such frame"),
        (HELLO + b"\x05\x00\xff\xff", "65535 bytes"),
        (HELLO + b"\x07\x00\x00\x00", "a frame of type 0x07 with 0 bytes"),
        (HELLO + link.frame(link.EXIT, b"\x00\x00"), "a frame of type 0x07 with 2 bytes"),
        (HELLO + link.frame(link.CREDIT_IN, b"\x01\x00\x00\x00\x00"), "credit for stream 1"),
        (HELLO + link.frame(link.QUESTION, b"x" * 12), "a question for names"),
        (HELLO + link.frame(link.QUESTION, b"x" * 11), "a frame of type 0x0a with 11 bytes"),
        (HELLO + link.frame(link.CREDIT_IN, b"\x00\x01\x00\x00\x00"), "credit for input that was not sent"),
        (HELLO + STARTED + link.frame(link.LAYER), "a layer that is not written back"),
        (HELLO + link.frame(link.ENDING, b"\x00") + link.frame(link.WRITTEN_BACK, bytes(1)), "a layer that is not written back"),
        (HELLO + link.frame(link.WRITTEN_BACK), "a frame of type 0x0c with 0 bytes"),
        (HELLO + link.frame(link.ENDING, b"\x00") * 2, "a frame of type 0x0b after ENDING"),
        (HELLO + link.frame(link.ENDING, b"\x00") + link.frame(link.FATAL, b"\x01why"), "a frame of type 0x03 after ENDING"),
        (
            HELLO + link.frame(link.ENDING, b"\x07") + link.frame(link.EXIT, b"\x00"),
            "EXIT with status 0 after ENDING with status 7",
        ),
        *(
            (HELLO + link.frame(last, b"\x07") + link.frame(kind, payload), f"a frame of type {kind:#04x} after the last one")
            for last in (link.EXIT, link.FATAL)
            for kind, payload in ((link.EXIT, b"\x00"), (link.FATAL, b"\x01again"), (link.STDOUT, b"x"), (link.HELLO, b"\x01"))
        ),
    ],
)
def test_broken_rules(tmp_path: Path, speech: bytes, rule: str) -> None:
    with Conversation(tmp_path) as conversation:
        outcome = conversation.hear(speech)
    assert isinstance(outcome, link.LinkError) and rule in outcome.message


@pytest.mark.parametrize("stream", [link.STDOUT, link.STDERR])
@pytest.mark.parametrize("reader", ["stalls", "gone"])
def test_endless_output_without_credit(tmp_path: Path, stream: int, reader: str) -> None:
    """A reader that has gone is told to the guest; a guest that takes no notice is given credit, for output that goes nowhere."""
    with Conversation(tmp_path, reader) as conversation:
        outcome = conversation.hear(HELLO + link.frame(stream, b"x" * 4096) * 1000)
    if reader == "stalls":
        assert isinstance(outcome, link.LinkError) and "without credit" in outcome.message
    else:
        assert outcome is None


@pytest.mark.parametrize("reader", ["reads", "gone"])
def test_a_guest_that_never_reads_its_credit(tmp_path: Path, reader: str) -> None:
    """Each byte by itself is due a frame of nine. What is due must not pile up for ever."""
    with Conversation(tmp_path, reader) as conversation:
        conversation.ring.room = 0
        assert conversation.hear(HELLO + STARTED) is None
        outcome = None
        for size in [1] * 1000 + [4096] * (link.OUTPUT_WINDOW // 4096):
            outcome = conversation.hear(link.frame(link.STDOUT, b"x" * size))
            assert len(conversation.guest.to_guest.waiting) < 2 * link.PAYLOAD_LIMIT
            if outcome is not None:
                break
        assert isinstance(outcome, link.LinkError) and "without credit" in outcome.message


def test_a_guest_that_reads_late_gets_all_its_credit(tmp_path: Path) -> None:
    with Conversation(tmp_path) as conversation:
        conversation.ring.room = 0
        assert conversation.hear(HELLO + STARTED) is None
        for _ in range(1000):
            assert conversation.hear(link.frame(link.STDOUT, b"x" * 100)) is None
        conversation.ring.room = 1 << 20
        for _ in range(3):
            assert conversation.hear(b"") is None
        assert conversation.hear(link.frame(link.STDOUT, b"x" * 4096) * 31) is None
        assert len(conversation.delivered[link.STDOUT]) == 100_000 + 31 * 4096


@pytest.mark.parametrize("size", [0, 1, 4096])
def test_a_flood_of_logs_is_cut(tmp_path: Path, size: int) -> None:
    with Conversation(tmp_path) as conversation:
        assert conversation.hear(HELLO + link.frame(link.LOG, b"x" * size) * 2000) is None
        assert conversation.hear(link.frame(link.EXIT, b"\x03")) == 3
    assert (tmp_path / "console.log").stat().st_size == min(2000 * size, LOG_LIMIT)


def test_a_frame_that_never_ends_waits_for_its_end(tmp_path: Path) -> None:
    with Conversation(tmp_path) as conversation:
        assert conversation.hear(HELLO + b"\x05\x00\x00\x10" + b"x" * 4095) is None
        assert conversation.delivered[link.STDOUT] == b""
        assert conversation.hear(b"x") is None
        assert conversation.delivered[link.STDOUT] == b"x" * 4096


def test_a_stalled_reader_keeps_the_end_waiting_and_nothing_more(tmp_path: Path) -> None:
    """With output left for such a reader, FATAL does not end the container at once; it must not be said again and again."""
    with Conversation(tmp_path, "stalls") as conversation:
        assert conversation.hear(HELLO + link.frame(link.STDOUT, b"x" * 4096) * 25 + link.frame(link.FATAL, b"\x7dwhy")) is None
        assert isinstance(conversation.hear(link.frame(link.FATAL, b"\x7dwhy") * 1000), link.LinkError)
        assert conversation.said == ["why"]


def test_a_message_does_not_wait_for_a_reader_that_has_stalled(tmp_path: Path) -> None:
    record = Record(str(tmp_path))
    record.log = str(tmp_path / "log")
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    with contextlib.suppress(BlockingIOError):
        while os.write(write_end, b"x" * 4096):
            pass
    os.set_blocking(write_end, True)  # as the supervisor has it: who writes to it waits
    session = Session(0, record.say, (0, 1, write_end), patience_s=0)
    session.say("lost on standard error")
    os.read(read_end, 65536)
    session.say("y" * 8000)
    os.close(write_end)
    with open(read_end, "rb") as rest:
        said = rest.read().lstrip(b"x")
    assert said == b"runx: " + b"y" * 4090
    assert "lost on standard error" in (tmp_path / "log").read_text()


def test_a_guest_that_was_quicker_than_its_consoles_event(tmp_path: Path) -> None:
    """The domain has ended before the supervisor has met its console. It says no more, but what it has said is there."""
    with Conversation(tmp_path) as conversation:
        conversation.ring.connected = False
        conversation.ring.unread = HELLO + STARTED + link.frame(link.STDOUT, b"all of it") + link.frame(link.EXIT, b"\x07")
        conversation.guest.domain_ended("shutdown")
        assert (conversation.session.status, conversation.said) == (7, [])
        assert conversation.hear(b"") == 7
        assert conversation.delivered[link.STDOUT] == b"all of it"


def test_endless_input_does_not_keep_credit_back(tmp_path: Path) -> None:
    """A guest that takes all of it, as much as its ring holds each time, while its process writes."""
    with Conversation(tmp_path) as conversation:
        conversation.ring.room = 1024
        assert conversation.hear(HELLO + STARTED) is None
        typed = taken = 0
        for _ in range(400):
            with contextlib.suppress(BlockingIOError):
                typed += os.write(conversation.typed, b"i" * 4096)
            unread = array.array("i", [0])
            fcntl.ioctl(conversation.stdin, termios.FIONREAD, unread)
            conversation.session.input.credit(typed - unread[0] - taken)  # the process takes it at once
            taken = typed - unread[0]
            assert conversation.hear(link.frame(link.STDOUT, b"x" * 1000)) is None
