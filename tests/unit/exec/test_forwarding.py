"""Ports of the guest, as the supervisor carries connections to them."""

import os
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from runx.errors import RunxError
from runx.exec.console import frames as link
from runxtools.testing.hostile import HELLO, STARTED, Conversation


@pytest.fixture
def talk(tmp_path: Path) -> Iterator[Conversation]:
    with Conversation(tmp_path, sessions=1) as talk:
        assert talk.hear(HELLO + STARTED) is None
        talk.hear(b"")
        assert talk.guest.sessions
        talk.guest.sessions._log = lambda _level, message: talk.said.append(message)
        yield talk


def of(kind: int, payload: bytes = b"", session: int = 2) -> bytes:
    return link.frame(kind, payload, session)


def connect(talk: Conversation) -> socket.socket:
    client = talk.connect()
    talk.hear(b"")
    return client


def sent(talk: Conversation, kind: int) -> list[bytes]:
    """Payloads of frames of this kind that the guest has got of session 2."""
    history, found = bytes(talk.ring.history), []
    while history:
        got, session, length = struct.unpack("<BBH", history[:4])
        if (got, session) == (kind, 2):
            found.append(history[4 : 4 + length])
        history = history[4 + length :]
    return found


def test_a_connection_from_its_start_to_its_end(talk: Conversation) -> None:
    with connect(talk) as client:
        client.sendall(b"question")
        talk.hear(b"")
        assert (sent(talk, link.DIAL), sent(talk, link.STDIN)) == ([b"\x90\x1f"], []), "no input before STARTED"
        talk.hear(of(link.STARTED))
        assert sent(talk, link.STDIN) == [b"question"]
        client.shutdown(socket.SHUT_WR)
        talk.hear(of(link.STDOUT, b"answer"))
        talk.hear(b"")
        assert sent(talk, link.STDIN_EOF) == [b""]
        talk.hear(of(link.STDOUT) + of(link.EXIT, b"\0"))
        assert client.makefile("rb").read() == b"answer"
    assert "session 2 begins: a connection to port 8080" in talk.said


def test_the_servers_half_ends_first(talk: Conversation) -> None:
    with connect(talk) as client:
        talk.hear(of(link.STARTED) + of(link.STDOUT, b"bye") + of(link.STDOUT))
        assert client.makefile("rb").read() == b"bye"
        client.sendall(b"more")
        talk.hear(b"")
        assert sent(talk, link.STDIN) == [b"more"]


@pytest.mark.parametrize(
    "speech", [of(link.FATAL, b"\x7dport 8080: connection refused"), of(link.STARTED) + of(link.EXIT, b"\1")]
)
def test_refused_and_reset(talk: Conversation, speech: bytes) -> None:
    with connect(talk) as client:
        talk.hear(speech)
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    if b"refused" in speech:
        assert talk.said[-1] == "session 2 does not start: port 8080: connection refused"


def test_a_client_that_has_gone(talk: Conversation) -> None:
    client = connect(talk)
    talk.hear(of(link.STARTED))
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    talk.hear(b"")
    talk.hear(b"")
    assert sent(talk, link.CLOSED)[-1:] == [b"\1"]
    assert sent(talk, link.STDIN_EOF) == [b""]


def test_the_window_bounds_a_client_that_does_not_read(talk: Conversation) -> None:
    with connect(talk):
        talk.hear(of(link.STARTED))
        outcome = None
        for _ in range(3000):  # what the kernel takes, and then the window
            outcome = talk.hear(of(link.STDOUT, b"x" * 4096))
            if outcome:
                break
        assert isinstance(outcome, RunxError) and "without credit" in outcome.message


def test_as_many_as_there_may_be(talk: Conversation) -> None:
    assert talk.guest.sessions
    clients = [connect(talk) for _ in range(link.CONNECTIONS_MOST - 1)]
    assert talk.guest.sessions.takes_connections
    clients.append(connect(talk))
    assert not talk.guest.sessions.takes_connections
    for client in clients:
        client.close()


def test_nothing_is_left(talk: Conversation) -> None:
    def held() -> int:
        return len(os.listdir("/proc/self/fd"))

    before = held()
    for end in (of(link.FATAL, b"\x7dno"), of(link.STARTED) + of(link.STDOUT) + of(link.EXIT, b"\0")):
        with connect(talk):
            talk.hear(end)
    connect(talk).close()
    assert talk.guest.sessions
    talk.guest.sessions.close()
    assert held() == before - 4, "the four descriptors of the other session"


def test_when_the_container_has_ended(talk: Conversation) -> None:
    talk.hear(link.frame(link.ENDING, b"\0"))
    with pytest.raises(RunxError, match="stopped container"):
        connect(talk)


_ANY_PORT = """
import os, socket, subprocess
from runx.exec.supervisor import forwarding

class Sessions:
    takes_connections = True
    def begin_connection(self, make, port):
        print(port)
        self.made = make(1)

sessions = Sessions()
part = forwarding.Forwarding(sessions, print)  # before lo is up, as of an engine's namespace
subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
other = socket.create_server(("127.0.0.2", 99))
for port in (1, 8080, 65535):
    client = socket.create_connection(("localhost", port))
    part._take()
    client.close()
socket.create_connection(("127.0.0.2", 99)).close()
other.accept()
part.close()
try:
    socket.create_connection(("localhost", 8080))
except ConnectionRefusedError:
    print("refused")
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="a network namespace needs root")
def test_any_port_of_localhost_and_nothing_else() -> None:
    words = ["unshare", "--net", sys.executable, "-c", _ANY_PORT]
    done = subprocess.run(words, capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["1", "8080", "65535", "refused"]
