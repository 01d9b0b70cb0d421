"""PID 1 of the guest, run here in namespaces (docs/guest.md, docs/console-link.md)."""

import os
import random
import shutil
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import guestbox as gb
import pytest
from guestbox import GuestBox, pairs, records

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces and mounts need root")

Start = Callable[..., GuestBox]
PATH = "PATH=/usr/bin:/bin"
DEV_SETUP = gb.DEFAULT_SETUP + "inroot node c 1 5 666 0 0 /dev/zero\ninroot node c 1 3 666 0 0 /dev/null\n"


@pytest.fixture
def start(root: Path) -> Iterator[Start]:
    """Starts /init for a process with these records."""
    boxes: list[GuestBox] = []

    def begin(*args: object, setup: str = gb.DEFAULT_SETUP, **values: object) -> GuestBox:
        values = {"args": list(args), "env": [PATH], "cwd": "/", **values}
        boxes.append(GuestBox(root, setup=setup, process=records(**values)))
        return boxes[-1]

    yield begin
    for box in boxes:
        box.__exit__()


def shell(script: str) -> tuple[str, str, str]:
    return ("/bin/sh", "-c", script)


def wait_for_go(root: Path) -> str:
    """A setup script that says LOG and ends only after let_go()."""
    os.mkfifo(root / "tmp/go")
    return gb.DEFAULT_SETUP + "echo ready; read line </tmp/go"


def let_go(root: Path) -> None:
    (root / "tmp/go").write_text("go\n")


# The conversation as a whole.


def test_frames_come_in_order(start: Start) -> None:
    box = start(*shell("echo out; echo err >&2; exit 7"))
    assert box.frame() == (gb.HELLO, b"\x01")
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


# What the process is given.


def probe(start: Start, *args: object, **values: object) -> dict[str, list[bytes]]:
    box = start(*(args or ("/bin/probe",)), **values)
    assert box.exit_status() == 0, box.streams
    return pairs(box.streams[gb.STDOUT])


def test_arguments_and_environment_byte_for_byte(start: Start) -> None:
    every_byte = bytes(range(1, 256))
    args = ["/bin/probe", "", "two words", "$HOME `id` '\"\n", every_byte]
    env = [PATH, "A=b=c", "=odd", "NOEQUALS", "HOME=/there", b"BYTES=" + every_byte, "A=again"]
    seen = probe(start, *args, env=env)
    assert seen["arg"] == [arg if isinstance(arg, bytes) else arg.encode() for arg in args]
    assert seen["env"] == [entry if isinstance(entry, bytes) else entry.encode() for entry in env]


def test_a_long_argument_vector(start: Start) -> None:
    args = ["/bin/probe", *(f"argument {n}" for n in range(5000))]
    assert len(probe(start, *args)["arg"]) == 5001


def test_defaults(start: Start) -> None:
    seen = probe(start, env=[])
    assert seen["env"] == [b"HOME=/"]
    assert seen["cwd"] == [b"/"]
    assert seen["uid"] == seen["euid"] == seen["gid"] == seen["egid"] == [b"0"]
    assert "group" not in seen
    assert seen["umask"] == [b"18"]
    assert seen["no_new_privs"] == [b"0"]
    assert seen["is_session_leader"] == [b"1"]
    assert seen["cap.effective"] == seen["cap.permitted"] == seen["cap.bounding"]
    assert int(seen["cap.bounding"][0]) & 1 << 21, "root has CAP_SYS_ADMIN"


def test_nothing_of_init_is_inherited(start: Start) -> None:
    seen = probe(start)
    assert not {"blocked", "not default", "open fd"} & seen.keys(), seen


def test_user_groups_umask(start: Start) -> None:
    seen = probe(start, user=[1000, 1001], groups=[7, 8, 4000000000], umask=0o27)
    assert seen["uid"] == seen["euid"] == [b"1000"]
    assert seen["gid"] == seen["egid"] == [b"1001"]
    assert sorted(seen["group"]) == [b"4000000000", b"7", b"8"]
    assert seen["umask"] == [str(0o27).encode()]
    assert seen["cap.permitted"] == seen["cap.effective"] == [b"0"]
    assert seen["keepcaps"] == [b"0"]


def test_limits(start: Start) -> None:
    infinite = 2**64 - 1
    seen = probe(start, rlimit=["nofile", 100, 200, "core", 0, infinite, "nproc", 4321, 4321])
    assert seen["rlimit.nofile"] == [b"100 200"]
    assert seen["rlimit.core"] == [b"0 %d" % infinite]
    assert seen["rlimit.nproc"] == [b"4321 4321"]


CHOWN, KILL, NET_BIND = 1 << 0, 1 << 5, 1 << 10


def test_capabilities_of_root(start: Start) -> None:
    sets = [CHOWN | KILL, CHOWN | KILL, 0, CHOWN | KILL, 0]
    seen = probe(start, capabilities=sets)
    assert seen["cap.bounding"] == seen["cap.effective"] == seen["cap.permitted"] == [b"%d" % (CHOWN | KILL)]
    assert seen["cap.inheritable"] == seen["cap.ambient"] == [b"0"]


def test_ambient_capabilities_reach_a_user(start: Start) -> None:
    both = CHOWN | NET_BIND
    seen = probe(start, user=[1000, 1000], capabilities=[both | KILL, both, both, both, NET_BIND])
    assert seen["cap.bounding"] == [b"%d" % (both | KILL)]
    assert seen["cap.ambient"] == seen["cap.effective"] == seen["cap.permitted"] == [b"%d" % NET_BIND]
    assert seen["cap.inheritable"] == [b"%d" % both]


def test_a_user_without_ambient_capabilities_has_none(start: Start) -> None:
    seen = probe(start, user=[1000, 1000], capabilities=[CHOWN, CHOWN, 0, CHOWN, 0])
    assert seen["cap.effective"] == seen["cap.permitted"] == [b"0"]
    assert seen["cap.bounding"] == [b"%d" % CHOWN]


def test_no_capabilities_at_all(start: Start) -> None:
    seen = probe(start, capabilities=[0, 0, 0, 0, 0])
    assert seen["cap.bounding"] == seen["cap.effective"] == seen["cap.permitted"] == [b"0"]


def test_capabilities_this_kernel_does_not_know_are_left_out(start: Start) -> None:
    seen = probe(start, capabilities=[1 << 63 | CHOWN, CHOWN, 0, 1 << 63 | CHOWN, 1 << 63])
    assert seen["cap.permitted"] == [b"%d" % CHOWN]


def test_no_new_privs(start: Start) -> None:
    assert probe(start, no_new_privs=1)["no_new_privs"] == [b"1"]


def test_oom_score_adj(start: Start) -> None:
    # Upwards: the machine of the tests need not have CAP_SYS_RESOURCE.
    box = start("/bin/cat", "/proc/self/oom_score_adj", oom_score_adj=123)
    assert box.exit_status() == 0
    assert box.streams[gb.STDOUT] == b"123\n"


FIFO, BATCH, DEADLINE, RESET_ON_FORK = 1, 3, 6, 1


def test_scheduling(start: Start) -> None:
    """Given before capabilities are dropped: the process itself could not."""
    seen = probe(start, scheduler=[FIFO, RESET_ON_FORK, 0, 7, 0, 0, 0], user=[1000, 1000], capabilities=[0, 0, 0, 0, 0])
    assert seen["schedule"] == [b"1 1 0 7 0 0 0"]


@pytest.mark.parametrize("nice", [-20, 0, 19])
def test_a_nice_value(start: Start, nice: int) -> None:
    # The last numbers of this policy are the kernel's own, if it shows any.
    assert probe(start, scheduler=[BATCH, 0, nice, 0, 0, 0, 0])["schedule"][0].startswith(b"3 0 %d 0 " % nice)


def test_a_deadline(start: Start) -> None:
    seen = probe(start, scheduler=[DEADLINE, 0, 0, 0, 10**6, 10**7, 10**8])
    assert seen["schedule"] == [b"6 0 0 0 1000000 10000000 100000000"]


def test_scheduling_the_kernel_refuses(start: Start) -> None:
    assert start("/bin/true", scheduler=[FIFO, 0, 0, 0, 0, 0, 0]).fatal() == (125, "scheduler: invalid argument")


@pytest.mark.parametrize(("kind", "level"), [(1, 0), (2, 7), (3, 0)])
def test_priority_of_input_and_output(start: Start, kind: int, level: int) -> None:
    seen = probe(start, io_priority=[kind, level], user=[1000, 1000], capabilities=[0, 0, 0, 0, 0])
    assert seen["io priority"] == [b"%d" % (kind << 13 | level)]


def test_an_oom_score_adj_the_kernel_refuses(start: Start) -> None:
    assert start("/bin/true", oom_score_adj=1001).fatal() == (125, "oom_score_adj 1001: invalid argument")


def test_home_comes_from_the_roots_passwd(start: Start, root: Path) -> None:
    (root / "newroot/etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\nweb:x:1000:1000::/srv/web:/bin/sh\n")
    assert b"HOME=/srv/web" in probe(start, user=[1000, 1000])["env"]


def test_a_passwd_that_is_a_fifo_holds_nothing_up(start: Start, root: Path) -> None:
    os.mkfifo(root / "newroot/etc/passwd")
    assert b"HOME=/" in probe(start)["env"]


# Where it stands and which file it is.


def test_working_directory(start: Start) -> None:
    assert probe(start, cwd="/work")["cwd"] == [b"/work"]


def test_a_working_directory_made_by_the_script(start: Start) -> None:
    assert probe(start, cwd="/made/here", setup="inroot mkdir /made/here")["cwd"] == [b"/made/here"]


def test_a_working_directory_only_root_may_enter(start: Start, root: Path) -> None:
    (root / "newroot/work").chmod(0o700)
    assert probe(start, cwd="/work", user=[1000, 1000])["cwd"] == [b"/work"]


def test_a_missing_working_directory_is_named(start: Start) -> None:
    assert start("/bin/true", cwd="/nowhere").fatal() == (
        125,
        'chdir to cwd ("/nowhere") set in config.json failed: no such file or directory',
    )


def test_a_name_is_looked_up_in_path(start: Start) -> None:
    assert probe(start, "probe", "x", env=["PATH=/nosuch::/etc:/bin"])["arg"] == [b"probe", b"x"]


def test_a_name_is_looked_up_in_the_working_directory_for_an_empty_entry(start: Start) -> None:
    assert probe(start, "probe", env=["PATH=/etc:"], cwd="/bin")["arg"] == [b"probe"]


def test_a_path_relative_to_the_working_directory(start: Start) -> None:
    assert probe(start, "./probe", cwd="/bin")["arg"] == [b"./probe"]


@pytest.mark.parametrize("env", [[PATH], []])
def test_a_name_that_is_not_found(start: Start, env: list[str]) -> None:
    box = start("nosuch", env=env)
    assert box.fatal() == (127, 'exec: "nosuch": executable file not found in $PATH')
    assert gb.STARTED not in box.seen


def test_a_path_that_is_not_there(start: Start) -> None:
    assert start("/no/such").fatal() == (127, 'exec: "/no/such": stat /no/such: no such file or directory')


def test_a_file_that_may_not_be_executed(start: Start, root: Path) -> None:
    (root / "newroot/etc/file").write_text("x")
    assert start("/etc/file").fatal() == (126, 'exec: "/etc/file": permission denied')


def test_a_file_only_another_user_may_execute(start: Start, root: Path) -> None:
    (root / "newroot/bin/probe").chmod(0o700)
    assert start("/bin/probe", user=[1000, 1000]).fatal() == (126, 'exec: "/bin/probe": permission denied')


def test_a_directory(start: Start) -> None:
    assert start("/etc").fatal() == (126, 'exec: "/etc": is a directory')


def test_a_file_of_no_known_format(start: Start, root: Path) -> None:
    (root / "newroot/bin/junk").write_text("echo no shebang\n")
    (root / "newroot/bin/junk").chmod(0o755)
    assert start("junk").fatal() == (126, "exec /bin/junk: exec format error")


def test_a_script_whose_interpreter_is_missing(start: Start, root: Path) -> None:
    (root / "newroot/bin/script").write_text("#!/bin/perl\n")
    (root / "newroot/bin/script").chmod(0o755)
    assert start("script").fatal() == (127, "exec /bin/script: no such file or directory")


def test_nothing_of_the_ramdisk_is_in_sight(start: Start) -> None:
    box = start("/bin/ls", "/")
    box.exit_status()
    assert b"init" not in box.streams[gb.STDOUT] and b"runx" not in box.streams[gb.STDOUT]


def test_a_root_that_is_a_mount_of_its_own(start: Start, root: Path) -> None:
    shutil.copy(root / "newroot/bin/probe", root / "tmp/probe")
    setup = "mount -t tmpfs tmpfs /newroot; mkdir /newroot/only; cp /tmp/probe /newroot/only"
    assert probe(start, "/only/probe", cwd="/only", setup=setup)["cwd"] == [b"/only"]


# Setting up.


def test_a_failing_script_is_the_reason(start: Start) -> None:
    box = start("/bin/true", setup="echo preparing\ninroot bind /nosuch /x -\n")
    assert box.fatal() == (125, "preparing\ninroot: bind /x: /nosuch: no such file or directory")
    assert box.log == b"preparing\ninroot: bind /x: /nosuch: no such file or directory\n"


def test_only_the_last_lines_of_a_long_log_are_the_reason(start: Start) -> None:
    box = start("/bin/true", setup="seq 1 40000; echo the reason; exit 1")
    status, text = box.fatal()
    assert status == 125
    assert text.endswith("\n40000\nthe reason") and len(text) <= 1024
    assert text.splitlines()[0].isdigit() and len(text.splitlines()[0]) == 5, "begins with a whole line"
    assert len(box.log) == 64 * 1024


def test_a_silent_failure(start: Start) -> None:
    assert start("/bin/true", setup="exit 1").fatal() == (125, "the setup script failed and printed nothing")


def test_the_scripts_output_is_no_output_of_the_process(start: Start) -> None:
    box = start(*shell("echo process"), setup="echo script; echo warning >&2")
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
        (records(args=["x"], cwd="there"), "cwd: should be one absolute path"),
        (records(args=["x"], cwd="/", colour="red"), 'unknown record "colour"'),
        (b"args\x00two\x00a\x00b\x00", 'record "args" has no count'),
        (b"args\x003\x00a\x00b\x00", 'record "args" has fewer than 3 values'),
        (b"args\x0099999999999999999999\x00a\x00", 'record "args" has no count'),
        (records(args=["x"], cwd="/", user=[1]), "user: 1 values instead of 2"),
        (records(args=["x"], cwd="/", scheduler=[0] * 6), "scheduler: 6 values instead of 7"),
        (
            records(args=["x"], cwd="/", scheduler=[0, 0, "--1", 0, 0, 0, 0]),
            'scheduler: "-1" is no number of at most 18446744073709551615',
        ),
        (records(args=["x"], cwd="/", scheduler=[2**32, 0, 0, 0, 0, 0, 0]), "scheduler: a number is too large"),
        (records(args=["x"], cwd="/", io_priority=[8, 0]), 'io_priority: "8" is no number of at most 7'),
        (records(args=["x"], cwd="/", pids_limit=-1), 'pids_limit: "-1" is no number of at most 18446744073709551615'),
        (records(args=["x"], cwd="/", user=[1, 2**32]), 'user: "4294967296" is no number of at most 4294967295'),
        (records(args=["x"], cwd="/", rlimit=["nofile", 1]), "rlimit: 2 values are no triples"),
        (records(args=["x"], cwd="/", rlimit=["files", 1, 1]), 'rlimit: unknown resource "files"'),
        (records(args=["x"], cwd="/", groups=["wheel"]), 'groups: "wheel" is no group id'),
        (records(args=["x"], cwd="/", hook=["h", "/x", 0, 0, 0]), 'a hook, and no record "hook_state"'),
        (records(args=["x"], cwd="/", hook_state=["{"]), "hook_state: should be two texts"),
        (
            records(args=["x"], cwd="/", hook=["h", "x", 0, 0, 0]),
            "hook: should begin with its origin, an absolute path and a number of seconds",
        ),
        *(
            (
                records(args=["x"], cwd="/", hook=["h", "/x", 0, *rest]),
                "hook: arguments and environment do not end with the record",
            )
            for rest in ([], [0], [1, "a"], [2, "a", 0], [0, 1], [0, 0, "a"], ["x", 0])
        ),
    ],
)
def test_faults_of_the_records(root: Path, process: bytes, reason: str) -> None:
    with GuestBox(root, process=process) as box:
        assert box.fatal() == (125, f"/runx/process: {reason}")


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
    box = start("/bin/cat", setup=wait_for_go(root))
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


# Signals.


@pytest.mark.parametrize("pid_namespace", [0, 1])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, 40])
def test_a_signal_without_handler_ends_the_process(start: Start, pid_namespace: int, number: int) -> None:
    box = start("/bin/cat", pid_namespace=pid_namespace)
    box.until(gb.STARTED)
    box.send(gb.HOST_SIGNAL, bytes([number]))
    assert box.exit_status() == 128 + number


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
    box = start("/bin/cat", setup=wait_for_go(root), pid_namespace=1)
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
    # The setup script leaves a process behind that does what the kernel does for `xl shutdown`.
    os.mkfifo(root / "newroot/tmp/go")
    setup = gb.DEFAULT_SETUP + f"(read line </newroot/tmp/go; {command}) >/dev/null 2>&1 &\n"
    box = start(*shell("trap 'echo asked; exit 9' TERM; echo >/tmp/go; while :; do sleep 0.01; done"), setup=setup)
    assert box.exit_status() == 9
    assert box.streams[gb.STDOUT] == b"asked\n"


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


@pytest.mark.parametrize("setup", [gb.DEFAULT_SETUP, "echo slow; sleep 1000"])
def test_a_console_that_hangs_up_ends_everything(start: Start, setup: str) -> None:
    box = start("/bin/cat", setup=setup)
    box.until(gb.LOG if "slow" in setup else gb.STARTED)
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
