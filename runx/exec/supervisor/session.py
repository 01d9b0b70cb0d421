"""A session: a process of the container with its streams, its terminal, the signals that wait for it, and its exit status.

Session 0 is the container's own process, whose end is the container's. Others are started later (sessions.py).
"""

import os
import select

from runx.exec.console import frames as link
from runx.exec.console import streams
from runx.exec.supervisor.pending_signals import PendingSignals
from runx.linux.signals import signal

TYPE_CHECKING = False  # as typing's, which costs the supervisor memory
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    class Carrier(Protocol):
        """Carries a session's input to the guest."""

        @property
        def takes_input(self) -> bool:
            """Whether input may be read now: there is room for it, and the guest listens."""

        def take_input(self, source: streams.Input) -> None:
            """Read what the input has, and carry it."""


STATUS_BROKEN = 255
"""Exit status of a container that could not go on: the guest broke a rule, or runx failed."""
STATUS_KILLED = 128 + signal.SIGKILL
"""Exit status of a container whose domain was destroyed."""
STATUS_INCOMPLETE = 125
"""Exit status of a container to which something is missing: its set-up failed, a device of its machine did not come, its root
filesystem could not be made, or lacks what it wrote. In that last case it stands in place of 0, with which an engine would commit
the root filesystem. PID 1 has the same number (STATUS_SETUP_FAILED of guest-assets/init/common/common.h)."""
STALLED_S = 5.0
"""How long a message waits for a reader of standard error that has stalled. The log has the message in any case."""


class Session:
    """One process of the container, as the host knows it."""

    def __init__(
        self,
        number: int,
        log: "Callable[[str, str], None]",
        fds: tuple[int, int, int] = (0, 1, 2),
        patience_s: float = STALLED_S,
    ) -> None:
        """log: takes the level and text of a message for the container's log. fds: standard input, output and error.
        patience_s: how long `say` waits for a reader that has stalled."""
        self.number = number
        self._log = log
        self._fds = fds
        self._patience_s = patience_s
        self.signals = PendingSignals()
        self.started = False
        """The process runs, or has run."""
        self.status: int | None = None
        """Exit status of the process once it is known. Its output may still have to be written."""
        self.ending: int | None = None
        """The status that the process ended with, as the guest said it before it wrote its file systems; of another session than
        0, while other processes still use its output."""
        self.size_changed = False
        """The guest is to be told the size of the terminal."""
        self.told_size: tuple[int, int] | None = None
        """That size, if another process has the terminal."""
        self._take_streams()

    def _take_streams(self) -> None:
        stdin, stdout, stderr = self._fds
        number = self.number
        self.outputs = {link.STDOUT: streams.Output(1, stdout, number), link.STDERR: streams.Output(2, stderr, number)}
        self.input = streams.Input(stdin, number)

    def open_terminal(self, console_socket: str, rows: int, columns: int) -> None:
        """Make a terminal, give its master to the engine, and use it as our standard streams. Raises RunxError."""
        from runx.exec.console import terminal  # few containers have one

        # poll reports that the engine has closed the master. It becomes a hang-up of the guest's terminal, not a signal.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        terminal.open_terminal(console_socket, rows, columns, self._fds)
        self._take_streams()

    def terminal_size(self) -> tuple[int, int]:
        """Rows and columns of the terminal, as the engine has set them."""
        if self.told_size:
            return self.told_size
        from runx.exec.console import terminal

        return terminal.size(self._fds[0])

    @property
    def status_if_destroyed(self) -> int:
        """The container's exit status if the guest says no more: that of its process, if it is known."""
        return next((status for status in (self.status, self.ending) if status is not None), STATUS_KILLED)

    @property
    def drained(self) -> bool:
        """Whether all output of the process has been written."""
        return all(out.drained for out in self.outputs.values())

    def write_ready(self) -> None:
        """Write the output that can be written without blocking."""
        for out in self.outputs.values():
            out.write_ready()

    def close(self) -> None:
        """Close the descriptors, which belong to the session. Not of session 0: its are this process's standard streams."""
        for out in self.outputs.values():
            out.hang_up()
        self.input.close()
        for fd in self._fds:
            os.close(fd)

    def process_started(self) -> None:
        """The process has been executed."""
        self.started = True
        self.signals.process_started()

    def say(self, message: str) -> None:
        """Tell the user, in the container's log and on its standard error."""
        message = message.rstrip()
        self._log("error", message)
        fd = self._fds[2]
        if self.outputs[link.STDERR].open and self._has_room(fd):
            try:
                os.write(fd, f"runx: {message}\n".encode("utf-8", "replace")[: select.PIPE_BUF])
            except OSError:
                pass

    def _has_room(self, fd: int) -> bool:
        """Whether PIPE_BUF bytes will not block. A reader that has stalled must not keep the container from ending."""
        poller = select.poll()
        poller.register(fd, select.POLLOUT)
        return bool(poller.poll(self._patience_s * 1000))


class Streams:
    """The part of the loop that moves bytes between a session's descriptors and the carrier of its guest."""

    def __init__(self, session: Session, carrier: "Carrier") -> None:
        self._session = session
        self._carrier = carrier

    def watch(self, poller: select.poll) -> None:
        session = self._session
        for out in session.outputs.values():
            out.watch(poller)
        if session.input.wants_read and self._carrier.takes_input:
            poller.register(session.input.fd, select.POLLIN)

    def handle(self, ready: dict[int, int]) -> None:
        session = self._session
        for out in session.outputs.values():
            out.heed(ready.get(out.fd, 0))
            out.write_ready()
        if session.input.fd in ready:
            self._carrier.take_input(session.input)
