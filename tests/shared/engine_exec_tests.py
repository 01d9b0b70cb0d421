"""What processes of exec have to stand, by an engine at the machine's own speed; `engine` is as in engine_tests."""

import fcntl
import os
import pty
import struct
import termios
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from engine_tests import started
from exec_setting import may_exec  # noqa: F401  # a fixture
from runxtools.machine import Machine
from runxtools.testing.containers import LIMIT_S, removed, until

MOST = 64
"""Processes by exec in a container."""


@pytest.fixture
def container(host: Machine, engine: list[str], may_exec: None) -> Iterator[str]:  # noqa: F811
    """A container that runs until the test has ended."""
    name = started(host, engine)
    yield name
    removed(host, engine, name)


def set_size(fd: int, rows: int, columns: int) -> None:
    fcntl.ioctl(fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))


def until_said(fd: int, text: bytes, meanwhile: Callable[[], object] = lambda: None) -> bytes:
    """What a terminal says, until it has said this. meanwhile: is called before each read."""
    said, limit = b"", time.monotonic() + LIMIT_S
    while text not in said:
        assert time.monotonic() < limit, said
        meanwhile()
        try:
            said += os.read(fd, 4096)
        except OSError:
            raise AssertionError(said) from None
    return said


def test_exec_follows_the_size_of_the_terminal(host: Machine, engine: list[str], container: str) -> None:
    """When the process starts, or soon after; and when the engine's terminal has another size later."""
    master, slave = pty.openpty()
    set_size(slave, 33, 101)
    script = "trap 'stty size' WINCH; echo ready; while :; do stty size; sleep 0.2; done"
    words = [*engine, "exec", "-it", container, "/bin/sh", "-c", script]
    process = host.popen(words, stdin=slave, stdout=slave, stderr=slave, start_new_session=True)
    os.close(slave)
    try:
        until_said(master, b"33 101\r\n")
        set_size(master, 44, 55)  # which tells only processes whose own terminal it is
        client = ["sh", "-c", f'kill -WINCH $(pgrep -f "exec -it {container}" | grep -vx $$)']
        until_said(master, b"44 55\r\n", lambda: host.run(client))  # a client may not listen yet when the process runs
        os.write(master, b"\x03")  # the terminal in the guest makes it a signal
        process.wait(LIMIT_S)
        assert process.returncode == 130
    finally:
        process.kill()
        process.wait(LIMIT_S)
        os.close(master)


def test_exec_carries_much(host: Machine, engine: list[str], container: str, scratch: str) -> None:
    """Any bytes, in and out; and an end of either side before the other's."""
    host.run(["sh", "-c", f"head -c 3000000 /dev/urandom > {scratch}/data"], check=True)
    both = f'"$@" cat < {scratch}/data | cmp - {scratch}/data'
    result = host.run(["sh", "-c", both, "sh", *engine, "exec", "-i", container], timeout=LIMIT_S)
    assert (result.returncode, result.stdout) == (0, b""), result
    unread = f'head -c 1000000 {scratch}/data | "$@" true; echo $?'
    result = host.run(["sh", "-c", unread, "sh", *engine, "exec", "-i", container], timeout=LIMIT_S)
    assert result.stdout == b"0\n", result
    result = host.run(["sh", "-c", '"$@" | head -n 2', "sh", *engine, "exec", container, "seq", "300000"], timeout=LIMIT_S)
    assert result.stdout == b"1\n2\n", result


def test_without_input_it_is_the_null_device(host: Machine, engine: list[str], container: str) -> None:
    look = ["/bin/sh", "-c", "readlink /proc/self/fd/0 >> /tmp/stdin; exec sleep 1000"]
    host.run([*engine, "exec", "--detach", container, *look], check=True, timeout=LIMIT_S)
    read = ["/bin/sh", "-c", "cat /tmp/stdin; readlink /proc/self/fd/0"]
    until(lambda: host.run([*engine, "exec", container, *read], timeout=LIMIT_S).stdout == b"/dev/null\n" * 2)


def test_no_more_than_there_may_be(host: Machine, engine: list[str], container: str) -> None:
    def sleep() -> int:
        return host.run([*engine, "exec", "--detach", container, "sleep", "1000"], timeout=LIMIT_S).returncode

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda _: sleep(), range(MOST))) == [0] * MOST
    refused = host.run([*engine, "exec", container, "true"], timeout=LIMIT_S)
    assert refused.returncode, refused
    assert b"64 processes run by exec already" in refused.stdout + refused.stderr


def test_users_and_directories(host: Machine, engine: list[str], container: str) -> None:
    """Names that the engine looks up in the image; and errors that the guest alone finds."""

    def execute(*words: str) -> tuple[bytes, bytes, int]:
        result = host.run([*engine, "exec", *words], timeout=LIMIT_S)
        return result.stdout, result.stdout + result.stderr, result.returncode

    def said(*words: str) -> bytes:
        stdout, both, status = execute(*words)
        assert status == 0, both
        return stdout

    assert said("--user", "user", container, "id", "-un") == b"user\n"
    assert said("--user", "user:44", container, "id", "-g") == b"44\n"
    _, message, status = execute("--user", "nobody-at-all", container, "true")
    assert status and b"nobody-at-all" in message, message
    _, message, status = execute("--workdir", "/no/such/place", container, "true")
    assert status and b'chdir to cwd ("/no/such/place") set in config.json failed: no such file or directory' in message, message
    further = said("--privileged", container, "grep", "CapEff", "/proc/self/status")
    own = said(container, "grep", "CapEff", "/proc/1/status")
    assert further == own, "no more than the container's bounding set"
    show = ["/bin/sh", "-c", 'echo "$A.$EMPTY."']
    assert said("--env", "A=b=c\n d", "--env", "EMPTY=", container, *show) == b"b=c\n d..\n"


def test_processes_that_exec_leaves_behind(host: Machine, engine: list[str], container: str) -> None:
    """docker reads what they write, some seconds long; podman does not, under runc neither."""
    script = "(sleep 1; echo late; echo went on > /tmp/late) & echo now; exit 4"
    result = host.run([*engine, "exec", container, "/bin/sh", "-c", script], timeout=LIMIT_S)
    is_podman = "podman" in engine
    assert (result.returncode, result.stdout) == (4, b"now\n" if is_podman else b"now\nlate\n"), result
    if not is_podman:
        assert host.run([*engine, "exec", container, "cat", "/tmp/late"], timeout=LIMIT_S).stdout == b"went on\n"
