"""PID 1 of the guest, run here in namespaces: connections to servers of the guest (docs/console-link.md, "Connections").

Its network is this machine's.
"""

import os
import socket
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from random import Random

import pytest

import guestbox as gb
from guestbox import GuestBox
from initbox import Start, shell
from runx.exec.console import frames as link

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces and mounts need root")


@pytest.fixture
def box(start: Start) -> GuestBox:
    box = start(*shell("read x"), sessions=1)
    box.until(gb.STARTED)
    return box


def ends(box: GuestBox) -> None:
    """The container goes on as if nothing had been."""
    box.send(gb.HOST_STDIN, b"go\n")
    assert box.exit_status() == 0


def dial(box: GuestBox, port: int, session: int = 1) -> None:
    box.send(gb.HOST_DIAL, port.to_bytes(2, "little"), session)


@contextmanager
def server(address: str = "127.0.0.1", port: int = 0) -> Iterator[socket.socket]:
    family = socket.AF_INET6 if ":" in address else socket.AF_INET
    with socket.create_server((address, port), family=family) as listener:
        listener.settimeout(gb.DEADLINE_S)
        yield listener


def connected(box: GuestBox, listener: socket.socket, session: int = 1) -> socket.socket:
    dial(box, listener.getsockname()[1], session)
    while not box.of(session).started:
        assert not box.of(session).fatal, box.of(session).fatal
        assert box.frame()
    peer, _ = listener.accept()
    peer.settimeout(gb.DEADLINE_S)
    return peer


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0", "::1"])  # noqa: S104  # a server like any
def test_a_connection_from_its_start_to_its_end(box: GuestBox, address: str) -> None:
    """Each half ends by itself."""
    with server(address) as listener, connected(box, listener) as peer:
        box.send(gb.HOST_STDIN, b"question", 1)
        box.send(gb.HOST_STDIN_EOF, b"", 1)
        while box.of(1).credit < len(b"question"):
            box.frame()
        assert peer.makefile("rb").read() == b"question"
        peer.sendall(b"answer")
        box.until_said(1, b"answer")
        assert box.of(1).status is None
        peer.shutdown(socket.SHUT_WR)
        assert box.status_of(1) == 0
    assert box.of(1).streams == {gb.STDOUT: b"answer", gb.STDERR: b""}
    ends(box)


def test_a_server_that_ends_first(box: GuestBox) -> None:
    with server() as listener, connected(box, listener) as peer:
        peer.sendall(b"bye")
        peer.shutdown(socket.SHUT_WR)
        assert box.until(link.kind_of(1, gb.STDOUT)) == b"bye"
        assert box.until(link.kind_of(1, gb.STDOUT)) == b""
        box.send(gb.HOST_STDIN, b"more", 1)
        assert peer.recv(4) == b"more"
        box.send(gb.HOST_STDIN_EOF, b"", 1)
        assert box.status_of(1) == 0
    ends(box)


def test_much_both_ways(box: GuestBox) -> None:
    size = 3 * link.OUTPUT_WINDOW
    data = Random(3).randbytes(size)
    with server() as listener, connected(box, listener) as peer:
        sent = got = 0
        peer.settimeout(0.01)
        while len(box.of(1).streams[gb.STDOUT]) < size or got < size:
            room = min(link.INPUT_WINDOW - (sent - box.of(1).credit), size - sent, link.PAYLOAD_LIMIT)
            if room > 0:
                box.send(gb.HOST_STDIN, data[sent : sent + room], 1)
                sent += room
            try:
                piece = peer.recv(65536)
                assert piece == data[got : got + len(piece)]
                got += len(piece)
                peer.sendall(piece)
            except TimeoutError:
                pass
            if got < size or len(box.of(1).streams[gb.STDOUT]) < size:
                box.frame()
        assert box.of(1).streams[gb.STDOUT] == data
        box.send(gb.HOST_STDIN_EOF, b"", 1)
        peer.shutdown(socket.SHUT_WR)
        assert box.status_of(1) == 0
    ends(box)


def test_a_port_without_a_server(box: GuestBox) -> None:
    with server() as listener:
        port = listener.getsockname()[1]
    dial(box, port)
    assert box.failure_of(1) == (125, f"port {port}: connection refused")
    box.sessions.clear()
    with server() as listener, connected(box, listener):
        pass
    box.send(gb.HOST_STDIN_EOF, b"", 1)
    assert box.status_of(1) == 0, "the number is free"
    ends(box)


def test_a_server_that_resets(box: GuestBox) -> None:
    """No end of the output is told: the host resets its client."""
    with server() as listener:
        peer = connected(box, listener)
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        peer.close()
        assert box.status_of(1) == 1
    ends(box)


def test_a_client_that_has_gone(box: GuestBox) -> None:
    with server() as listener, connected(box, listener) as peer:
        peer.sendall(b"x")
        box.send(gb.HOST_CLOSED, b"\1", 1)
        box.send(gb.HOST_STDIN_EOF, b"", 1)
        assert box.status_of(1) == 0
        with pytest.raises((ConnectionError, AssertionError)):
            while peer.recv(1):
                pass
            raise AssertionError
    ends(box)


def test_the_end_of_the_container(box: GuestBox) -> None:
    with server() as listener, connected(box, listener) as peer:
        ends(box)
        assert peer.recv(1) == b""


@pytest.mark.parametrize("payload", [b"", b"\0\0", b"\1", b"\1\1\1"])
def test_no_port(box: GuestBox, payload: bytes) -> None:
    box.send(gb.HOST_DIAL, payload, 1)
    assert box.failure_of(1) == (125, "no port")
    ends(box)


def test_as_many_as_there_may_be(box: GuestBox) -> None:
    with server() as listener:
        peers = [connected(box, listener, session) for session in range(1, link.SESSIONS_MOST + 1)]
        for peer in peers:
            peer.sendall(b"x")
            peer.close()
        for session in range(1, link.SESSIONS_MOST + 1):
            box.send(gb.HOST_STDIN_EOF, b"", session)
            assert box.status_of(session) == 0
            assert box.of(session).streams[gb.STDOUT] == b"x"
    ends(box)
