"""The containers in the machine of a pod, as its supervisor has them; the guest and the server of shares are in this file."""

import os
import select
import socket
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from runx.errors import RunxError
from runx.exec.console import frames as link
from runx.exec.container.record import Record
from runx.exec.supervisor import control
from runx.exec.supervisor.members import Members

NUMBER = 5
"""Of the session."""


class Sessions:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.killed: list[int] = []
        self.freed: list[int] = []
        self.on_changes: Any = None

    def begin_container(self, listener: Callable[[str], None], fds: list[int], place: int, on_changes: object) -> int:
        self.listener, self.on_changes, self.place = listener, on_changes, place
        for fd in fds:
            os.close(fd)
        return NUMBER

    def kill(self, number: int) -> None:
        self.killed.append(number)

    def free(self, number: int) -> None:
        self.freed.append(number)


class Shares:
    """Likewise."""

    def __init__(self) -> None:
        self.told: list[tuple[object, ...]] = []
        self.server = os.getpid()
        self.on_synced: Any = None

    def take_changes(self, *words: object) -> None:
        self.told.append(("changes", *words))

    def sync(self, name: str) -> None:
        self.told.append(("sync", name))

    def withdraw(self, name: str) -> None:
        self.told.append(("withdraw", name))


class Pod:
    """A pod with one container that runs, and may have its changes written back."""

    def __init__(self, root: Path, *, writes_back: bool) -> None:
        pod = Record(str(root / "pod"))
        member = Record(str(root / "c"))
        for record in (pod, member):
            os.mkdir(record.directory)
        member.pod, member.console, member.pid_namespace, member.writes_back = "pod", "pod", "own", writes_back
        member.log = str(root / "log")
        member.save()
        self.log = root / "log"
        self.sessions, self.shares = Sessions(), Shares()
        said: Any = print
        sessions: Any = self.sessions
        shares: Any = self.shares
        self.members = Members(pod, shares, sessions, said)
        self.supervisor, theirs = socket.socketpair()
        self.heard = b""
        self.members.join(theirs.detach(), "c")
        assert self.next_line() == "joined"
        fds = tuple(os.open("/dev/null", os.O_RDWR) for _ in range(4))
        control.send(self.supervisor, "start", fds)
        for fd in fds:
            os.close(fd)
        self.until(lambda: self.sessions.on_changes is not None or not writes_back)

    def until(self, is_so: Callable[[], object]) -> None:
        limit = time.monotonic() + 30
        while not is_so():
            assert time.monotonic() < limit
            self.turn()

    def turn(self) -> None:
        poller = select.poll()
        self.members.watch(poller)
        self.members.handle(dict(poller.poll(50)))

    def next_line(self) -> str:
        self.supervisor.setblocking(False)

        def has_line() -> bool:
            try:
                self.heard += self.supervisor.recv(4096)
            except BlockingIOError:
                pass
            return b"\n" in self.heard

        self.until(has_line)
        line, _, self.heard = self.heard.partition(b"\n")
        return line.decode()

    def say(self, line: str) -> None:
        control.send(self.supervisor, line, ())
        self.turn()


@pytest.fixture
def pod(tmp_path: Path) -> Iterator[Pod]:
    yield Pod(tmp_path, writes_back=True)


def test_a_root_filesystem_that_cannot_be_had_is_an_error_of_the_container(pod: Pod) -> None:
    """And KILL does not end the writing meanwhile: no process is left for it."""
    pod.sessions.on_changes(link.LAYER, b"")
    pod.say("signal 9")
    assert pod.sessions.killed == []
    pod.until(lambda: pod.sessions.killed)  # the job finds no file that says where the root filesystem is
    assert pod.sessions.killed == [NUMBER], "so the guest gives up"
    pod.sessions.on_changes(link.WRITTEN_BACK, b"\1SIGKILL came")
    pod.sessions.listener("exit 0")
    assert pod.next_line() == "exit 125"
    assert ("withdraw", f"c{NUMBER}") in pod.shares.told
    assert "does not come into its root filesystem" in pod.log.read_text()
    assert pod.sessions.freed == [NUMBER]


def test_a_container_that_has_written_nothing(pod: Pod) -> None:
    pod.sessions.on_changes(link.WRITTEN_BACK, b"\0")
    pod.sessions.listener("exit 3")
    assert pod.next_line() == "exit 3"
    assert pod.shares.told == [] and not pod.log.exists()


def test_a_guest_that_asks_twice_breaks_a_rule(pod: Pod) -> None:
    pod.sessions.on_changes(link.LAYER, b"")
    with pytest.raises(RunxError, match="asked for twice"):
        pod.sessions.on_changes(link.LAYER, b"")


def test_a_container_whose_supervisor_has_gone_is_not_written_back(pod: Pod) -> None:
    """Engines may remove its root filesystem."""
    pod.supervisor.close()
    pod.until(lambda: pod.sessions.killed)
    pod.sessions.on_changes(link.LAYER, b"")
    assert pod.sessions.killed == [NUMBER, NUMBER]
    pod.sessions.on_changes(link.WRITTEN_BACK, b"\1SIGKILL came")
    pod.sessions.listener("exit 137")
    pod.until(lambda: pod.sessions.freed)
    assert pod.shares.told == []


def test_the_guest_is_not_heard_of_a_layer_that_is_not_wanted(tmp_path: Path) -> None:
    pod = Pod(tmp_path, writes_back=False)
    pod.until(lambda: hasattr(pod.sessions, "listener"))
    assert pod.sessions.on_changes is None
    pod.say("signal 9")
    assert pod.sessions.killed == [NUMBER]
    pod.sessions.listener("exit 137")
    assert pod.next_line() == "exit 137"


def test_a_number_that_was_ready_and_means_another_descriptor_now(pod: Pod) -> None:
    """Of a session that ended in this turn, or of a job: the connection that has it now has said nothing yet."""
    other = Record(str(Path(pod.log).parent / "d"))
    os.mkdir(other.directory)
    other.pod, other.console, other.pid_namespace = "pod", "pod", "own"
    other.save()
    supervisor, theirs = socket.socketpair()
    with supervisor:
        moment = (0).to_bytes(8, sys.byteorder) + (100_000).to_bytes(8, sys.byteorder)
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, moment)  # so that the test ends
        number = theirs.detach()
        pod.members.join(number, "d")
        pod.members.handle({number: select.POLLIN})
        pod.until(lambda: select.select([supervisor], [], [], 0)[0])
        assert supervisor.recv(100) == b"joined\n"
