"""`runx run`: create, start, wait for and delete a container, for people and scripts without an engine."""

import contextlib
import fcntl
import json
import os
import select
import signal
import socket
import sys
import tempfile
import termios
from collections.abc import Iterator
from types import FrameType

from runx.exec.commands import own_terminal
from runx.exec.commands.create import CreateOptions, create
from runx.exec.commands.delete import delete
from runx.exec.commands.start import start
from runx.linux.files import write_all

_FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)


def run(root: str, container_id: str, options: CreateOptions, *, detach: bool = False, keep: bool = False) -> int:
    """Run a container; its exit status.

    detach: do not wait, and return 0. keep: do not delete the container at its end. Signals to this process go to the
    container's process. Without a console socket, a container with a terminal uses the terminal of this process. Raises
    RunxError as `create` and `start` do; nothing is left behind then.
    """
    with contextlib.ExitStack() as stack:
        listener = None
        if not detach and not options.console_socket and _wants_terminal(os.path.join(options.bundle, options.config)):
            directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="runx-"))
            listener = stack.enter_context(socket.socket(socket.AF_UNIX))
            options = options._replace(console_socket=f"{directory}/console")
            listener.bind(options.console_socket)
            listener.listen(1)
        pid = create(root, container_id, options)
        try:
            if not detach:
                stack.enter_context(_forward_signals(pid))
            master = _take_master(listener) if listener else -1
            start(root, container_id, options.log)
            if detach:
                keep = True
                return 0
            if master >= 0:
                _relay(master)
            return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        finally:
            if not keep:
                delete(root, container_id, options.log, force=True)


def _wants_terminal(config: str) -> bool:
    """Whether a configuration asks for a terminal. `create` reports whatever is wrong with the configuration."""
    try:
        with open(config, encoding="utf-8") as file:
            return bool(json.load(file)["process"]["terminal"])
    except (OSError, ValueError, LookupError, TypeError):
        return False


@contextlib.contextmanager
def _forward_signals(pid: int) -> Iterator[None]:
    def forward(number: int, _: FrameType | None) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, number)

    before = {number: signal.signal(number, forward) for number in _FORWARDED}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _take_master(listener: socket.socket) -> int:
    connection, _ = listener.accept()
    with connection:
        return socket.recv_fds(connection, 64, 1)[1][0]


def _relay(master: int) -> None:
    """Carry bytes between our terminal, made raw, and the container's, until the container ends."""
    with own_terminal.raw(), _follow_size(master):
        inputs = [master, 0]
        while True:
            ready, _, _ = select.select(inputs, [], [])
            if master in ready:
                try:
                    data = os.read(master, 65536)
                except OSError:  # EIO: the supervisor closed its end
                    break
                sys.stdout.buffer.write(data)
                sys.stdout.buffer.flush()
            if 0 in ready:
                data = os.read(0, 4096)
                if data:
                    write_all(master, data)
                else:
                    inputs = [master]
    os.close(master)


@contextlib.contextmanager
def _follow_size(master: int) -> Iterator[None]:
    def resize(*_: object) -> None:
        with contextlib.suppress(OSError):  # standard input is no terminal
            fcntl.ioctl(master, termios.TIOCSWINSZ, fcntl.ioctl(0, termios.TIOCGWINSZ, bytes(8)))

    before = signal.signal(signal.SIGWINCH, resize)
    resize()
    try:
        yield
    finally:
        signal.signal(signal.SIGWINCH, before)
