"""Requests over the control socket: what they lead to, and the `start` that waits for the process."""

import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runx.errors import RunxError
from runx.exec.container.record import Record
from runx.exec.supervisor import control, loop, requests
from runx.exec.supervisor.lifecycle import Lifecycle
from runx.exec.supervisor.requests import Requests
from runx.exec.supervisor.session import Session

CHECKOUT = Path(__file__).parents[3]


class Machine:
    """Notes what is asked of it."""

    def __init__(self) -> None:
        self.done: list[object] = []
        self.error: Exception | None = None

    def _do(self, what: object) -> None:
        if self.error:
            raise self.error
        self.done.append(what)

    def start(self) -> None:
        self._do("start")

    def pause(self) -> None:
        self._do("pause")

    def resume(self) -> None:
        self._do("resume")

    def deliver(self, number: int) -> None:
        self._do(number)

    def execute(self, connection: int, fds: list[int]) -> None:
        self._do(len(fds))
        for fd in (connection, *fds):
            os.close(fd)


class Client(threading.Thread):
    """A command that waits for its answer."""

    def __init__(self, directory: Path, line: str) -> None:
        super().__init__()
        self.answer: RunxError | str = "none yet"
        self._request: Callable[[], str] = lambda: control.request(str(directory), line)
        self.start()

    def run(self) -> None:
        try:
            words = self._request()
            self.answer = f"ok {words}" if words else "ok"
        except RunxError as error:
            self.answer = error

    def answered(self) -> str:
        self.join(60)
        return self.answer.message if isinstance(self.answer, RunxError) else self.answer


class Container:
    """A container of which there is only what serves requests."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.record = Record(str(directory))
        self.record.status = "created"
        self.record.log = str(directory / "log")
        self.machine = Machine()
        self.session = Session(0, self.record.say)
        self.requests = Requests(self.record, Lifecycle(self.record, self.machine), self.session)

    def client(self, line: str) -> Client:
        """A command whose request has been handled."""
        client = Client(self.directory, line)
        loop.turn([self.requests])
        return client

    def ask(self, line: str) -> str:
        return self.client(line).answered()


@pytest.fixture
def container(tmp_path: Path) -> Iterator[Container]:
    container = Container(tmp_path)
    yield container
    container.requests.close()


def test_states(container: Container) -> None:
    assert container.ask("pause") == "cannot pause a container in the created state"
    assert container.ask("resume") == "cannot resume a container in the created state"
    assert container.ask("start") == "ok"
    assert container.ask("start") == "cannot start a container in the running state"
    assert [container.ask(word) for word in ("pause", "resume")] == ["ok", "ok"]
    assert container.machine.done == ["start", "pause", "resume"]
    assert container.record.status == "running"


def test_what_fails_changes_nothing(container: Container) -> None:
    container.machine.error = RunxError("xl unpause failed", "see the log")
    assert container.ask("start") == "xl unpause failed (see the log)"
    assert container.record.status == "created"
    container.machine.error = None
    assert container.ask("start") == "ok"


def test_a_state_that_cannot_be_recorded_is_the_state_all_the_same(container: Container) -> None:
    """An engine whose `start` fails removes the container."""
    (container.directory / "record").mkdir()  # as a disk without room would, it takes no file
    assert [container.ask(word) for word in ("start", "pause", "resume")] == ["ok"] * 3
    told = f"cannot write {container.directory}/record: is a directory; `state` may show an earlier state"
    assert (container.directory / "log").read_text().count(told) == 3
    assert container.machine.done == ["start", "pause", "resume"]
    (container.directory / "record").rmdir()
    assert container.ask("pause") == "ok"
    assert "status=paused" in (container.directory / "record").read_text()


def test_signals(container: Container) -> None:
    assert container.ask("signal 18") == "ok", "CONT does nothing before the start"
    assert container.ask("start") == "ok"
    assert container.ask("signal 15") == "ok"
    assert container.machine.done == ["start", 15]
    container.machine.error = RunxError("the guest takes no more signals")
    assert container.ask("signal 15") == "the guest takes no more signals"


def test_a_signal_before_the_start_ends_the_container_and_is_answered(container: Container) -> None:
    client = Client(container.directory, "signal 15")
    with pytest.raises(loop.Ended) as end:
        loop.turn([container.requests])
    assert (end.value.status, client.answered()) == (143, "ok")


CARRIER = """
import sys
from runx.exec.supervisor import control
connection = control.begin(sys.argv[1], f"exec running {sys.argv[2]}", (0, 0, 0, 0))
sys.stdin.read()
"""


def test_carriers_are_known_as_long_as_they_live(container: Container) -> None:
    assert container.ask("start") == "ok"
    assert container.ask("carriers") == "ok"
    words = [sys.executable, "-c", CARRIER, str(container.directory), "4711"]
    with subprocess.Popen(words, stdin=subprocess.PIPE, env={"PYTHONPATH": str(CHECKOUT)}) as process:
        loop.turn([container.requests])
        assert container.machine.done == ["start", 4]
        assert container.ask("carriers") == f"ok {process.pid}:4711"
    assert container.ask("carriers") == "ok"


@pytest.mark.parametrize("line", ["", "stop", "signal", "signal x"])
def test_other_words(container: Container, line: str) -> None:
    assert container.ask(line).startswith("no such request")


def test_a_start_that_waits_is_answered_when_the_process_runs(container: Container) -> None:
    client = container.client("start wait")
    assert container.record.status == "running"
    assert container.ask("signal 15") == "ok", "others are served meanwhile"
    assert client.is_alive()
    container.session.process_started()
    assert container.ask("signal 15") == "ok"
    assert client.answered() == "ok"


def test_a_start_does_not_wait_for_a_process_that_runs_already(container: Container) -> None:
    container.session.process_started()
    assert container.ask("start wait") == "ok"


def test_a_start_that_waits_is_given_up(container: Container, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(requests, "START_LIMIT_S", 0.05)
    client = container.client("start wait")
    loop.turn([container.requests])
    assert client.answered() == "ok"
    assert "the process does not yet" in (container.directory / "log").read_text()


def test_a_start_that_waits_is_answered_at_the_end(container: Container) -> None:
    client = container.client("start wait")
    container.requests.close()
    assert client.answered() == "ok"
