"""Further processes of a container, as the supervisor sees them: the guest on one side, their carriers on the other."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runx.errors import RunxError
from runx.exec.console import frames as link
from runx.exec.container import process_record
from runxtools.testing.hostile import HELLO, STARTED, Carrier, Conversation

Begin = Callable[[int], Conversation]


@pytest.fixture
def begin(tmp_path: Path) -> Iterator[Begin]:
    """Starts a container whose process runs, and so many sessions."""
    made: list[Conversation] = []

    def start(sessions: int) -> Conversation:
        made.append(Conversation(tmp_path, sessions=sessions).__enter__())
        assert made[-1].hear(HELLO + STARTED) is None
        made[-1].hear(b"")
        return made[-1]

    yield start
    for conversation in made:
        conversation.__exit__()


def of(session: int, kind: int, payload: bytes = b"") -> bytes:
    return link.frame(kind, payload, session)


RECORD = of(1, link.EXEC, b"record") + of(1, link.EXEC)


def test_the_record_comes_before_everything_else(begin: Begin) -> None:
    talk = begin(1)
    assert bytes(talk.ring.history) == RECORD


def test_a_session_from_its_start_to_its_end(begin: Begin) -> None:
    talk = begin(2)
    speech = of(2, link.STARTED) + of(2, link.STDOUT, b"out") + of(2, link.STDERR, b"err")
    assert talk.hear(speech) is None
    assert talk.carriers[1].told == b"started\n"
    assert talk.hear(of(2, link.EXIT, b"\7")) is None
    assert talk.carriers[1].told == b"started\nexit 7\n"
    assert list(talk.carriers[1].delivered.values()) == [b"out", b"err"]
    assert talk.carriers[0].told == b""
    assert list(talk.delivered.values()) == [b"", b""]


def test_a_session_that_does_not_start(begin: Begin) -> None:
    talk = begin(1)
    talk.hear(of(1, link.FATAL, b'\x7fexec: "x": executable file\nnot found'))
    assert talk.carriers[0].told == b'failed 127 exec: "x": executable file not found\n'
    talk.carriers.append(Carrier(talk.guest))  # its number is free
    talk.hear(b"")
    assert talk.ring.history.count(RECORD) == 2


def test_signals_and_sizes_of_a_carrier(begin: Begin) -> None:
    talk = begin(1)
    talk.carriers[0].say("size 33 101")
    talk.carriers[0].say("signal 15")
    talk.hear(of(1, link.STARTED))
    talk.hear(b"")
    assert of(1, link.WINSIZE, b"\x21\0\x65\0") in talk.ring.history
    assert of(1, link.SIGNAL, b"\x0f") in talk.ring.history


def test_a_carrier_that_is_killed_takes_its_process_along(begin: Begin) -> None:
    talk = begin(1)
    talk.hear(of(1, link.STARTED))
    talk.carriers[0].hang_up()
    talk.hear(b"")
    assert of(1, link.SIGNAL, b"\x09") in talk.ring.history
    assert talk.hear(of(1, link.EXIT, b"\x89")) is None


@pytest.mark.parametrize("leaves", [True, False])
def test_others_may_use_the_output_of_a_process_that_has_ended(begin: Begin, leaves: bool) -> None:
    """As long as it is read: a carrier may leave before, but one that is killed takes its reader along."""
    talk = begin(1)
    carrier = talk.carriers[0]
    talk.hear(of(1, link.STARTED) + of(1, link.STDOUT, b"own") + of(1, link.ENDING, b"\3"))
    assert carrier.told == b"started\nending 3\n"
    if leaves:
        carrier.say("leave")
    carrier.hang_up()
    talk.hear(b"")
    assert talk.hear(of(1, link.STDOUT, b" others'")) is None
    assert carrier.delivered[link.STDOUT] == (b"own others'" if leaves else b"own")
    assert (of(1, link.CLOSED, b"\1") in talk.ring.history) == (not leaves)
    assert talk.hear(of(1, link.EXIT, b"\3")) is None
    talk.carriers.append(Carrier(talk.guest))  # its number is free
    talk.hear(b"")
    assert talk.ring.history.count(RECORD) == 2


def test_a_carrier_hears_of_the_end_when_what_the_process_wrote_is_written(begin: Begin) -> None:
    """An engine reads what is in its pipe then, and no more."""
    talk = begin(1)
    carrier = talk.carriers[0]
    carrier.reads = False
    window = 32 * of(1, link.STDOUT, b"x" * 4096)
    talk.hear(of(1, link.STARTED) + window)
    talk.hear(of(1, link.ENDING, b"\0"))
    assert carrier.told == b"started\n"
    carrier.reads = True
    talk.hear(b"")
    talk.hear(b"")
    assert len(carrier.delivered[link.STDOUT]) == 32 * 4096
    assert carrier.told == b"started\nending 0\n"


def test_who_waits_for_the_output_gets_the_status_of_the_process_at_the_end_of_the_container(begin: Begin) -> None:
    talk = begin(1)
    talk.hear(of(1, link.STARTED) + of(1, link.ENDING, b"\3"))
    assert talk.guest.sessions
    talk.guest.sessions.close()
    talk.carriers[0].read()
    assert talk.carriers[0].told == b"started\nending 3\nexit 3\n"


def test_processes_that_have_ended_keep_out_no_others(begin: Begin) -> None:
    """Of those whose output is still used, only so many may be: then that of the oldest is closed."""
    talk = begin(link.PROCESSES_MOST)
    for number in range(1, link.REMAINDERS_MOST + 2):
        assert of(1, link.CLOSED, b"\1") not in talk.ring.history
        talk.hear(of(number, link.STARTED) + of(number, link.ENDING, b"\0"))
        talk.carriers.append(Carrier(talk.guest))
    talk.hear(b"")
    assert of(1, link.CLOSED, b"\1") + of(1, link.CLOSED, b"\2") in talk.ring.history
    assert of(2, link.CLOSED, b"\1") not in talk.ring.history
    with pytest.raises(RunxError, match="64 processes run by exec already"):
        Carrier(talk.guest)


def test_sessions_before_the_process_runs_wait_for_it(tmp_path: Path) -> None:
    with Conversation(tmp_path, sessions=1) as talk:
        talk.hear(HELLO)
        assert RECORD not in talk.ring.history
        talk.hear(STARTED)
        talk.hear(b"")
        assert RECORD in talk.ring.history


def test_no_more_than_there_may_be(begin: Begin) -> None:
    talk = begin(link.PROCESSES_MOST)
    with pytest.raises(RunxError, match="64 processes run by exec already"):
        Carrier(talk.guest)
    for number in range(link.QUESTIONS_MOST):  # `runx ps`, and limits of a container in its pod's machine
        talk.carriers.append(Carrier(talk.guest, b"" if number % 2 else process_record.limits([b"cpu.max", b""])))
    with pytest.raises(RunxError, match="the guest has not answered 8 questions"):
        Carrier(talk.guest, b"")


def test_containers_of_a_pod_count_too(begin: Begin) -> None:
    talk = begin(link.PROCESSES_MOST - 1)
    sessions = talk.guest.sessions
    assert sessions

    def join() -> int:
        archive = os.memfd_create("archive")
        os.write(archive, b"070701")
        return sessions.begin_container(print, [archive, *(os.open("/dev/null", os.O_RDWR) for _ in range(3))], -1, None)

    assert join() == link.PROCESSES_MOST
    with pytest.raises(RunxError, match="64 containers and processes run by exec already"):
        join()


def test_none_begins_when_the_container_ends(begin: Begin) -> None:
    talk = begin(1)
    talk.hear(of(1, link.STARTED) + link.frame(link.ENDING, b"\3"))
    with pytest.raises(RunxError, match="cannot exec in a stopped container"):
        Carrier(talk.guest)
    assert talk.hear(link.frame(link.EXIT, b"\3")) == 3
    assert talk.guest.sessions
    talk.guest.sessions.close()  # as the supervisor does at the end
    talk.carriers[0].read()
    assert talk.carriers[0].told == b"started\nexit 137\n"


def test_one_that_has_not_started_when_the_container_ends(begin: Begin) -> None:
    talk = begin(1)
    assert talk.hear(link.frame(link.ENDING, b"\3") + link.frame(link.EXIT, b"\3")) == 3
    assert talk.guest.sessions
    talk.guest.sessions.close()
    talk.carriers[0].read()
    assert talk.carriers[0].told == b"error cannot exec in a stopped container\n"


@pytest.mark.parametrize(
    ("speech", "rule"),
    [
        (of(1, link.STDOUT, b"x"), "a frame of type 0x05 of session 1 out of order"),
        (of(1, link.EXIT, b"\0"), "a frame of type 0x07 of session 1 out of order"),
        (of(1, link.STARTED) * 2, "a frame of type 0x04 of session 1 out of order"),
        (of(1, link.STARTED) + of(1, link.FATAL, b"\1"), "a frame of type 0x03 of session 1 out of order"),
        (of(2, link.STARTED), "a frame of type 0x04 of session 2, which does not run"),
        (of(1, link.FATAL, b"\1") * 2, "a frame of type 0x03 of session 1, which does not run"),
        (of(1, link.STARTED) + of(1, link.CREDIT_IN, b"\1\1\0\0\0"), "credit for stream 1"),
        (of(1, link.STARTED) + of(1, link.CREDIT_IN, b"\0\1\0\0\0"), "credit for input that was not sent"),
        (of(1, link.STARTED) + of(1, link.STDOUT, b"x" * 4096) * 60, "bytes of output without credit"),
        (of(link.SESSIONS_MOST + 1, link.STARTED), "no such frame"),
        (of(1, link.ENDING, b"\0"), "a frame of type 0x0b of session 1 out of order"),
        (of(1, link.STARTED) + of(1, link.ENDING, b"\0") * 2, "ENDING of session 1 out of order"),
        (
            of(1, link.STARTED) + of(1, link.ENDING, b"\0") + of(1, link.EXIT, b"\1"),
            "EXIT of session 1 with status 1 after ENDING with 0",
        ),
        (of(1, link.LAYER), "out of order"),
        (of(1, link.STARTED) + of(1, link.LAYER), "a layer that is not written back"),
        (of(1, link.STARTED) + of(1, link.WRITTEN_BACK, b"\0"), "a layer that is not written back"),
    ],
)
def test_a_guest_that_is_garbage_in_a_session_loses_the_container(tmp_path: Path, speech: bytes, rule: str) -> None:
    with Conversation(tmp_path, "stalls", sessions=1) as talk:
        talk.hear(HELLO + STARTED)
        talk.hear(b"")
        outcome = talk.hear(speech)
        assert isinstance(outcome, RunxError) and rule in outcome.message, outcome


def test_a_container_without_exec_has_no_sessions(tmp_path: Path) -> None:
    with Conversation(tmp_path) as talk:
        outcome = talk.hear(HELLO + STARTED + of(1, link.STARTED))
        assert isinstance(outcome, RunxError) and "second byte 0x01" in outcome.message
        with pytest.raises(RunxError, match="no process can be started"):
            Carrier(talk.guest)
