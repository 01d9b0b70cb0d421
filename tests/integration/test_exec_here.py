"""`runx exec` by hand, on the double: its options, its statuses and messages, and odd descriptors of the caller."""

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from exec_setting import may_exec  # noqa: F401  # a fixture
from runx.exec.console.frames import PROCESSES_MOST
from runxtools.double.host import Double
from runxtools.testing.bundles import LIMIT_S, Bundle
from runxtools.testing.containers import until

pytestmark = pytest.mark.usefixtures("may_exec")
FAILED = 255
"""As runc's, whatever it was that failed."""


@pytest.fixture
def running(host: Double, tmp_path: Path) -> Iterator[Bundle]:
    """A container that runs, with a mask of its own for new files."""
    bundle = Bundle(host, tmp_path)
    bundle.config["process"]["user"]["umask"] = 0o27
    process = bundle.popen("echo ready; read x")
    yield bundle
    bundle.runx("delete", "--force", "c")
    process.communicate(timeout=LIMIT_S)


def execute(bundle: Bundle, *words: str) -> "subprocess.CompletedProcess[bytes]":
    return bundle.runx("exec", *words, stdin=b"")


UNABLE = b"runx: exec failed: unable to start container process: "


@pytest.mark.parametrize(
    ("words", "status", "message"),
    [
        (("c", ""), 127, UNABLE + b'exec: "": executable file not found in $PATH'),
        (("c", "nosuch"), 127, UNABLE + b'exec: "nosuch": executable file not found in $PATH'),
        (("c", "/etc/passwd"), 126, UNABLE + b'exec: "/etc/passwd": permission denied'),
        (("--cwd", "/no", "c", "true"), FAILED, UNABLE + b'chdir to cwd ("/no") set in config.json failed: no such file'),
        (("--cwd", "no", "c", "true"), FAILED, b"runx: --cwd: must be an absolute path, not 'no'"),
        (("--user", "4294967295", "c", "true"), FAILED, UNABLE + b"setuid: invalid argument"),
        (("--detach", "--cwd", "/no", "c", "true"), FAILED, UNABLE + b"chdir to cwd"),
        (("none", "true"), FAILED, b'runx: container "none" does not exist'),
        (("--preserve-fds", "1", "c", "true"), 1, b"runx: --preserve-fds: a virtual machine cannot be given"),
    ],
)
def test_what_fails(running: Bundle, words: tuple[str, ...], status: int, message: bytes) -> None:
    result = execute(running, *words)
    assert (result.returncode, result.stdout) == (status, b""), result
    assert result.stderr.startswith(message), result


def test_a_file_says_it_all(running: Bundle, tmp_path: Path) -> None:
    """An option beside it would be lost without a word. What the file leaves out is the container's."""
    file = str(tmp_path / "process.json")
    Path(file).write_text(json.dumps({"args": ["sh", "-c", "umask"], "cwd": "/", "env": ["PATH=/bin"]}))
    for option in (("--cwd", "/"), ("--user", "5"), ("--env", "A=b"), ("--additional-gids", "5"), ("--cap", "CAP_KILL")):
        result = execute(running, *option, "--process", file, "c")
        assert result.returncode == FAILED
        assert result.stderr.startswith(f"runx: exec: {option[0]} has no effect with --process".encode())
    result = execute(running, "--process", file, "c")
    assert (result.returncode, result.stdout) == (0, b"0027\n"), result


def test_an_unknown_capability_is_a_warning(running: Bundle) -> None:
    """In the log, or on standard error without one."""
    words = ["exec", "--cap", "CAP_NEW", "--apparmor", "p", "c", "true"]
    result = running.runx(*words)
    assert (result.returncode, result.stderr) == (0, b"")
    warning = "exec: --cap CAP_NEW, which Linux does not have, is ignored"
    assert warning in (running.directory / "log").read_text()
    argv = running.argv(*words)
    at = argv.index("--log")
    result = running.host.run([*argv[:at], *argv[at + 4 :]], timeout=LIMIT_S)
    said = f"runx: warning: {warning}\nrunx: warning: exec: --apparmor is ignored: the virtual machine is the boundary\n"
    assert (result.returncode, result.stderr.decode()) == (0, said)


def test_standard_input_that_is_a_directory(running: Bundle, tmp_path: Path) -> None:
    """It has nothing to read. Python would not even start."""
    directory = os.open(tmp_path, os.O_RDONLY)
    argv = running.argv("exec", "c", "sh", "-c", "cat; exit 5")
    process = running.host.popen(argv, stdin=directory, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    os.close(directory)
    said = process.communicate(timeout=LIMIT_S)
    assert (process.returncode, *said) == (5, b"", b"")


@pytest.mark.parametrize("options", [(), ("--detach",)], ids=["attached", "detached"])
def test_a_pid_file_that_cannot_be_written_leaves_no_process(running: Bundle, options: tuple[str, ...]) -> None:
    result = execute(running, *options, "--pid-file", "/no/such/place", "c", "sleep", "1000")  # which would hold our pipes
    assert (result.returncode, result.stderr) == (
        FAILED,
        b"runx: cannot write the pid file /no/such/place: no such file or directory\n",
    )
    until(lambda: b"sleep 1000" not in running.runx("ps", "c", check=True).stdout)


def test_processes_are_listed_when_there_is_no_room_for_another(running: Bundle) -> None:
    """Who looks at that wants to know what they are."""
    many = f'for i in $(seq {PROCESSES_MOST}); do "$@" > /dev/null 2>&1 || exit; done'  # they would hold our pipes
    argv = running.argv("exec", "--detach", "c", "sleep", "1000")
    running.host.run(["sh", "-c", many, "sh", *argv], check=True, timeout=LIMIT_S, stdin=b"")
    assert execute(running, "c", "true").returncode == FAILED
    listed = running.runx("ps", "c", check=True).stdout.decode()
    assert listed.count("sleep 1000") == PROCESSES_MOST, listed


LATE = "(sleep 1; echo late; echo went on > /tmp/late) & echo now; exit 4"


def test_output_that_others_hold_is_waited_for(running: Bundle, tmp_path: Path) -> None:
    """As runc's exec does. A signal ends the waiting, with the status of the process."""
    result = execute(running, "c", "sh", "-c", LATE)
    assert (result.returncode, result.stdout) == (4, b"now\nlate\n"), result
    argv = running.argv("exec", "--pid-file", str(tmp_path / "pid"), "c", "sh", "-c", "sleep 1000 & exit 5")
    process = running.host.popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    until(lambda: "has ended with status 5, and others use its output" in (running.directory / "log").read_text())
    running.host.run(["kill", "-TERM", (tmp_path / "pid").read_text()], check=True)
    assert process.communicate(timeout=LIMIT_S)[0] == b"" and process.returncode == 5


def test_a_detached_process_and_output_that_others_hold(running: Bundle, tmp_path: Path) -> None:
    """The engine's child ends with the process; what the others write comes as long as the engine reads it."""
    read_end, write_end = os.pipe()
    words = ("--detach", "--pid-file", str(tmp_path / "pid"), "c", "sh", "-c", LATE)
    argv = running.argv("exec", *words)
    running.host.popen(argv, stdin=subprocess.DEVNULL, stdout=write_end, stderr=subprocess.DEVNULL).wait(LIMIT_S)
    os.close(write_end)
    carrier = (tmp_path / "pid").read_text()
    with open(read_end, "rb") as output:
        assert output.readline() == b"now\n"
        until(lambda: running.host.run(["kill", "-0", carrier]).returncode)
        assert output.read() == b"late\n"
    assert execute(running, "c", "cat", "/tmp/late").stdout == b"went on\n"
    assert running.runx("ps", "--format", "json", "c", check=True).stdout.count(b",") == 0, "the supervisor alone"
