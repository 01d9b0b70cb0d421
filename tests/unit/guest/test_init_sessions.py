"""PID 1 of the guest, run here in namespaces: sessions (docs/console-link.md, "Sessions")."""

import os
import signal
import socket
import time
from pathlib import Path
from random import Random

import pytest

import guestbox as gb
from guestbox import GuestBox
from initbox import DEV_SETUP, Start, shell
from runx.exec.console import frames as link

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces and mounts need root")

WINDOW = link.OUTPUT_WINDOW
PIPE = 65536
"""What a pipe holds (pipe(7))."""
PTS = "mount devpts devpts /dev/pts newinstance,ptmxmode=0666\n"


def running(start: Start, **values: object) -> GuestBox:
    """A container that allows sessions, and whose process waits for a line."""
    setup = str(values.pop("setup", gb.DEFAULT_SETUP))
    box = start(*shell("read x"), setup=setup, **{"sessions": 1, "pid_namespace": 1, **values})
    box.until(gb.STARTED)
    return box


def ends(box: GuestBox) -> None:
    """The container goes on as if nothing had been."""
    box.send(gb.HOST_STDIN, b"go\n")
    assert box.exit_status() == 0


@pytest.mark.parametrize("pid_namespace", [0, 1])
def test_a_session_has_streams_and_a_status_of_its_own(start: Start, pid_namespace: int) -> None:
    box = running(start, pid_namespace=pid_namespace)
    box.execute(3, *shell("read x; echo got $x; echo bad >&2; exit 7"))
    box.send(gb.HOST_STDIN, b"input\n", 3)
    assert box.status_of(3) == 7
    assert box.of(3).streams == {gb.STDOUT: b"got input\n", gb.STDERR: b"bad\n"}
    assert box.of(3).credit == len(b"input\n")
    assert box.streams == {gb.STDOUT: b"", gb.STDERR: b""}
    ends(box)


def test_arguments_and_environment_are_exact(start: Start) -> None:
    box = running(start)
    odd = bytes(range(1, 256))
    box.execute(1, "/bin/probe", odd, b"", env=[b"A=" + odd, b"HOME=/x", b"odd"])
    assert box.status_of(1) == 0
    said = gb.pairs(box.of(1).streams[gb.STDOUT])
    assert said["arg"] == [b"/bin/probe", odd, b""]
    assert said["env"] == [b"A=" + odd, b"HOME=/x", b"odd"]
    ends(box)


def test_a_session_is_where_the_container_is(start: Start) -> None:
    """The same mounts and the same PID namespace, in which it is not the first process."""
    box = running(start)
    look = "for n in self/ns/mnt 1/ns/mnt self/ns/pid 1/ns/pid; do readlink /proc/$n; done; echo $$; ls /"
    box.execute(1, *shell(look))
    assert box.status_of(1) == 0
    own_mnt, mnt, own_pid, pid, number, *names = box.of(1).streams[gb.STDOUT].decode().split()
    assert (own_mnt, own_pid) == (mnt, pid)
    assert int(number) > 1
    assert "work" in names and "runx" not in names
    ends(box)


def test_no_capability_beyond_the_bounding_set(start: Start) -> None:
    chown, kill, mknod = 1 << 0, 1 << 5, 1 << 27
    box = running(start, capabilities=[chown | kill] * 4 + [0])
    box.execute(1, "/bin/grep", "^Cap", "/proc/self/status", capabilities=[chown | mknod] * 4 + [0])
    box.execute(2, "/bin/grep", "^Cap", "/proc/self/status")
    assert (box.status_of(1), box.status_of(2)) == (0, 0)

    def masks(session: int) -> set[int]:
        lines = box.of(session).streams[gb.STDOUT].decode().splitlines()
        return {int(line.split()[1], 16) for line in lines if not line.startswith("CapAmb")}

    assert masks(1) == {chown}
    assert masks(2) == {chown | kill}
    ends(box)


def test_user_groups_limits_and_directory_are_the_sessions(start: Start) -> None:
    box = running(start)
    script = "id -u; id -g; id -G; pwd; ulimit -n; umask; grep NoNewPrivs /proc/self/status"
    box.execute(
        1, *shell(script), user=[1000, 1001], groups=[7], cwd="/tmp", rlimit=["nofile", 99, 99], umask=0o77, no_new_privs=1
    )
    assert box.status_of(1) == 0
    assert box.of(1).streams[gb.STDOUT].decode().split() == [
        "1000", "1001", "1001", "7", "/tmp", "99", "0077", "NoNewPrivs:", "1",
    ]  # fmt: skip
    ends(box)


@pytest.mark.parametrize("stream", [gb.STDOUT, gb.STDERR])
def test_the_user_of_a_session_opens_its_streams(start: Start, stream: int) -> None:
    box = running(start, user=[2000, 2000])
    number = {gb.STDOUT: 1, gb.STDERR: 2}[stream]
    script = f"read line </proc/self/fd/0; echo $line >/proc/self/fd/{number}"
    box.execute(1, *shell(script), user=[1000, 1001])
    box.send(gb.HOST_STDIN, b"line\n", 1)
    assert box.status_of(1) == 0, box.of(1).streams
    assert box.of(1).streams[stream] == b"line\n"
    ends(box)


def test_streams_of_the_container_that_are_the_null_device_are_not_those_of_a_session(start: Start, root: Path) -> None:
    (root / "runx/null").write_bytes(b"12")
    box = running(start)
    box.execute(1, *shell("echo out; echo err >&2"))
    assert box.status_of(1) == 0
    assert box.of(1).streams == {gb.STDOUT: b"out\n", gb.STDERR: b"err\n"}
    ends(box)


def test_streams_of_a_session_that_are_the_null_device(start: Start) -> None:
    """What the process leaves behind may go on to write to them when it has ended."""
    box = running(start, setup=DEV_SETUP)
    box.execute(
        1, *shell("[ -c /proc/self/fd/0 ] && echo null >&2; (sleep 0.3; echo late; echo went on > /tmp/late) & :"), null=["01"]
    )
    assert box.status_of(1) == 0
    assert box.of(1).streams == {gb.STDOUT: b"", gb.STDERR: b"null\n"}
    box.execute(2, *shell("while ! cat /tmp/late 2> /dev/null; do sleep 0.1; done"))
    assert box.status_of(2) == 0
    assert box.of(2).streams[gb.STDOUT] == b"went on\n"
    box.execute(3, "true", null=["03"])
    assert box.failure_of(3) == (125, "the session's record: null: must be digits of standard streams")
    ends(box)


@pytest.mark.parametrize(
    ("args", "status", "text"),
    [
        (["nothing"], 127, 'exec: "nothing": executable file not found in $PATH'),
        (["/no/thing"], 127, 'exec: "/no/thing": stat /no/thing: no such file or directory'),
        (["/etc"], 126, 'exec: "/etc": permission denied'),
    ],
)
def test_what_cannot_be_executed(start: Start, args: list[str], status: int, text: str) -> None:
    box = running(start)
    box.execute(1, *args)
    assert box.failure_of(1) == (status, text)
    ends(box)


def test_a_record_that_is_wrong(start: Start) -> None:
    box = running(start)
    box.send(gb.HOST_EXEC, b"args\0", 1)
    box.send(gb.HOST_EXEC, b"", 1)
    assert box.failure_of(1) == (125, 'the session\'s record: record "args" has no count')
    ends(box)


def test_a_stalled_session_stalls_itself_alone(start: Start) -> None:
    box = running(start, setup=DEV_SETUP)
    box.stalled.add(1)
    box.execute(1, "/bin/cat", "/dev/zero")
    while len(box.of(1).streams[gb.STDOUT]) < WINDOW:
        assert box.frame()
    box.execute(2, *shell("dd if=/dev/zero bs=4096 count=256 2>/dev/null"))
    assert box.status_of(2) == 0
    assert len(box.of(2).streams[gb.STDOUT]) == 1024 * 1024
    assert len(box.of(1).streams[gb.STDOUT]) == WINDOW
    box.send(gb.HOST_SIGNAL, bytes([signal.SIGKILL]), 1)
    box.send(gb.HOST_CLOSED, b"\1", 1)
    assert box.status_of(1) == 137
    ends(box)


def test_signals_end_a_session_and_nothing_else(start: Start) -> None:
    box = running(start)
    box.execute(1, *shell("trap 'echo usr; exit 3' USR1; echo up; while :; do read x; done"))
    box.execute(2, *shell("echo up; exec sleep 1000"))
    box.until_said(1, b"up")
    box.until_said(2, b"up")
    box.send(gb.HOST_SIGNAL, bytes([signal.SIGTERM]), 2)
    box.send(gb.HOST_SIGNAL, bytes([signal.SIGUSR1]), 1)
    box.send(gb.HOST_STDIN_EOF, session=1)
    assert (box.status_of(2), box.status_of(1)) == (128 + signal.SIGTERM, 3)
    ends(box)


def test_the_end_of_a_process_is_told_while_others_hold_its_output(start: Start, root: Path) -> None:
    """The session goes on until they have closed it."""
    os.mkfifo(root / "newroot/work/go")
    box = running(start, setup=DEV_SETUP)
    box.execute(1, *shell("(read x < /work/go; echo late) & echo done; exit 3"))
    assert box.ending_of(1) == 3
    assert box.of(1).status is None
    assert box.of(1).streams[gb.STDOUT] == b"done\n"
    box.execute(2, *shell("echo go > /work/go"))
    assert (box.status_of(2), box.status_of(1)) == (0, 3)
    assert box.of(1).streams[gb.STDOUT] == b"done\nlate\n"
    assert box.of(2).ending is None, "nobody held its output"
    ends(box)


def test_a_session_whose_output_is_closed_ends_whoever_holds_it(start: Start) -> None:
    box = running(start, setup=DEV_SETUP)
    box.execute(1, *shell("sleep 1000 & echo done"))
    assert box.ending_of(1) == 0
    for stream in (b"\1", b"\2"):
        box.send(gb.HOST_CLOSED, stream, 1)
    assert box.status_of(1) == 0
    ends(box)


def test_output_that_others_go_on_writing_does_not_keep_a_session(start: Start) -> None:
    """As fast as it is read, by a reader that is slower."""
    box = running(start, setup=DEV_SETUP)
    box.stalled.add(1)
    box.execute(1, *shell("cat /dev/zero & read x; exit 3"))
    while len(box.of(1).streams[gb.STDOUT]) < WINDOW:
        assert box.frame()
    box.send(gb.HOST_STDIN, b"end\n", 1)
    time.sleep(0.3)  # it has ended, and the pipe is full
    for _ in range(40):
        if box.of(1).ending is None:
            box.send(gb.HOST_CREDIT, b"\1" + (4096).to_bytes(4, "little"), 1)
            assert box.frame()
            time.sleep(0.02)
    assert box.of(1).ending == 3
    assert len(box.of(1).streams[gb.STDOUT]) <= WINDOW + PIPE
    ends(box)


def test_a_terminal(start: Start) -> None:
    box = running(start, setup=DEV_SETUP + PTS)
    box.execute(1, *shell("readlink /proc/self/fd/0; probe; read x; probe; exec sleep 1000"), terminal=[33, 101])
    box.until_said(1, b"33 101")
    assert b"/dev/pts/0" in box.of(1).streams[gb.STDOUT]
    box.send(gb.HOST_WINSIZE, b"\x0a\0\x14\0", 1)
    box.send(gb.HOST_STDIN, b"go\n", 1)
    box.until_said(1, b"10 20")
    box.send(gb.HOST_STDIN, b"\x03", 1)
    assert box.status_of(1) == 128 + signal.SIGINT
    ends(box)


def test_the_end_of_the_container_ends_sessions(start: Start) -> None:
    box = running(start)
    box.execute(1, *shell("echo up; exec sleep 1000"))
    box.until_said(1, b"up")
    ends(box)
    assert box.of(1).status in (None, 137)


def test_kill_of_the_container_ends_sessions_that_nobody_reads(start: Start) -> None:
    box = running(start, setup=DEV_SETUP)
    box.stalled.add(1)
    box.execute(1, "/bin/cat", "/dev/zero")
    while len(box.of(1).streams[gb.STDOUT]) < WINDOW:
        assert box.frame()
    box.send(gb.HOST_SIGNAL, bytes([signal.SIGKILL]))
    assert box.exit_status() == 137


def test_sessions_after_one_another_and_at_once_leave_nothing(start: Start) -> None:
    box = running(start)

    def held() -> tuple[int, int]:
        (pid,) = Path(f"/proc/{box.proc.pid}/task/{box.proc.pid}/children").read_text().split()
        status = Path(f"/proc/{pid}/status").read_text()
        return len(os.listdir(f"/proc/{pid}/fd")), int(status.split("VmRSS:")[1].split()[0])

    def once(sessions: range) -> None:
        for session in sessions:
            box.execute(session, *shell("echo $0; exit 5"))
        for session in sessions:
            assert box.status_of(session) == 5
        box.sessions.clear()

    once(range(1, 65))
    before = held()
    for _ in range(5):
        once(range(1, 2))
        once(range(1, 65))
    after = held()
    assert after[0] == before[0]
    assert after[1] - before[1] < 128
    ends(box)


def test_the_list_of_processes(start: Start) -> None:
    box = running(start)
    box.execute(1, *shell("echo up; exec sleep 1234"), user=[1000, 1000])
    box.until_said(1, b"up")
    box.send(gb.HOST_EXEC, b"", 2)
    assert box.status_of(2) == 0
    rows = [line.split(" ", 3) for line in box.of(2).streams[gb.STDOUT].decode().splitlines()]
    assert [(row[0] == "1", row[1:]) for row in rows] == [
        (True, ["0", "0", "/bin/sh -c read x"]),
        (False, ["0", "1000", "sleep 1234"]),
    ]
    ends(box)


def test_arguments_that_look_like_a_list_of_processes(start: Start) -> None:
    """Each process has one line, whatever its arguments are; empty ones too."""
    box = running(start)
    box.execute(1, "/bin/sh", "-c", "echo up; read x; :", "", "\n7 0 0 no such process\r\x7f", "", "end\n", "")
    box.until_said(1, b"up")
    box.send(gb.HOST_EXEC, b"", 2)
    assert box.status_of(2) == 0
    rows = [line.split(" ", 3) for line in box.of(2).streams[gb.STDOUT].decode().splitlines()]
    assert [row[3] for row in rows] == ["/bin/sh -c read x", "/bin/sh -c echo up; read x; :  ?7 0 0 no such process??  end?"]
    ends(box)


def test_a_container_without_sessions_does_not_know_them(start: Start) -> None:
    """Any frame of one is the end of the conversation."""
    box = start(*shell("read x"), pid_namespace=1)
    box.until(gb.STARTED)
    box.execute(1, *shell("echo no"))
    began = time.monotonic()
    while box.frame():
        pass
    assert time.monotonic() - began < gb.DEADLINE_S
    assert not box.sessions


@pytest.mark.parametrize("seed", range(3))
def test_frames_of_any_kind_and_order_leave_a_guest_that_works(start: Start, seed: int) -> None:
    """The host is trusted, but a fault of it must not take the container along."""
    random = Random(seed)
    box = running(start)
    box.reuses_numbers = True
    kinds = [
        gb.HOST_EXEC,
        gb.HOST_STDIN,
        gb.HOST_STDIN_EOF,
        gb.HOST_SIGNAL,
        gb.HOST_WINSIZE,
        gb.HOST_CREDIT,
        gb.HOST_CLOSED,
        gb.HOST_DIAL,
        0x60,
    ]
    closed = socket.create_server(("127.0.0.1", 0))
    port = closed.getsockname()[1].to_bytes(2, "little")
    closed.close()
    good = gb.records(args=["/bin/cat"], env=["PATH=/bin"], cwd="/")
    for _ in range(300):
        kind, session = random.choice(kinds), random.randint(1, 8)
        payload = random.choice([b"", b"", random.randbytes(random.randint(1, 9)), good])
        if kind == gb.HOST_DIAL:
            payload = random.choice([b"", b"x", bytes(2), port, port, good])
        box.send(kind, payload[:1] if kind == gb.HOST_SIGNAL else payload, session)
    for session in range(1, 9):
        box.send(gb.HOST_EXEC, b"", session)
        box.send(gb.HOST_STDIN_EOF, b"", session)
        box.send(gb.HOST_SIGNAL, bytes([signal.SIGKILL]), session)
    box.execute(60, *shell("exit 5"))
    assert box.status_of(60) == 5
    ends(box)
