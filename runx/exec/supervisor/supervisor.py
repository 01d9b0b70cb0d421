"""The life of a container on the host, whatever it is made of: its streams, requests, signals, its end.

One process a container does this. The kinds of it are virtual machines (vm.py), of which guest_link.py's guests speak the
console link and passthrough.py's are the containers' own and only listened to; and sandbox.py, a pod's, which has no machine.
"""

import os
import select
import signal
from collections.abc import Callable

from runx.errors import RunxError
from runx.exec.console import frames as link
from runx.exec.console import streams
from runx.exec.container.record import Record
from runx.exec.supervisor import control
from runx.linux import netns
from runx.linux.proc import start_time

_FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
IGNORED_BY_DEFAULT = (signal.SIGCHLD, signal.SIGCONT, signal.SIGURG, signal.SIGWINCH)
STATUS_BROKEN = 255
_STALLED_S = 5
"""How long a message of ours waits for a reader of standard error; the log has it in any case."""
STATUS_KILLED = 128 + signal.SIGKILL


class Ended(Exception):
    """The container ended with this status; not an error."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class Supervision:
    """The life of one container, from a compiled plan in its directory to its exit status.

    Kinds of it say what they supervise: `_make`, `_remove`, `_step`, `_start`, `_pause`, `_resume`, `_deliver`, `_resize`,
    `_close`.
    """

    def __init__(self, record: Record, host_network: int) -> None:
        self.record = record
        self.host_network = host_network
        """A descriptor of the host's network namespace. Ours is the container's."""
        self._take_streams()
        self.status: int | None = None
        """The container's exit status once it is known; the streams may still have to be drained."""
        self.starter = -1
        """The connection of a `start` that waits for the process to run."""

    def _take_streams(self) -> None:
        self.outputs = {link.STDOUT: streams.Output(1, 1), link.STDERR: streams.Output(2, 2)}
        self.input = streams.Input(0)

    # -- what kinds differ in ------------------------------------------------------------------------------------------

    def _make(self) -> None:
        """Make what is supervised, up to what `_start` does. We are in the container's network namespace. Raises RunxError."""
        raise NotImplementedError

    def _remove(self) -> None:
        """Leave nothing of it, however far `_make` has come. Raises RunxError."""
        raise NotImplementedError

    def _step(self, signals: int) -> None:
        """Wait for something to happen and deal with it. Raises Ended. signals: the descriptor that tells of signals."""
        raise NotImplementedError

    def _start(self) -> None:
        """Let a created container run. Raises RunxError."""
        raise NotImplementedError

    def _process_is_to_come(self) -> bool:
        """Whether the process starts later than `_start`, and `_process_runs` will be called then."""
        return False

    def _pause(self) -> None:
        """Stop a running one. Raises RunxError."""
        raise NotImplementedError

    def _resume(self) -> None:
        """Continue a paused one. Raises RunxError."""
        raise NotImplementedError

    def _deliver(self, number: int) -> None:
        """Deliver a signal to a container that has been started. Raises RunxError when it is not taken, or Ended."""
        raise NotImplementedError

    def _resize(self) -> None:
        """The size of the terminal has changed."""
        raise NotImplementedError

    def _close(self) -> None:
        """Let go of what carries the streams."""
        raise NotImplementedError

    # -- before the container exists -----------------------------------------------------------------------------------

    def create(self, run_hooks: Callable[[], None] | None) -> None:
        """Make the container, up to the state "created". Raises RunxError; nothing is left of it then.

        run_hooks: is called when all that a hook may look at is there, and the status still "creating".
        """
        record = self.record
        try:
            if record.network_namespace:
                netns.join(record.network_namespace, self.host_network)
            self._make()
            self.listener = control.listen(record.directory)
            if record.terminal:
                self._open_terminal()
            record.pid = os.getpid()
            record.pid_start = start_time(record.pid)
            if run_hooks:
                record.save()
                run_hooks()
            record.status = "created"
            record.save()
        except BaseException:
            self._remove()
            raise

    def await_word(self, word: int) -> None:
        """Wait until something can be read from the descriptor `word`. Raises RunxError when that ends before."""
        if not os.read(word, 1):
            raise RunxError("a hook failed, or `create` was ended")

    def _open_terminal(self) -> None:
        from runx.exec.console import terminal

        # That the engine closes the master is seen by poll, and becomes a hang-up of the guest's terminal.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        rows, columns = self.record.terminal or (0, 0)
        terminal.open_terminal(self.record.console_socket, rows, columns)
        self.terminal_size = terminal.size
        self._take_streams()

    # -- the loop ------------------------------------------------------------------------------------------------------

    def supervise(self) -> int:
        """Serve until the container has ended; its exit status. What was supervised is gone when this returns."""
        signals = self._catch_signals()
        status = STATUS_BROKEN
        try:
            while True:
                self._step(signals)
        except Ended as end:
            status = end.status
        except RunxError as error:
            self._say(f"the container is ended: {error.message}")
        except Exception as error:  # a fault of ours must leave nothing behind, nor look like the container's own status
            self._say(f"internal error, the container is ended: {type(error).__name__}: {error}")
        finally:
            self._finish(status)
        return status

    def _attend(self, ready: dict[int, int], signals: int) -> None:
        """Deal with requests and signals."""
        if self.listener.fileno() in ready:
            self._serve(control.accept(self.listener))
        if signals in ready:
            for number in os.read(signals, 64):
                if number == signal.SIGWINCH:
                    self._resize()
                else:
                    self._signal(number)

    # -- requests and events -------------------------------------------------------------------------------------------

    def _serve(self, connection: int) -> None:
        poller = select.poll()
        poller.register(connection, select.POLLIN)
        word, _, argument = (control.receive(connection) if poller.poll(5000) else "").partition(" ")
        try:
            if word == "start":
                self._move("created", "running", self._start)
                if argument == "wait" and self._process_is_to_come():
                    self.starter = connection
                    return
            elif word == "pause":
                self._move("running", "paused", self._pause)
            elif word == "resume":
                self._move("paused", "running", self._resume)
            elif word == "signal" and argument.isdigit():
                self._signal(int(argument))
            else:
                raise RunxError(f"no such request: {word}")
        except RunxError as error:
            control.answer(connection, error.message + (f" ({error.hint})" if error.hint else ""))
        except Ended:
            control.answer(connection)
            raise
        else:
            control.answer(connection)

    def _move(self, before: str, after: str, act: Callable[[], None]) -> None:
        """Move from one status to another by an act; the record says so once that has succeeded."""
        if self.record.status != before:
            raise RunxError(f"cannot {'start' if before == 'created' else 'move'} a container in the {self.record.status} state")
        act()
        self.record.status = after
        self.record.save()

    def _signal(self, number: int) -> None:
        """Deliver a signal. A container that was never started has no process: what would end one ends it, as it would end
        runc's waiting init."""
        if self.record.status != "created":
            self._deliver(number)
        elif number not in IGNORED_BY_DEFAULT:
            raise Ended(128 + number)

    def _process_runs(self) -> None:
        """The process has been executed, or never will be: answer the `start` that waits for it."""
        if self.starter >= 0:
            control.answer(self.starter)
            self.starter = -1

    # -- the end -------------------------------------------------------------------------------------------------------

    def _finish(self, status: int) -> None:
        record = self.record
        try:
            self._close()
            self._remove()
        except RunxError as error:
            self._say(f"cleaning up: {error.message}")
        record.status = "stopped"
        record.exit_status = status
        try:
            record.save()
        except OSError:
            pass  # `delete --force` was quicker
        self._process_runs()

    def _say(self, message: str) -> None:
        """Tell the user, on the container's standard error and in the log."""
        text = f"runx: {message.rstrip()}\n"
        self.record.say("error", message.rstrip())
        if self.outputs[link.STDERR].open and self._stderr_has_room():
            try:
                os.write(2, text.encode("utf-8", "replace")[: select.PIPE_BUF])
            except OSError:
                pass

    def _stderr_has_room(self) -> bool:
        """Whether PIPE_BUF bytes will not block. A reader that has stalled must not keep the container from ending."""
        poller = select.poll()
        poller.register(2, select.POLLOUT)
        return bool(poller.poll(_STALLED_S * 1000))

    def _catch_signals(self) -> int:
        read_end, write_end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
        terminal = bool(self.record.terminal)
        for number in _FORWARDED:
            if not (terminal and number == signal.SIGHUP):
                signal.signal(number, lambda *_: None)
        if terminal:
            signal.signal(signal.SIGWINCH, lambda *_: None)
            self._resize()  # what the engine set before we listened
        return read_end
