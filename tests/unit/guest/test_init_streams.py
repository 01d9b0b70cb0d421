"""PID 1 of the guest, run here in namespaces (docs/guest.md, docs/console-link.md): streams and signals."""

import os
import random
import signal
import subprocess
import time
from pathlib import Path

import pytest

import guestbox as gb
from guestbox import GuestBox
from initbox import DEV_SETUP, Start, let_go, shell, wait_for_go
from runx.exec.console import frames as link

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces and mounts need root")


# Standard input.


def feed(box: GuestBox, data: bytes) -> None:
    """Sends DATA within the window, then the end."""
    box.until(gb.STARTED)
    sent = 0
    while sent < len(data):
        window = 32 * 1024 - (sent - box.credit)
        assert window >= 0
        piece = data[sent : sent + min(4096, window)]
        if piece:
            box.send(gb.HOST_STDIN, piece)
            sent += len(piece)
        else:
            assert box.frame()
    box.send(gb.HOST_STDIN_EOF)


def test_random_bytes_go_round(start: Start) -> None:
    data = random.Random(1).randbytes(200_000)
    box = start("/bin/cat")
    feed(box, data)
    assert box.exit_status() == 0
    assert box.streams[gb.STDOUT] == data
    assert box.credit == len(data)


def test_input_sent_before_the_start_is_kept(start: Start, root: Path) -> None:
    box = start("/bin/cat", **wait_for_go(root))
    box.until(gb.LOG)
    box.send(gb.HOST_STDIN, b"early")
    box.send(gb.HOST_STDIN_EOF)
    let_go(root)
    assert box.exit_status() == 0
    assert box.streams[gb.STDOUT] == b"early"


def test_end_of_input(start: Start) -> None:
    box = start("/bin/wc", "-c")
    box.until(gb.STARTED)
    box.send(gb.HOST_STDIN_EOF)
    assert box.exit_status() == 0
    assert box.streams[gb.STDOUT].strip() == b"0"


def test_the_process_closes_its_input(start: Start) -> None:
    box = start(*shell("exec <&-; echo closed; exec sleep 1000"))
    box.until(gb.STDIN_CLOSED)
    box.send(gb.HOST_STDIN, b"too late")
    box.send(gb.HOST_SIGNAL, bytes([signal.SIGTERM]))
    assert box.exit_status() == 128 + signal.SIGTERM


@pytest.mark.parametrize("stream", ["/dev/stdin", "/dev/stdout", "/dev/stderr"])
def test_a_user_opens_the_standard_streams(start: Start, root: Path, stream: str) -> None:
    """Programs such as nginx log to /dev/stdout, which opens the pipe anew."""
    (root / "newroot/dev").mkdir(exist_ok=True)
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        (root / "newroot/dev" / name).symlink_to(f"/proc/self/fd/{number}")
    script = f"read line <{stream}; echo $line" if stream == "/dev/stdin" else f"echo line >{stream}"
    box = start(*shell(script), user=[1000, 1001])
    box.send(gb.HOST_STDIN, b"line\n")
    assert box.exit_status() == 0, box.streams
    assert box.streams[gb.STDERR if stream == "/dev/stderr" else gb.STDOUT] == b"line\n"


def test_streams_that_are_the_null_device(start: Start, root: Path) -> None:
    """As under runc, they are the null device of the container, and not pipes that have ended."""
    (root / "runx/null").write_text("02")
    script = "for n in 0 1 2; do readlink /proc/self/fd/$n; test -c /proc/self/fd/$n && echo device; done; echo lost >&2; read x"
    box = start(*shell(script), setup=DEV_SETUP, user=[1000, 1000])
    assert box.exit_status() == 1
    lines = box.streams[gb.STDOUT].decode().splitlines()
    assert lines[:2] == lines[3:] == ["/dev/null", "device"]
    assert lines[2].startswith("pipe:")
    assert not box.streams[gb.STDERR]


def test_a_null_device_of_an_image_that_is_none(start: Start, root: Path) -> None:
    (root / "runx/null").write_text("0")
    (root / "newroot/dev").mkdir(exist_ok=True)
    (root / "newroot/dev/null").write_text("text\n")
    box = start(*shell("read x; echo $? $x"))
    assert box.exit_status() == 0
    assert box.streams[gb.STDOUT].strip() == b"1"


def test_a_process_that_reads_nothing_gets_no_more_than_its_window(start: Start) -> None:
    box = start(*shell("echo up; exec sleep 1000"))
    box.until_output(b"up")
    pipe = 64 * 1024  # what the kernel's pipe takes
    for _ in range((pipe + 32 * 1024) // 4096):
        box.send(gb.HOST_STDIN, bytes(4096))
        if box.credit < pipe:
            box.until(gb.CREDIT)
    assert box.credit == pipe
    box.send(gb.HOST_SIGNAL, bytes([signal.SIGKILL]))
    assert box.exit_status() == 137


# Output and its window.


def test_a_stalled_reader_stalls_the_process(start: Start) -> None:
    window = 128 * 1024
    script = "echo running >&2; dd if=/dev/zero bs=4096 count=256 2>/dev/null; echo done >&2"
    box = start(*shell(script), setup=DEV_SETUP)
    box.auto_credit = False
    while len(box.streams[gb.STDOUT]) < window:
        assert box.frame()
    # Nothing more of it comes. An answer to a frame proves that /init has gone on living.
    box.send(0x7F)
    box.until(gb.LOG)
    assert len(box.streams[gb.STDOUT]) == window
    box.auto_credit = True
    box.give_credit(gb.STDOUT, window)
    assert box.exit_status() == 0
    assert box.streams[gb.STDOUT] == bytes(1024 * 1024)
    assert box.streams[gb.STDERR] == b"running\ndone\n"


def test_the_streams_have_windows_of_their_own(start: Start) -> None:
    script = "dd if=/dev/zero bs=4096 count=100 2>/dev/null; dd if=/dev/zero bs=4096 count=64 >&2 2>/dev/null"
    box = start(*shell(script), setup=DEV_SETUP)
    box.auto_credit = False
    while len(box.streams[gb.STDOUT]) < 128 * 1024:
        assert box.frame()
    box.give_credit(gb.STDOUT, 128 * 1024)
    while len(box.streams[gb.STDOUT]) < 256 * 1024:
        assert box.frame()
    box.give_credit(gb.STDOUT, 1024 * 1024)  # more than it had taken counts as all of it
    while len(box.streams[gb.STDOUT]) < 384 * 1024:
        assert box.frame()
    box.give_credit(gb.STDOUT, 128 * 1024)
    # The two are read from two pipes: which of them is ahead at the end is not said.
    while len(box.streams[gb.STDERR]) < 128 * 1024 or len(box.streams[gb.STDOUT]) < 400 * 1024:
        assert box.frame()
    assert len(box.streams[gb.STDOUT]) == 400 * 1024
    box.auto_credit = True
    box.give_credit(gb.STDERR, 128 * 1024)
    assert box.exit_status() == 0
    assert len(box.streams[gb.STDERR]) == 256 * 1024


def test_output_left_at_the_end_waits_for_credit(start: Start) -> None:
    # 128 KiB of window and 64 KiB of pipe: the process can end with the last 64 KiB unread.
    total = 192 * 1024
    box = start(*shell("dd if=/dev/zero bs=4096 count=48 2>/dev/null"), setup=DEV_SETUP)
    box.auto_credit = False
    # The end of the other stream says that the process has gone.
    while len(box.streams[gb.STDOUT]) < 128 * 1024 or gb.STDERR not in box.seen:
        assert box.frame()
    assert gb.EXIT not in box.seen
    box.auto_credit = True
    box.give_credit(gb.STDOUT, 128 * 1024)
    assert box.exit_status() == 0
    assert box.streams[gb.STDOUT] == bytes(total)


def test_a_closed_reader_is_a_broken_pipe(start: Start) -> None:
    box = start(*shell("trap 'echo pipe >&2' PIPE; echo first; read x; echo second; echo $? >&2"))
    box.until_output(b"first\n")
    box.send(gb.HOST_CLOSED, b"\x01")
    box.send(gb.HOST_STDIN, b"go\n")
    assert box.exit_status() == 0
    assert b"second" not in box.streams[gb.STDOUT]
    assert box.streams[gb.STDERR].endswith(b"1\n")


def test_a_closed_reader_ends_a_process_that_only_writes(start: Start) -> None:
    box = start("/bin/cat", "/dev/zero", setup=DEV_SETUP)
    box.until(gb.STDOUT)
    box.send(gb.HOST_CLOSED, b"\x01")
    assert box.exit_status() == 128 + signal.SIGPIPE


def test_a_stream_the_process_closes_early(start: Start) -> None:
    box = start(*shell("exec >&-; read x; exit 5"))
    assert box.until(gb.STDOUT) == b""
    assert gb.EXIT not in box.seen
    box.send(gb.HOST_STDIN_EOF)
    assert box.exit_status() == 5


# KILL.


@pytest.mark.parametrize("pid_namespace", [0, 1])
def test_kill_does_not_wait_for_a_reader_that_has_stalled(start: Start, pid_namespace: int) -> None:
    box = start("/bin/cat", "/dev/zero", setup=DEV_SETUP, pid_namespace=pid_namespace)
    box.auto_credit = False
    while len(box.streams[gb.STDOUT]) < link.OUTPUT_WINDOW:
        assert box.frame()
    box.send(gb.HOST_SIGNAL, bytes([signal.SIGKILL]))
    box.send(gb.HOST_SIGNAL, bytes([signal.SIGKILL]))
    assert box.exit_status() == 128 + signal.SIGKILL
    assert len(box.streams[gb.STDOUT]) == link.OUTPUT_WINDOW


def test_kill_of_a_process_that_has_ended_by_itself(start: Start) -> None:
    """Its own status is right. Without KILL the guest would wait for the reader."""
    box = start(*shell("dd if=/dev/zero bs=4096 count=48 2>/dev/null; exit 5"), setup=DEV_SETUP)
    box.auto_credit = False
    assert box.until(gb.ENDING) == b"\5"
    box.send(gb.HOST_SIGNAL, bytes([signal.SIGKILL]))
    assert box.exit_status() == 5


def test_kill_of_a_process_that_the_kernel_keeps(start: Start) -> None:
    """PID 1 of a PID namespace does not end before all in it have been waited for. The host hears of KILL all the same, and the
    file systems are written although a process is left."""
    box = start(*shell("echo ready; read x"), pid_namespace=1)
    box.until_output(b"ready")
    (init,) = children(box.proc.pid)
    (process,) = children(init)
    stranger = subprocess.Popen(["nsenter", "-t", str(process), "-p", "sleep", "1000"])
    try:
        while not children(stranger.pid):
            time.sleep(0.01)
        stranger.send_signal(signal.SIGSTOP)  # it will not wait for its child, which is in the namespace
        box.send(gb.HOST_SIGNAL, bytes([signal.SIGKILL]))
        assert box.until(gb.ENDING) == box.until(gb.EXIT) == bytes([128 + signal.SIGKILL])
        assert Path(f"/proc/{process}").exists()
    finally:
        stranger.kill()
        stranger.wait()
    box.gone()


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


# Signals.


NUMBERS = [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, 40]


@pytest.mark.parametrize("number", NUMBERS)
def test_a_signal_without_handler_ends_the_process(start: Start, number: int) -> None:
    box = start("/bin/cat")
    box.until(gb.STARTED)
    box.send(gb.HOST_SIGNAL, bytes([number]))
    assert box.exit_status() == 128 + number


@pytest.mark.parametrize("number", NUMBERS)
def test_a_signal_without_handler_does_nothing_to_a_first_process(start: Start, number: int) -> None:
    """It is PID 1 of its namespace, as under runc: pid_namespaces(7)."""
    box = start("/bin/head", "-n", "1", pid_namespace=1)
    box.until(gb.STARTED)
    box.send(gb.HOST_SIGNAL, bytes([number]))
    box.send(gb.HOST_STDIN, b"lives\n")
    assert box.exit_status() == 0
    assert box.streams[gb.STDOUT] == b"lives\n"


@pytest.mark.parametrize("pid_namespace", [0, 1])
def test_a_signal_with_a_handler_is_handled(start: Start, pid_namespace: int) -> None:
    script = "trap 'echo got it; exit 3' TERM; echo up; while :; do read x; done"
    box = start(*shell(script), pid_namespace=pid_namespace)
    box.until_output(b"up")
    box.send(gb.HOST_SIGNAL, bytes([signal.SIGTERM]))
    assert box.exit_status() == 3
    assert box.streams[gb.STDOUT] == b"up\ngot it\n"


@pytest.mark.parametrize("pid_namespace", [0, 1])
def test_an_ignored_signal_is_ignored(start: Start, pid_namespace: int) -> None:
    box = start(*shell("trap '' TERM; echo up; read x; exit 4"), pid_namespace=pid_namespace)
    box.until_output(b"up")
    box.send(gb.HOST_SIGNAL, bytes([signal.SIGTERM]))
    box.send(gb.HOST_STDIN, b"line\n")
    assert box.exit_status() == 4


@pytest.mark.parametrize("number", [signal.SIGCHLD, signal.SIGWINCH, signal.SIGURG, signal.SIGCONT])
def test_a_signal_whose_default_is_to_do_nothing(start: Start, number: int) -> None:
    box = start(*shell("echo up; read x; exit 4"), pid_namespace=1)
    box.until_output(b"up")
    box.send(gb.HOST_SIGNAL, bytes([number]))
    box.send(gb.HOST_STDIN, b"line\n")
    assert box.exit_status() == 4


def test_a_signal_sent_before_the_start_is_kept(start: Start, root: Path) -> None:
    box = start("/bin/cat", **wait_for_go(root))
    box.until(gb.LOG)
    box.send(gb.HOST_SIGNAL, bytes([signal.SIGTERM]))
    let_go(root)
    assert box.exit_status() == 128 + signal.SIGTERM
    assert gb.STARTED in box.seen


@pytest.mark.parametrize("number", [0, 65, 255])
def test_a_number_that_is_no_signal(start: Start, number: int) -> None:
    box = start(*shell("read x; exit 4"))
    box.until(gb.STARTED)
    box.send(gb.HOST_SIGNAL, bytes([number]))
    box.send(gb.HOST_STDIN, b"line\n")
    assert box.exit_status() == 4


@pytest.mark.parametrize("command", ["poweroff", "reboot", "halt"])
def test_power_off_asks_the_process_to_end(start: Start, root: Path, command: str) -> None:
    # The network script leaves a process behind that does what the kernel does for `xl shutdown`.
    os.mkfifo(root / "newroot/tmp/go")
    network = f"(read line </newroot/tmp/go; {command}) >/dev/null 2>&1 &\n"
    box = start(*shell("trap 'echo asked; exit 9' TERM; echo >/tmp/go; while :; do sleep 0.01; done"), network=network)
    assert box.exit_status() == 9
    assert box.streams[gb.STDOUT] == b"asked\n"
