"""The part of the loop that takes signals sent to the supervisor: engines know its pid as the container's."""

import os
import select

from runx.errors import RunxError
from runx.linux.signals import signal

TYPE_CHECKING = False  # as typing's, which costs the supervisor memory
if TYPE_CHECKING:
    from collections.abc import Callable

    from runx.exec.supervisor.lifecycle import Lifecycle
    from runx.exec.supervisor.session import Session

_FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)


class HostSignals:
    """Signals of this process. Python writes their numbers into a pipe, which wakes the loop; they do not wait there."""

    def __init__(self, lifecycle: "Lifecycle", session: "Session", terminal: bool, log: "Callable[[str, str], None]") -> None:
        """Catch signals from now on. terminal: whether the container has a terminal. log: takes the level and text of a message
        for the container's log."""
        self._lifecycle = lifecycle
        self._session = session
        self._log = log
        self._has_told = False
        """The log has the first refusal: whoever sends thousands of signals must not fill it."""
        self._fd, write_end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
        for number in _FORWARDED:
            if not (terminal and number == signal.SIGHUP):  # ignored, see Session.open_terminal
                signal.signal(number, lambda *_: None)
        if terminal:
            signal.signal(signal.SIGWINCH, lambda *_: None)
            session.size_changed = True  # the engine may have set the size before this process listened

    def watch(self, poller: select.poll) -> None:
        poller.register(self._fd, select.POLLIN)

    def handle(self, ready: dict[int, int]) -> None:
        if self._fd in ready:
            for number in os.read(self._fd, 64):
                if number == signal.SIGWINCH:
                    self._session.size_changed = True
                else:
                    self._deliver(number)

    def _deliver(self, number: int) -> None:
        """Deliver a signal, or drop one that is refused: its sender gets no answer, and the container goes on. Raises Ended."""
        try:
            self._lifecycle.signal(number)
        except RunxError as error:
            if not self._has_told:
                self._has_told = True
                self._log("warning", f"signal {number} to the supervisor's pid is dropped: {error.message}")
