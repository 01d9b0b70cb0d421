"""The small process on the host that stands for a further process of a container. Engines have its pid and its exit status.

It gives its standard streams to the container's supervisor (supervisor/sessions.py), which carries them. What is left to it are
the signals that come, the size of its terminal, and the end: its own status is that of the process. When it is killed, its
connection ends, and the supervisor has the process killed.
"""

import os
import select

from runx.errors import RunxError
from runx.exec.container import title
from runx.exec.supervisor import control
from runx.linux import descriptors, proc
from runx.linux.files import write_all
from runx.linux.signals import signal

TYPE_CHECKING = False  # as typing's, which takes longer to import than a fast command has
if TYPE_CHECKING:
    from collections.abc import Callable

STATUS_LOST = 255
"""Exit status if the supervisor went without a word."""
_KEPT = (
    signal.SIGKILL,
    signal.SIGSTOP,
    signal.SIGCHLD,
    signal.SIGSEGV,
    signal.SIGBUS,
    signal.SIGFPE,
    signal.SIGILL,
    signal.SIGTRAP,
)
"""Signals that cannot be passed on, or are about this process itself."""
_ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT)
STATUS_FAILED = 255
"""Exit status of runc's exec, too, when there was no process. A process that could not be executed has 126 or 127."""
_NOT_EXECUTED = (126, 127)
_GONE = RunxError("cannot exec in a stopped container")
"""There is no supervisor any more: the container has ended since its record was read, or its supervisor was killed."""


class Carrier:
    """The connection of one process, and the signals for it."""

    def __init__(self, terminal: int = -1) -> None:
        """Take signals from now on. terminal: a descriptor of the process's terminal on this host, whose size is followed."""
        self._terminal = terminal
        self._signals, write_end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._connection = -1
        self._has_started = False
        self._ended: int | None = None
        self._answers = b""
        self.also: dict[int, Callable[[], None]] = {}
        """Descriptors that are read too while this process waits, and what reads each."""
        signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
        for number in signal.valid_signals() - set(_KEPT):
            signal.signal(number, lambda *_: None)
        if terminal >= 0:
            # The engine has closed the other end, which the supervisor sees too.
            signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def begin(self, directory: str, record: bytes, streams: tuple[int, int, int], *, while_paused: bool) -> None:
        """Ask the supervisor to start the process. Raises RunxError if it is not there."""
        file = os.memfd_create("record", os.MFD_CLOEXEC)
        line = f"exec {'paused' if while_paused else 'running'} {proc.start_time(os.getpid())}"
        try:
            write_all(file, record)
            os.lseek(file, 0, os.SEEK_SET)
            self._connection = control.begin(directory, line, (file, *streams)).detach()
        except OSError:
            raise _GONE from None
        finally:
            os.close(file)
        self._tell_size()

    def await_start(self) -> None:
        """Return when the process runs. Raises RunxError if it cannot be started, whose `status` is what its exit status would
        have been."""
        answer = self._answer()
        if answer == "started":
            self._has_started = True
            return
        word, _, text = answer.partition(" ")
        if word == "failed":
            status, _, why = text.partition(" ")
            # The words around it are runc's, which engines look for.
            error = RunxError(f"exec failed: unable to start container process: {why}")
            error.status = int(status) if int(status) in _NOT_EXECUTED else STATUS_FAILED
            raise error
        raise RunxError(text) if word == "error" else _GONE

    def await_end(self, *, of_output: bool) -> int:
        """The exit status of the process. of_output: wait until other processes do not use its output any more, either; or for a
        signal that ends programs."""
        while True:
            word, _, status = self._answer().partition(" ")
            if word == "ending":
                self._ended = int(status)
                if of_output:
                    continue
                self._tell("leave")
                return self._ended
            return int(status) if word == "exit" else STATUS_LOST if self._ended is None else self._ended

    def _answer(self) -> str:
        """The next line of the supervisor; "" if it has gone. Signals are passed on meanwhile."""
        while b"\n" not in self._answers:
            poller = select.poll()
            for fd in (self._connection, self._signals, *self.also):
                poller.register(fd, select.POLLIN)
            ready = dict(poller.poll())
            for fd in tuple(self.also):
                if fd in ready:
                    self.also[fd]()
            if self._signals in ready:
                self._pass_on(numbers := os.read(self._signals, 64))
                if self._ended is not None and any(number in _ENDING for number in numbers):
                    return ""
            if self._connection in ready:
                data = _read(self._connection)
                if not data:
                    return ""
                self._answers += data
        line, _, self._answers = self._answers.partition(b"\n")
        return line.decode("utf-8", "replace")

    def _pass_on(self, numbers: bytes) -> None:
        """Pass signals on. Raises RunxError for one that ends this process while there is no other: the guest may be slow."""
        for number in numbers:
            if number in _ENDING and not self._has_started:
                error = RunxError(f"ended by signal {number} before the process ran")
                error.status = 128 + number
                raise error
            if number == signal.SIGWINCH and self._terminal >= 0:
                self._tell_size()
            else:
                self._tell(f"signal {number}")

    def _tell_size(self) -> None:
        if self._terminal >= 0:
            from runx.exec.console import terminal

            try:
                rows, columns = terminal.size(self._terminal)
            except OSError:
                return  # standard input is no terminal
            self._tell(f"size {rows} {columns}")

    def _tell(self, line: str) -> None:
        try:
            os.write(self._connection, line.encode() + b"\n")
        except OSError:
            pass  # the supervisor has gone, which the next read says


def _read(fd: int) -> bytes:
    try:
        return os.read(fd, 4096)
    except OSError:
        return b""


def let_go(kept: int = -1) -> None:
    """Close the standard streams of this process, but the descriptor `kept`: they are the supervisor's now."""
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    for fd in (0, 1, 2):
        if fd != kept:
            os.dup2(null, fd)
    os.close(null)


def detached(
    directory: str, record: bytes, args: list[bytes], console_socket: str, size: tuple[int, int] | None, *, while_paused: bool
) -> int:
    """Start the process with a carrier of its own; the carrier's pid. It becomes a child of the caller's subreaper when this
    process ends. Raises RunxError if the process cannot be started.

    args: of the process. console_socket, size: take the process's terminal, and its first rows and columns; None without a
    terminal.
    """
    report, told = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        os._exit(_carry(directory, record, args, console_socket, size, told, while_paused=while_paused))
    os.close(told)
    with open(report, encoding="utf-8", errors="replace") as pipe:
        said = pipe.read()
    if said == "started":
        return pid
    os.waitpid(pid, 0)
    status, _, message = said.partition(" ")
    error = RunxError(*message.split("\0")) if message else RunxError("the process on the host was killed")
    error.status = int(status) if message else 1
    raise error


def end(pid: int) -> None:
    """End a carrier that `detached` has made, and its process with it, of which nobody will know."""
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)


def _carry(
    directory: str,
    record: bytes,
    args: list[bytes],
    console_socket: str,
    size: tuple[int, int] | None,
    told: int,
    *,
    while_paused: bool,
) -> int:
    """The carrier's life; its exit status."""
    try:
        os.setsid()
        descriptors.close_all_but((told,))  # what the engine left open for its runtime is not ours
        own = -1
        if size is not None:
            from runx.exec.console import terminal

            terminal.open_terminal(console_socket, *size, (0, 1, 2))
            own = os.dup(0)
        carrier = Carrier(own)
        carrier.begin(directory, record, (0, 1, 2), while_paused=while_paused)
        let_go()
        title.show(args)  # while the guest is at work
        carrier.await_start()
    except BaseException as error:
        shown = error if isinstance(error, RunxError) else RunxError(f"internal error: {type(error).__name__}: {error}")
        os.write(told, f"{shown.status} {shown.message}\0{shown.hint}".encode("utf-8", "replace"))
        return shown.status
    os.write(told, b"started")
    os.close(told)
    return carrier.await_end(of_output=False)


def attached(
    directory: str, record: bytes, args: list[bytes], on_start: "Callable[[], None]", *, with_terminal: bool, while_paused: bool
) -> int:
    """Run the process with the standard streams of this process, or with a terminal that they show; its exit status. Raises
    RunxError if it cannot be started.

    args: of the process. on_start: called when the process runs.
    """
    if with_terminal:
        return _attached_to_terminal(directory, record, args, on_start, while_paused=while_paused)
    carrier = Carrier()
    carrier.begin(directory, record, (0, 1, 2), while_paused=while_paused)
    title.show(args)
    carrier.await_start()
    on_start()
    let_go(kept=2)
    return carrier.await_end(of_output=True)


def _attached_to_terminal(
    directory: str, record: bytes, args: list[bytes], on_start: "Callable[[], None]", *, while_paused: bool
) -> int:
    from runx.exec.commands import own_terminal
    from runx.exec.console import terminal

    master, slave = terminal.open_raw()
    carrier = Carrier(0)
    carrier.begin(directory, record, (slave, slave, slave), while_paused=while_paused)
    os.close(slave)
    title.show(args)
    carrier.await_start()
    on_start()

    def show() -> None:
        if not (data := _read(master)):
            carrier.also.pop(master, None)  # the supervisor has closed its end
        write_all(1, data)

    def type_() -> None:
        if data := _read(0):
            write_all(master, data)
        else:
            del carrier.also[0]

    with own_terminal.raw():
        carrier.also = {master: show, 0: type_}
        status = carrier.await_end(of_output=True)
        while master in carrier.also:
            show()
    return status
