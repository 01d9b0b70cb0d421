"""A process with a terminal: made by PID 1 in the container's devpts, carried by the same frames (docs/guest.md)."""

import os
import signal
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import guestbox as gb
from guestbox import GuestBox, records

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces and mounts need root")

Start = Callable[..., GuestBox]
SETUP = """
mount proc proc /proc -
mount tmpfs tmpfs /dev mode=755
mount devpts devpts /dev/pts newinstance,ptmxmode=0666,mode=0620,gid=5
symlink pts/ptmx /dev/ptmx
node c 5 0 666 0 0 /dev/tty
node c 1 3 666 0 0 /dev/null
"""


@pytest.fixture
def start(root: Path) -> Iterator[Start]:
    """Starts /init for a shell script on a terminal of 24 rows and 80 columns."""
    boxes: list[GuestBox] = []

    def begin(script: str, **values: object) -> GuestBox:
        process = {
            "args": ["/bin/sh", "-c", script], "env": ["PATH=/bin"], "cwd": "/", "terminal": [24, 80], "pid_namespace": 1,
        }  # fmt: skip
        boxes.append(GuestBox(root, setup=SETUP, process=records(**(process | values))))
        return boxes[-1]

    yield begin
    for box in boxes:
        box.__exit__()


def winsize(rows: int, columns: int) -> bytes:
    return struct.pack("<HH", rows, columns)


def test_the_streams_are_one_terminal_of_the_containers_own(start: Start) -> None:
    box = start("readlink /proc/self/fd/0; echo error >&2; test -t 0 && test -t 2 && ls -l /dev/console | cut -c1; exit 3")
    assert box.exit_status() == 3
    assert box.streams[gb.STDOUT] == b"/dev/pts/0\r\nerror\r\nc\r\n"
    assert gb.STDERR not in box.seen


def test_what_is_typed_is_echoed_and_edited_in_the_guest(start: Start) -> None:
    box = start("echo ready; read line; echo got $line")
    box.until_output(b"ready")
    box.send(gb.HOST_STDIN, b"wrogn\x7f\x7fng\r")
    assert box.exit_status() == 0
    assert box.streams[gb.STDOUT].endswith(b"got wrong\r\n")


def test_input_before_the_start_waits_for_it(start: Start) -> None:
    box = start("read line; echo got $line")
    box.until(gb.HELLO)
    box.send(gb.HOST_STDIN, b"early\n")
    box.send(gb.HOST_WINSIZE, winsize(50, 132))
    assert box.exit_status() == 0
    assert b"got early\r\n" in box.streams[gb.STDOUT]


def test_control_c_interrupts(start: Start) -> None:
    box = start("trap 'echo interrupted; exit 9' INT; echo ready; while :; do sleep 0.1; done")
    box.until_output(b"ready")
    box.send(gb.HOST_STDIN, b"\x03")
    assert box.exit_status() == 9
    assert b"interrupted" in box.streams[gb.STDOUT]


def test_resizing_reaches_the_process(start: Start) -> None:
    box = start("trap '/bin/probe; exit' WINCH; echo ready; while :; do sleep 0.1; done")
    box.until_output(b"ready")
    box.send(gb.HOST_WINSIZE, winsize(33, 101))
    assert box.exit_status() == 0
    assert b"terminal\x0033 101\0" in box.streams[gb.STDOUT]


def test_the_size_it_starts_with(start: Start) -> None:
    box = start("", args=["/bin/probe"])
    assert box.exit_status() == 0
    assert b"terminal\x0024 80\0" in box.streams[gb.STDOUT]


def test_the_end_of_input_hangs_up(start: Start) -> None:
    box = start("trap 'exit 5' HUP; echo ready; while :; do sleep 0.1; done")
    box.until_output(b"ready")
    box.send(gb.HOST_STDIN_EOF)
    assert box.exit_status() == 5


def test_the_last_output_is_not_lost(start: Start) -> None:
    box = start("i=0; while [ $i -lt 3000 ]; do echo line $i; i=$((i+1)); done")
    assert box.exit_status() == 0
    assert box.streams[gb.STDOUT] == b"".join(b"line %d\r\n" % n for n in range(3000))


def test_a_process_that_closes_its_terminal_can_open_it_again(start: Start) -> None:
    box = start("exec 0<&- 1>&- 2>&-; sleep 0.2; echo again > /dev/console; exit 4")
    assert box.exit_status() == 4
    assert box.streams[gb.STDOUT] == b"again\r\n"


def test_the_terminal_belongs_to_the_user(start: Start) -> None:
    box = start("set -- $(ls -ln /dev/pts/0); echo $1 $3 $4; echo x > /dev/tty", user=[1000, 1000])
    assert box.exit_status() == 0
    assert box.streams[gb.STDOUT] == b"crw--w---- 1000 5\r\nx\r\n"


def test_a_root_without_devpts_is_a_clear_failure(root: Path) -> None:
    process = records(args=["/bin/true"], env=[], cwd="/", terminal=[24, 80])
    with GuestBox(root, setup=gb.DEFAULT_SETUP, process=process) as box:
        status, reason = box.fatal()
    assert status == 125
    assert "/dev/ptmx: no such file or directory" in reason


def test_sigterm_works_as_without(start: Start) -> None:
    box = start("trap 'exit 143' TERM; echo ready; while :; do sleep 0.1; done")
    box.until_output(b"ready")
    box.send(gb.HOST_SIGNAL, bytes([signal.SIGTERM]))
    assert box.exit_status() == 128 + signal.SIGTERM
