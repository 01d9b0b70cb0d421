"""The lab itself: what a command gets and gives back, files both ways, and that a leak would be seen."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from runxtools.lab.lab import Lab
from runxtools.lab.leaks import inventory, leaks

PROGRAM = Path(__file__).parents[2] / "tools" / "lab"
PRINT_ARGUMENTS = "import os, sys; sys.stdout.buffer.write(b'\\0'.join(map(os.fsencode, sys.argv[1:])))"
EVERY_BYTE = bytes(range(1, 256))


class Program:
    """tools/lab, for the lab of this process."""

    def __init__(self, lab: Lab) -> None:
        self._words = [sys.executable, str(PROGRAM), *lab.kind.options.split()]

    def __call__(self, *argv: str | bytes, stdin: bytes = b"") -> "subprocess.CompletedProcess[bytes]":
        return subprocess.run([*self._words, *argv], input=stdin, capture_output=True, timeout=120, check=False)


@pytest.fixture
def program(lab: Lab) -> Program:
    return Program(lab)


@pytest.mark.parametrize(
    "argument",
    [b"", b" ", b"two words", b"'", b'"', b"\\", b"$HOME `id` $(id)", b"*", b"-n", b"--", b"a\nb\n", EVERY_BYTE],
)
def test_arguments_arrive_as_they_are(program: Program, argument: bytes) -> None:
    result = program("run", "--", "python3", "-c", PRINT_ARGUMENTS, argument, b"last")
    assert (result.returncode, result.stderr) == (0, b"")
    assert result.stdout == argument + b"\0last"


@pytest.mark.parametrize(
    ("command", "status"),
    [
        (["true"], 0),
        (["sh", "-c", "exit 77"], 77),
        (["sh", "-c", "kill -KILL $$"], 128 + 9),
        (["sh", "-c", "kill -TERM $$"], 128 + 15),
        (["no-such-program"], 127),
        (["/etc/passwd"], 126),
        (["cd", "/"], 127),  # a shell's builtin is no program
    ],
)
def test_exit_status(program: Program, command: list[str], status: int) -> None:
    result = program("run", "--", *command)
    assert result.returncode == status
    # A shell in between must not add its own remarks ("Killed").
    assert (result.stderr == b"") == (status not in (126, 127))


def test_streams_are_byte_exact(program: Program) -> None:
    data = os.urandom(300_000) + EVERY_BYTE
    result = program("run", "--", "sh", "-c", "tee /dev/stderr", stdin=data)
    assert result.stdout == data
    assert result.stderr == data


def test_python_calls_do_the_same(lab: Lab) -> None:
    result = lab.run(["sh", "-c", 'cat; printf %s "$1" >&2; exit 3', "sh", b"\xff'"], stdin=b"in\0put")
    assert (result.returncode, result.stdout, result.stderr) == (3, b"in\0put", b"\xff'")


def test_a_command_over_its_time_is_killed_in_dom0(lab: Lab, scratch: str) -> None:
    with pytest.raises(subprocess.TimeoutExpired):
        lab.run(["sh", "-c", 'echo $$ >"$1/pid"; exec sleep 1000', "sh", scratch], timeout=2)
    pid = lab.run(["cat", f"{scratch}/pid"], check=True).stdout.decode().strip()
    assert lab.run(["test", "-d", f"/proc/{pid}"]).returncode == 1


def test_files_go_in_and_come_back(program: Program, lab: Lab, scratch: str, tmp_path: Path) -> None:
    source = tmp_path / "source dir"
    (source / "below").mkdir(parents=True)
    (source / "below" / "odd 'name'").write_bytes(EVERY_BYTE)
    (source / "program").write_text("#!/bin/sh\necho it runs\n")
    (source / "program").chmod(0o751)
    (source / "link").symlink_to("nowhere")

    assert program("put", str(source), f"{scratch}/new name").returncode == 0
    assert lab.run([f"{scratch}/new name/program"], check=True).stdout == b"it runs\n"
    assert program("put", str(source), scratch).returncode == 0  # into a directory that is there
    assert lab.run(["test", "-L", f"{scratch}/source dir/link"]).returncode == 0

    assert program("get", f"{scratch}/new name", str(tmp_path / "back")).returncode == 0
    assert (tmp_path / "back" / "below" / "odd 'name'").read_bytes() == EVERY_BYTE
    assert (tmp_path / "back" / "program").stat().st_mode & 0o7777 == 0o751
    assert (tmp_path / "back" / "link").readlink() == Path("nowhere")


ANSWER = """
import socket, sys
with socket.socket(socket.AF_UNIX) as server:
    server.bind(sys.argv[1])
    server.listen()
    print("ready", flush=True)
    client, _ = server.accept()
    client.sendall(client.recv(100).upper())
"""


def test_a_socket_of_dom0_is_reached(lab: Lab, scratch: str) -> None:
    with lab.popen(["python3", "-c", ANSWER, f"{scratch}/socket"], stdout=subprocess.PIPE) as server:
        assert server.stdout is not None
        assert server.stdout.readline() == b"ready\n"
        with lab.socket(f"{scratch}/socket") as path, socket.socket(socket.AF_UNIX) as client:
            client.settimeout(120)
            client.connect(str(path))
            client.sendall(b"hello")
            assert client.recv(100) == b"HELLO"
        assert not path.parent.exists()
    assert server.returncode == 0


def test_copying_what_is_not_there(program: Program, tmp_path: Path) -> None:
    for command in (["put", str(tmp_path / "absent"), "/tmp"], ["get", "/absent", str(tmp_path)]):
        result = program(*command)
        assert result.returncode == 125
        assert b"absent" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_clock(lab: Lab) -> None:
    """A restored machine would be behind by all the time since it was saved."""
    here = int(subprocess.run(["date", "+%s"], capture_output=True, check=True).stdout)
    assert abs(int(lab.run(["date", "+%s"], check=True).stdout) - here) < 60


def test_leaks_are_seen(lab: Lab, scratch: str) -> None:
    before = inventory(lab)
    expected = {"backend console/9999", f"mount left-over {scratch} tmpfs"}
    lab.run(["mount", "-t", "tmpfs", "left-over", scratch], check=True)
    lab.run(["xenstore-write", "/local/domain/0/backend/console/9999", ""], check=True)
    try:
        assert expected <= set(leaks(lab, before, limit_s=0))
    finally:
        lab.run(["umount", scratch], check=True)
        lab.run(["xenstore-rm", "/local/domain/0/backend/console/9999"], check=True)
    assert not expected & inventory(lab)


def test_a_terminal(lab: Lab) -> None:
    """Also from a program that has none."""
    with lab.popen(["tty"], tty=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        output, _ = process.communicate(timeout=60)
    assert output.startswith(b"/dev/pts/")


def test_the_test_image_runs(lab: Lab) -> None:
    """With runc, as the floor that runx is compared with."""
    result = lab.run(["ctr", "run", "--rm", "localhost/runx-test:latest", "lab-test", "cat", "/etc/motd"], check=True)
    assert result.stdout == b"runx test image\n"
