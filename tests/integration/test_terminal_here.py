"""Terminals at the machine's own speed: all that tests/shared has, and `runx exec --tty` as people call it."""

import fcntl
import os
import pty
import struct
import termios
import time
from collections.abc import Callable, Iterator

import pytest

from exec_setting import may_exec  # noqa: F401  # a fixture
from runxtools.testing.bundles import LIMIT_S, Bundle
from terminal_tests import *  # noqa: F403

INTERRUPT = b"\x03"


class Typist:
    """`runx exec --tty` of a shell script at a terminal of 33 rows and 101 columns."""

    def __init__(self, bundle: Bundle, script: str) -> None:
        self.master, self.slave = pty.openpty()
        self.resize(33, 101)
        self.mode = termios.tcgetattr(self.slave)
        # setsid makes it the terminal of a session, which hears of a new size by a signal.
        argv = ["setsid", "--ctty", "--wait", *bundle.argv("exec", "--tty", "c", "/bin/sh", "-c", script)]
        streams = {"stdin": self.slave, "stdout": self.slave, "stderr": self.slave}
        self.process = bundle.host.popen(argv, start_new_session=True, **streams)
        self.said = b""

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def until_said(self, text: bytes) -> None:
        limit = time.monotonic() + LIMIT_S
        while text not in self.said:
            assert time.monotonic() < limit, self.said
            self.said += os.read(self.master, 4096)

    def end(self) -> int:
        """The status; the terminal is as it was before."""
        status = self.process.wait(LIMIT_S)
        assert termios.tcgetattr(self.slave) == self.mode
        return status

    def close(self) -> None:
        self.process.kill()
        self.process.wait(LIMIT_S)
        os.close(self.master)
        os.close(self.slave)


@pytest.fixture
def running(bundle: Bundle, may_exec: None) -> Iterator[Bundle]:  # noqa: F811
    process = bundle.popen("echo ready; exec sleep 1000")
    yield bundle
    bundle.runx("delete", "--force", "c")
    process.communicate(timeout=LIMIT_S)


def test_a_process_has_the_size_of_the_terminal_from_its_start(running: Bundle) -> None:
    typist = Typist(running, "stty size; tty; exit 5")
    typist.until_said(b"33 101\r\n/dev/pts/")
    assert typist.end() == 5
    typist.close()


@pytest.mark.parametrize(
    ("script", "act", "said"),
    [
        ("trap 'echo got; exit 9' INT; echo up", lambda typist: os.write(typist.master, INTERRUPT), b"got\r\n"),
        ("trap 'stty size; exit 9' WINCH; echo up", lambda typist: typist.resize(44, 55), b"44 55\r\n"),
    ],
    ids=["interrupt", "resize"],
)
def test_what_people_do_at_a_terminal(running: Bundle, script: str, act: Callable[[Typist], object], said: bytes) -> None:
    typist = Typist(running, f"{script}; while :; do sleep 0.1; done")
    typist.until_said(b"up\r\n")
    act(typist)
    typist.until_said(said)
    assert typist.end() == 9
    typist.close()
