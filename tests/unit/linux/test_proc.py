"""Processes, known by pid and start time."""

import os
import select
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from runx.linux import proc


@pytest.fixture
def child() -> Iterator["subprocess.Popen[bytes]"]:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as process:
        yield process
        process.kill()


def ended(descriptor: int) -> bool:
    poller = select.poll()
    poller.register(descriptor, select.POLLIN)
    return bool(poller.poll(0))


def test_a_live_process(child: "subprocess.Popen[bytes]") -> None:
    started = proc.start_time(child.pid)
    assert int(started) >= int(proc.start_time(os.getpid()))
    descriptor = proc.pidfd(child.pid, started)
    assert not ended(descriptor)
    assert proc.pidfd(child.pid, str(int(started) - 1)) == -1, "another process had the number before"
    child.kill()
    child.wait()
    assert ended(descriptor)
    os.close(descriptor)


def test_a_zombie_has_ended(child: "subprocess.Popen[bytes]") -> None:
    started = proc.start_time(child.pid)
    child.kill()
    os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
    assert (proc.stat(child.pid), proc.start_time(child.pid), proc.pidfd(child.pid, started)) == ([], "", -1)


@pytest.mark.parametrize("pid", [-1, 0, 2**22 + 1])
def test_no_process(pid: int) -> None:
    assert (proc.start_time(pid), proc.pidfd(pid, "1"), proc.pidfd(pid, "")) == ("", -1, -1)


def test_a_name_that_looks_like_fields(tmp_path: Path) -> None:
    name = ") Z 1 (x"
    (tmp_path / name).symlink_to("/bin/sleep")
    with subprocess.Popen([tmp_path / name, "60"]) as process:
        try:
            assert proc.stat(process.pid)[0] in (b"R", b"S", b"D")
            assert proc.stat(process.pid)[1] == str(os.getpid()).encode(), "its parent"
        finally:
            process.kill()


_FORKING = """
import os, sys, time
from runx.linux import proc
parent = os.getpid()
pid = os.fork()
if pid == 0:
    proc.die_with_parent(parent, 9)
    print(os.getpid(), flush=True)
    time.sleep(1000)
sys.stdin.read(1)
os._exit(0)
"""


def test_a_child_that_dies_with_its_parent() -> None:
    words = [sys.executable, "-c", _FORKING]
    with subprocess.Popen(words, cwd=Path(__file__).parents[3], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None and parent.stdin is not None
        pid = int(parent.stdout.readline())
        started = proc.start_time(pid)
        child = proc.pidfd(pid, started)
        assert child >= 0
        parent.stdin.close()
        poller = select.poll()
        poller.register(child, select.POLLIN)
        assert poller.poll(60_000), "it outlives its parent"
        os.close(child)


def test_a_parent_that_has_died_before() -> None:
    with pytest.raises(ProcessLookupError):
        proc.die_with_parent(2**22 + 1, 0)
