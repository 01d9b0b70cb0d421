"""The standard streams on the host: nothing lost, memory bounded, the other end's going away reported."""

import os
import socket
from collections.abc import Iterator

import pytest

from runx.exec.console import frames as link
from runx.exec.console import streams


@pytest.fixture(params=["pipe", "socket"])
def pipe(request: pytest.FixtureRequest) -> Iterator[list[int]]:
    """What engines give, as [read end, write end]; a test may close an end and replace it by -1."""
    ends = list(os.pipe() if request.param == "pipe" else (end.detach() for end in socket.socketpair()))
    yield ends
    for fd in ends:
        if fd >= 0:
            os.close(fd)


def credited(frames: bytes) -> int:
    total = 0
    while frames:
        assert frames[0] in (link.CREDIT_OUT, link.CLOSED)
        size = 4 + frames[2]
        if frames[0] == link.CREDIT_OUT:
            total += int.from_bytes(frames[5:9], "little")
        frames = frames[size:]
    return total


def test_output_is_written_in_order_and_all_of_it_credited(pipe: list[int]) -> None:
    out = streams.Output(1, pipe[1])
    data = os.urandom(30000)
    got = b""
    credit = 0
    for at in range(0, len(data), 4096):
        out.receive(data[at : at + 4096])
    while out.wants_write:
        out.write_ready()
        credit += credited(out.frames())
        got += os.read(pipe[0], 65536)
    assert got == data
    assert credit == len(data)
    assert out.drained


def test_a_reader_that_stops_does_not_block(pipe: list[int]) -> None:
    out = streams.Output(1, pipe[1])
    data = os.urandom(link.OUTPUT_WINDOW)
    sent = 0
    while out.drained:
        for at in range(0, len(data), 4096):
            out.receive(data[at : at + 4096])
        sent += len(data)
        out.write_ready()
        out.frames()
    assert os.get_blocking(pipe[1]), "the flag is the caller's too"
    got = b""
    while not out.drained:
        got += os.read(pipe[0], 4096)
        out.write_ready()
    while len(got) < sent:
        got += os.read(pipe[0], 65536)
    assert got == data * (sent // len(data))


def test_output_beyond_the_window_is_an_error(pipe: list[int]) -> None:
    out = streams.Output(1, pipe[1])
    for _ in range(link.OUTPUT_WINDOW // 4096):
        out.receive(bytes(4096))
    with pytest.raises(link.LinkError, match="without credit"):
        out.receive(b"x")


def test_the_window_holds_for_a_reader_that_has_gone(pipe: list[int]) -> None:
    """A guest that goes on sending to a closed stream is credited, so that the process sees EPIPE and not a stall."""
    out = streams.Output(2, pipe[1])
    os.close(pipe[0])
    pipe[0] = -1
    out.receive(b"x" * 4096)
    out.write_ready()
    frames = out.frames()
    assert credited(frames) == 4096
    assert frames.endswith(link.frame(link.CLOSED, b"\x02"))
    out.receive(b"y" * 100)
    assert credited(out.frames()) == 100
    assert out.drained


def test_end_of_output_reaches_the_reader_after_the_last_byte(pipe: list[int]) -> None:
    out = streams.Output(1, pipe[1])
    out.receive(b"last")
    out.receive(b"")
    assert out.open
    out.write_ready()
    assert not out.open
    assert os.read(pipe[0], 100) == b"last"
    assert os.read(pipe[0], 100) == b"", "the only write end is closed"


def test_a_closed_descriptor_is_a_reader_that_has_gone() -> None:
    out = streams.Output(1, 999)
    assert out.frames() == link.frame(link.CLOSED, b"\x01")
    assert out.frames() == b"", "told once"


def test_input_stops_at_the_window_and_goes_on_with_credit(pipe: list[int]) -> None:
    source = streams.Input(pipe[0])
    os.set_blocking(pipe[1], False)
    data = os.urandom(link.INPUT_WINDOW + 5000)
    assert os.write(pipe[1], data) == len(data)
    got = b""
    while source.wants_read:
        frame = source.read_some()
        assert frame[0] == link.STDIN
        got += frame[4:]
    assert len(got) == link.INPUT_WINDOW
    source.credit(5000)
    while source.wants_read:
        got += source.read_some()[4:]
    assert got == data
    source.credit(link.INPUT_WINDOW)
    with pytest.raises(link.LinkError, match="not sent"):
        source.credit(1)


def test_end_of_input_is_one_frame(pipe: list[int]) -> None:
    source = streams.Input(pipe[0])
    os.close(pipe[1])
    pipe[1] = -1
    assert source.read_some() == link.frame(link.STDIN_EOF)
    assert not source.wants_read
    assert source.greeting() == b""


def test_input_that_never_was_open_ends_at_once() -> None:
    source = streams.Input(999)
    assert not source.wants_read
    assert source.greeting() == link.frame(link.STDIN_EOF)
    assert source.greeting() == b""
