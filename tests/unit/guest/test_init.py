"""PID 1 of the guest, run here in namespaces (docs/guest.md, docs/console-link.md)."""

import os
import signal
from pathlib import Path

import pytest

import guestbox as gb
from guestbox import GuestBox, records
from initbox import Start, probe, shell
from runx.exec.console import frames as link

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces and mounts need root")


# The conversation as a whole.


def test_frames_come_in_order(start: Start) -> None:
    box = start(*shell("echo out; echo err >&2; exit 7"))
    assert box.frame() == (gb.HELLO, bytes((link.VERSION,)))
    assert box.exit_status() == 7
    assert box.streams == {gb.STDOUT: b"out\n", gb.STDERR: b"err\n"}
    assert box.seen[:2] == [gb.HELLO, gb.STARTED]
    assert box.seen[-1] == gb.EXIT
    # Each stream ends with an empty frame.
    assert box.seen.count(gb.STDOUT) == 2 and box.seen.count(gb.STDERR) == 2


@pytest.mark.parametrize("status", [0, 1, 42, 255])
def test_exit_status(start: Start, status: int) -> None:
    assert start(*shell(f"exit {status}")).exit_status() == status


@pytest.mark.parametrize("pid_namespace", [0, 1])
def test_status_of_a_process_that_a_signal_ended(start: Start, pid_namespace: int) -> None:
    box = start(*shell("cat; exit 3"), pid_namespace=pid_namespace)
    box.until(gb.STARTED)
    box.send(gb.HOST_SIGNAL, bytes([signal.SIGKILL]))
    assert box.exit_status() == 128 + signal.SIGKILL


def test_a_process_that_kills_itself(start: Start) -> None:
    assert start(*shell("kill -ABRT $$")).exit_status() == 128 + signal.SIGABRT


@pytest.mark.parametrize("changes", ["", "echo x > /changed; "])
def test_changes_are_written_back_when_the_process_has_ended(start: Start, root: Path, changes: str) -> None:
    """Nothing is asked for without changes. There is no 9p here: that is told, and the container ends as it would."""
    (root / "newroot/proc").mkdir(exist_ok=True)
    setup = f"keep /newroot/work\nbind /newroot/work /tmp -\n{gb.DEFAULT_SETUP}"
    box = start(*shell(f"{changes.replace('/changed', '/tmp/changed')}exit 3"), setup=setup)
    assert box.exit_status() == 3
    assert box.seen.count(gb.LAYER) == (1 if changes else 0)
    assert box.seen[-1] == gb.EXIT
    assert box.seen[-3:] == [*([gb.LAYER] if changes else box.seen[-3:-2]), gb.WRITTEN_BACK, gb.EXIT]
    (told,) = box.written_back
    done, problem = link.parse_written_back(told)
    assert done == (not changes)
    assert problem.startswith("mounting the share layer: ") if changes else not problem


# Setting up.


def test_a_failing_step_is_the_reason(start: Start) -> None:
    setup = gb.AWAIT + "step 'mounts[3] /x'\nbind /nosuch /x -\nmkdir /not/made\n"
    box = start("/bin/true", network="echo preparing", setup=setup)
    reason = "preparing\nbind /x: /nosuch: no such file or directory\nrunx: mounts[3] /x failed"
    assert box.fatal() == (125, reason)
    assert box.log.decode() == reason + "\n"


def test_nothing_after_a_failing_step_is_done(start: Start, root: Path) -> None:
    box = start("/bin/true", setup="mkdir /first\nstep second\nsysctl no/such x\nmkdir /third\n")
    assert box.fatal() == (125, "sysctl no/such: no such file or directory\nrunx: second failed")
    assert (root / "newroot/first").is_dir() and not (root / "newroot/third").exists()


def test_a_file_system_that_cannot_be_mounted(start: Start, root: Path) -> None:
    """What failed and what to do come first, then what the kernel says; and the hint is for mounts alone."""
    (root / "no-image").write_bytes(bytes(1024))
    setup = "step root\nhint 'bring an image'\nattach no-such-type,nor-this /no-image /image ro\n"
    status, text = start("/bin/true", setup=setup).fatal()
    lines = text.splitlines()
    assert status == 125 and lines[0].startswith("attach /image: /no-image: "), lines
    assert lines[1:3] == ["runx: root failed", "bring an image"]
    assert lines[3:4] in ([], ["the kernel said last:"]), "which is this machine's"
    assert lines[0].startswith("attach /image: /no-image: ") or len(text) > 900  # the kernel may have said much
    assert start("/bin/true", setup="step a\nhint b\nbind /nosuch /x -").fatal()[1].count("\n") == 1
    assert start("/bin/true", setup="step a\nhint b\nstep c\nattach tmpfs tmpfs /x size=x").fatal()[1].count("\n") == 1


def test_only_the_last_lines_of_a_long_log_are_the_reason(start: Start) -> None:
    box = start("/bin/true", network="seq 1 40000; echo the reason; exit 1", setup=gb.AWAIT)
    status, text = box.fatal()
    assert status == 125
    assert text.endswith("\n40000\nthe reason\nrunx: network failed") and len(text) <= 1024
    assert text.splitlines()[0].isdigit() and len(text.splitlines()[0]) == 5, "begins with a whole line"
    assert len(box.log) == 64 * 1024


def test_a_silent_failure(start: Start) -> None:
    assert start("/bin/true", network="exit 1", setup=gb.AWAIT).fatal() == (125, "runx: network failed")


def test_the_scripts_output_is_no_output_of_the_process(start: Start) -> None:
    box = start(*shell("echo process"), network="echo script; echo warning >&2", setup=gb.AWAIT)
    assert box.exit_status() == 0
    assert box.log == b"script\nwarning\n"
    assert box.streams[gb.STDOUT] == b"process\n"


@pytest.mark.parametrize(
    ("process", "reason"),
    [
        (b"", "does not end with NUL"),
        (b"args\x001\x00/bin/true", "does not end with NUL"),
        (records(args=["x"]), 'no record "cwd"'),
        (records(cwd="/"), 'no record "args"'),
        (records(args=[], cwd="/"), "args: empty"),
        (records(args=["x"], cwd="there"), "cwd: must be one absolute path"),
        (records(args=["x"], cwd="/", colour="red"), 'unknown record "colour"'),
        (b"args\x00two\x00a\x00b\x00", 'record "args" has no count'),
        (b"args\x003\x00a\x00b\x00", 'record "args" has fewer than 3 values'),
        (b"args\x0099999999999999999999\x00a\x00", 'record "args" has no count'),
        (records(args=["x"], cwd="/", user=[1]), "user: 1 values instead of 2"),
        (records(args=["x"], cwd="/", scheduler=[0] * 6), "scheduler: 6 values instead of 7"),
        (
            records(args=["x"], cwd="/", scheduler=[0, 0, "--1", 0, 0, 0, 0]),
            'scheduler: "-1" is not a number of at most 18446744073709551615',
        ),
        (records(args=["x"], cwd="/", scheduler=[2**32, 0, 0, 0, 0, 0, 0]), "scheduler: a number is too large"),
        (records(args=["x"], cwd="/", io_priority=[8, 0]), 'io_priority: "8" is not a number of at most 7'),
        (records(args=["x"], cwd="/", pids_limit=-1), 'pids_limit: "-1" is not a number of at most 18446744073709551615'),
        (records(args=["x"], cwd="/", user=[1, 2**32]), 'user: "4294967296" is not a number of at most 4294967295'),
        (records(args=["x"], cwd="/", rlimit=["nofile", 1]), "rlimit: 2 values do not make triples"),
        (records(args=["x"], cwd="/", rlimit=["files", 1, 1]), 'rlimit: unknown resource "files"'),
        (records(args=["x"], cwd="/", groups=["wheel"]), 'groups: "wheel" is not a group id'),
        (records(args=["x"], cwd="/", hook=["h", "/x", 0, 0, 0]), 'a record "hook" needs a record "hook_state"'),
        (records(args=["x"], cwd="/", hook_state=["{"]), "hook_state: must be two texts"),
        (
            records(args=["x"], cwd="/", hook=["h", "x", 0, 0, 0]),
            "hook: must begin with an origin, an absolute path and a number of seconds",
        ),
        *(
            (
                records(args=["x"], cwd="/", hook=["h", "/x", 0, *rest]),
                "hook: arguments and environment must fill the record",
            )
            for rest in ([], [0], [1, "a"], [2, "a", 0], [0, 1], [0, 0, "a"], ["x", 0])
        ),
    ],
)
def test_faults_of_the_records(root: Path, process: bytes, reason: str) -> None:
    with GuestBox(root, process=process) as box:
        assert box.fatal() == (125, f"/runx/process: {reason}")


@pytest.mark.parametrize(
    ("setup", "reason"),
    [
        (b"", "does not end with NUL"),
        (b"mkdir\x001\x00/made", "does not end with NUL"),
        (gb.steps("mkdir /made\nreboot now"), 'unknown record "reboot"'),
        (gb.steps("mkdir /made\n'' ''"), 'unknown record ""'),
        (gb.steps("mkdir /made\nmkdir /a /b"), "mkdir: 2 values instead of 1"),
        (gb.steps("mkdir /made\nstep"), "step: 0 values instead of 1"),
        (gb.steps("mkdir /made\nawait_network now"), "await_network: 1 values instead of 0"),
        (gb.steps("mkdir /made") + b"bind\x003\x00/a\x00", 'record "bind" has fewer than 3 values'),
        (gb.steps("mkdir /made") + b"bind\x00-1\x00/a\x00", 'record "bind" has no count'),
        (gb.steps("mkdir /made") + b"args\x001\x00/bin/sh\x00", 'unknown record "args"'),
    ],
)
def test_faults_of_the_steps(root: Path, setup: bytes, reason: str) -> None:
    """Nothing is done if one record is wrong."""
    with GuestBox(root, setup=setup, process=records(args=["x"], cwd="/")) as box:
        assert box.fatal() == (125, f"/runx/setup: {reason}")
    assert not (root / "newroot/made").exists()


# The PID namespace, orphans, what is left behind.


def test_a_pid_namespace(start: Start) -> None:
    box = start(*shell("echo $$; ls -d /proc/[0-9]*"), pid_namespace=1)
    assert box.exit_status() == 0
    lines = box.streams[gb.STDOUT].split()
    assert lines[:2] == [b"1", b"/proc/1"]
    assert len(lines) <= 3, "only the shell and ls are in sight"


def test_no_pid_namespace(start: Start) -> None:
    seen = probe(start)
    assert seen["pid"] != [b"1"]


def test_orphans_are_reaped(start: Start) -> None:
    # The inner shell's child outlives it and becomes a child of /init, which has to collect it.
    script = "sh -c 'sleep 0.05 & echo $!' | { read pid; while [ -e /proc/$pid ]; do sleep 0.01; done; echo reaped; }"
    box = start(*shell(script))
    assert box.exit_status() == 0
    assert box.streams[gb.STDOUT] == b"reaped\n"


@pytest.mark.parametrize("pid_namespace", [0, 1])
def test_what_the_process_leaves_running_is_ended(start: Start, pid_namespace: int) -> None:
    box = start(*shell("sleep 1000 & echo last words; exit 6"), pid_namespace=pid_namespace)
    assert box.exit_status() == 6
    assert box.streams[gb.STDOUT] == b"last words\n"


# The host goes away.


@pytest.mark.parametrize("network", ["", "echo slow; sleep 1000"])
def test_a_console_that_hangs_up_ends_everything(start: Start, network: str) -> None:
    box = start("/bin/cat", network=network, setup=gb.DEFAULT_SETUP + (gb.AWAIT if network else ""))
    box.until(gb.LOG if network else gb.STARTED)
    os.close(box.master)
    box.master = -1
    box.proc.wait(gb.DEADLINE_S)


def test_bytes_that_are_no_frame_end_everything(start: Start) -> None:
    box = start("/bin/cat")
    box.until(gb.STARTED)
    os.write(box.master, b"\x41\x01\xff\xff")
    box.gone()


def test_an_unknown_frame_is_a_line_in_the_log(start: Start) -> None:
    box = start("/bin/cat")
    box.until(gb.STARTED)
    box.send(0x7F, b"?")
    assert box.until(gb.LOG) == b"init: unknown frame 0x7f from the host\n"
    box.send(gb.HOST_STDIN_EOF)
    assert box.exit_status() == 0
