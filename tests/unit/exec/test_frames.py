"""The framing of the console link: what a well-behaved guest says comes out whole, what a hostile one says is refused."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runx.exec.console import frames as link

HELLO = link.frame(link.HELLO, bytes((link.VERSION,)))


@given(
    st.lists(st.tuples(st.sampled_from([link.STDOUT, link.STDERR, link.LOG]), st.binary(max_size=link.PAYLOAD_LIMIT))),
    st.lists(st.integers(1, 700), min_size=1),
)
def test_frames_survive_any_splitting(frames: list[tuple[int, bytes]], cuts: list[int]) -> None:
    data = HELLO + b"".join(link.frame(kind, payload) for kind, payload in frames)
    decoder = link.Decoder()
    got = []
    turn = 0
    while data:
        size = cuts[turn % len(cuts)]
        turn += 1
        got += decoder.feed(data[:size])
        data = data[size:]
    assert got == [(link.HELLO, bytes((link.VERSION,))), *frames]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"\x00\x00\x00\x00", "no such frame"),
        (b"\x41\x00\x00\x00", "no such frame"),
        (b"\x05\x01\x00\x00", "no such frame"),
        (b"\x05\x00\x01\x10", "4097 bytes"),
        (b"\x07\x00\x02\x00", "2 bytes"),
        (link.frame(link.STDOUT, b"x"), "before HELLO"),
        (link.frame(link.HELLO, b"\x01"), "version 1 of the link, this runx speaks 2"),
        (HELLO + b"\x08\x00\x04\x00", "4 bytes"),
        (HELLO + b"\xff\xff\xff\xff", "no such frame"),
    ],
)
def test_garbage_is_refused_with_the_rule_it_breaks(data: bytes, reason: str) -> None:
    with pytest.raises(link.LinkError, match=reason):
        link.Decoder().feed(data)


@given(st.binary(max_size=20000))
def test_any_bytes_are_frames_or_an_error(data: bytes) -> None:
    decoder = link.Decoder()
    try:
        frames = decoder.feed(data)
    except link.LinkError:
        return
    assert sum(len(payload) + 4 for _, payload in frames) <= len(data)


def test_an_impossible_length_is_refused_before_its_payload_arrives() -> None:
    with pytest.raises(link.LinkError):
        link.Decoder().feed(HELLO + b"\x05\x00\xff\xff")


def test_credit_round_trip() -> None:
    assert link.credit(2, 70000) == bytes((link.CREDIT_OUT, 0, 5, 0, 2)) + (70000).to_bytes(4, "little")
    assert link.parse_credit(link.credit(0, 70000)[4:]) == (0, 70000)
