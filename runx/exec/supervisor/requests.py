"""The part of the loop that serves the commands' requests over the control socket: start, pause, resume, signal, exec, join,
carriers."""

import select
import time

from runx.errors import RunxError
from runx.exec.supervisor import control
from runx.exec.supervisor.loop import Ended

TYPE_CHECKING = False  # as typing's, which costs the supervisor memory
if TYPE_CHECKING:
    from runx.exec.container.record import Record
    from runx.exec.supervisor.lifecycle import Lifecycle
    from runx.exec.supervisor.session import Session

START_LIMIT_S = 60.0
"""How long a `start` with poststart hooks waits for the process at most."""
_SILENT_CLIENT_S = 5.0
"""How long to wait for the request of a client that has connected."""


class Requests:
    """The supervisor's end of the control socket."""

    def __init__(self, record: "Record", lifecycle: "Lifecycle", session: "Session") -> None:
        """Listen from now on."""
        self._record = record
        self._lifecycle = lifecycle
        self._session = session
        self._listener = control.listen(record.directory)
        self._fd = self._listener.fileno()
        self._starter = -1
        """The connection of a `start` that waits for the process to run."""
        self._give_up_at = 0.0
        """When to answer that `start`, whether the process runs or not."""

    def watch(self, poller: select.poll) -> float | None:
        poller.register(self._fd, select.POLLIN)
        return self._give_up_at if self._starter >= 0 else None

    def handle(self, ready: dict[int, int]) -> None:
        if self._fd in ready:
            self._serve(control.accept(self._listener))
        if self._starter >= 0:
            self._answer_starter()

    def _serve(self, connection: int) -> None:
        poller = select.poll()
        poller.register(connection, select.POLLIN)
        line, fds = control.receive_all(connection) if poller.poll(_SILENT_CLIENT_S * 1000) else ("", [])
        word, _, argument = line.partition(" ")
        try:
            if word == "exec":
                state, _, since = argument.partition(" ")
                self._lifecycle.execute(connection, fds, while_paused=state == "paused", since=since)
                return
            if word == "join":
                self._lifecycle.join(connection, argument)
                return
            if word == "carriers":
                control.answer(connection, words=" ".join(f"{pid}:{since}" for pid, since in self._lifecycle.carriers()))
                return
            if word == "start":
                self._lifecycle.start()
                if argument == "wait" and not self._session.started:
                    self._starter = connection
                    self._give_up_at = time.monotonic() + START_LIMIT_S
                    return
            elif word == "pause":
                self._lifecycle.pause()
            elif word == "resume":
                self._lifecycle.resume()
            elif word == "signal" and argument.isdigit():
                self._lifecycle.signal(int(argument))
            else:
                raise RunxError(f"no such request: {word}")
        except RunxError as error:
            control.answer(connection, error.with_hint)
        except Ended:
            control.answer(connection)
            raise
        else:
            control.answer(connection)

    def _answer_starter(self) -> None:
        """Answer the `start` that waits once the process runs, or after the time limit."""
        if not self._session.started:
            if time.monotonic() < self._give_up_at:
                return
            message = f"poststart hooks run, but the process does not yet, {START_LIMIT_S:.0f} s after the start"
            self._record.say("warning", message)
        self.close()

    def close(self) -> None:
        """Answer a `start` that waits: the process runs, or never will."""
        if self._starter >= 0:
            control.answer(self._starter)
            self._starter = -1
