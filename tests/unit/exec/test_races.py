"""Commands at the same time, and an xl that hangs: one wins, the others say why not, and nothing is left."""

import _signal
import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from commandhost import Host
from runx.errors import RunxError
from runx.exec.commands.delete import _end_supervisor
from runx.exec.commands.kill import _end
from runx.exec.container import record as records
from runx.linux.proc import start_time

CLEAR = (
    "already exists", "does not exist", "that is not stopped", "container not running", "container in the",
    "the supervisor ended before the container was created",
)  # fmt: skip
"""What a command may say that came too early or too late."""


def ends(processes: list["subprocess.Popen[str]"]) -> list[tuple[int, str]]:
    """Exit status and errors of each. A supervisor keeps its end of the pipe: there is no end to wait for."""
    found = []
    for process in processes:
        status = process.wait(timeout=120)
        assert process.stderr is not None
        os.set_blocking(process.stderr.fileno(), False)
        try:
            said = os.read(process.stderr.fileno(), 65536)
        except BlockingIOError:  # nothing, by a `create` whose supervisor has the pipe
            said = b""
        found.append((status, said.decode()))
        process.stderr.close()
    return found


def clear(found: list[tuple[int, str]]) -> None:
    for status, said in found:
        assert status == 0 or (status == 1 and any(words in said for words in CLEAR)), (status, said)
        assert "Traceback" not in said and "internal error" not in said, said


def test_one_create_wins(host: Host) -> None:
    found = ends([host.popen("create", "-b", str(host.bundle), "c") for _ in range(6)])
    assert sorted(status for status, _ in found) == [0, 1, 1, 1, 1, 1], found
    assert all("already exists" in said for status, said in found if status), found
    assert host.state()["status"] == "created"
    assert len(host.xen.domains()) == 1
    assert host.runx("delete", "--force", "c").returncode == 0
    host.nothing_left()
    host.await_no_process()


def test_one_start_wins(host: Host) -> None:
    host.create()
    found = ends([host.popen("start", "c") for _ in range(5)])
    assert sorted(status for status, _ in found) == [0, 1, 1, 1, 1], found
    assert all("cannot start a container in the running state" in said for status, said in found if status), found
    assert [call[0] for call in host.xen.calls()].count("unpause") == 1


@pytest.mark.parametrize("started", [False, True])
def test_start_kill_and_delete_race(host: Host, started: bool) -> None:
    host.create()
    if started:
        assert host.runx("start", "c").returncode == 0
    lines = ("kill c KILL", "start c", "delete c", "delete --force c", "kill c TERM", "state c")
    words = [line.split() for line in lines]
    found = ends([host.popen(*command) for command in words * 2])
    clear(found)
    assert all(status == 0 for command, (status, _) in zip(words * 2, found, strict=True) if "--force" in command), found
    host.nothing_left()
    host.await_no_process()


def test_create_and_forced_delete_race(host: Host) -> None:
    for _ in range(3):
        commands = [["create", "-b", str(host.bundle), "c"], ["delete", "--force", "c"], ["list"]]
        found = ends([host.popen(*command) for command in commands * 2])
        # A `create` without a supervisor yet is what the other ends then: with SIGKILL, as whatever hangs.
        clear([end for command, end in zip(commands * 2, found, strict=True) if (command[0], end[0]) != ("create", -9)])
        assert host.runx("delete", "--force", "c").returncode == 0
        host.nothing_left()
    host.await_no_process()


@pytest.fixture
def supervisor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[records.Record]:
    """The record of a process that is alive when it is looked for, and has been waited for when it is sent a signal."""
    process = subprocess.Popen(["sleep", "1000"])
    send = _signal.pidfd_send_signal

    def too_late(pidfd: int, number: int) -> None:
        process.kill()
        process.wait()
        send(pidfd, number)

    monkeypatch.setattr(_signal, "pidfd_send_signal", too_late)
    record = records.Record(str(tmp_path))
    record.pid = process.pid
    record.pid_start = start_time(process.pid)
    yield record
    process.kill()
    process.wait()


def test_a_supervisor_that_somebody_else_has_just_ended(supervisor: records.Record) -> None:
    _end_supervisor(supervisor, 0)
    assert not supervisor.supervised()


def test_kill_is_later_than_the_end(supervisor: records.Record) -> None:
    with pytest.raises(RunxError, match="container not running"):
        _end(supervisor)


def test_two_deletes_of_a_stopped_container(host: Host) -> None:
    host.create()
    assert host.runx("kill", "c", "KILL").returncode == 0
    host.await_status("stopped")
    found = ends([host.popen("delete", "c") for _ in range(4)])
    assert sorted(status for status, _ in found) == [0, 1, 1, 1], found
    clear(found)
    host.nothing_left()


def test_an_id_used_once_more_is_not_what_a_late_delete_removes(host: Host) -> None:
    """It saw a stopped container, and waited for the lock until another had that name."""
    host.create()
    assert host.runx("kill", "c", "KILL").returncode == 0
    host.await_status("stopped")
    lock = records.lock(records.load(str(host.root), "c"))
    late = host.popen("delete", "c")
    waits(late.pid)
    records.remove(records.load(str(host.root), "c"))
    host.create()
    os.close(lock)
    ((status, said),) = ends([late])
    assert (status, "does not exist" in said) == (1, True), said
    assert host.state()["status"] == "created"


def waits(pid: int) -> None:
    """Until it waits for the container's lock (proc(5), locks), or for the end of a process."""
    while True:
        assert start_time(pid), "it has ended"
        locks = Path("/proc/locks").read_text().splitlines()
        if any("->" in line and f" {pid} " in line for line in locks) or "anon_inode:[pidfd]" in descriptors(pid):
            return
        time.sleep(0.01)


def descriptors(pid: int) -> list[str]:
    found = []
    for fd in Path(f"/proc/{pid}/fd").glob("*"):
        with contextlib.suppress(FileNotFoundError):
            found.append(os.readlink(fd))
    return found


def test_another_process_with_the_supervisors_number_is_left_alone(host: Host) -> None:
    pid = host.create()
    os.kill(pid, signal.SIGKILL)
    host.await_status("stopped")
    with subprocess.Popen(["sleep", "1000"]) as stranger:
        record = records.load(str(host.root), "c")
        record.pid = stranger.pid
        record.save()
        assert host.state()["status"] == "stopped"
        assert host.runx("kill", "c", "TERM").stderr == "runx: container not running\n"
        assert host.runx("delete", "--force", "c").returncode == 0
        assert stranger.poll() is None
        stranger.kill()
    host.nothing_left()


# ---- an xl that hangs


def test_a_hanging_xl_create_is_ended(host: Host) -> None:
    host.supervise_through(patch="from runx.exec.xen import xl; xl.CREATE_TIMEOUT_S = 1.0")
    host.xen.hold("create")
    result = host.runx("create", "-b", str(host.bundle), "c")
    assert result.returncode == 1
    assert "xl create did not end within 1 s" in result.stderr
    host.nothing_left()
    host.await_no_process()


def test_a_hanging_xl_unpause_is_ended(host: Host) -> None:
    host.supervise_through(patch="from runx.exec.xen import xl; xl.TIMEOUT_S = 1.0")
    host.create()
    host.xen.hold("unpause")
    result = host.runx("start", "c")
    assert (result.returncode, "xl unpause did not end within 1 s" in result.stderr) == (1, True), result.stderr
    assert host.state()["status"] == "created"


def test_a_hanging_xl_destroy_is_ended(host: Host) -> None:
    host.create()
    host.xen.hold("destroy")
    program = host.program
    host.program = f"import sys; sys.path[:0] = {host.library!r}; from runx.exec.xen import xl; xl.TIMEOUT_S = 1.0; {program}"
    for command in (["kill", "c", "KILL"], ["delete", "--force", "c"]):
        result = host.runx(*command)
        assert (result.returncode, "xl destroy did not end within 1 s" in result.stderr) == (1, True), result.stderr
    (host.xen.directory / "held/destroy").unlink()
    host.program = program
    assert host.runx("delete", "--force", "c").returncode == 0
    host.nothing_left()


def test_a_supervisor_that_hangs_is_told_of(host: Host) -> None:
    pid = host.create()
    os.kill(pid, signal.SIGSTOP)
    try:
        program = host.program
        patch = "from runx.exec.supervisor import control; control.ANSWER_TIMEOUT_S = 1"
        host.program = f"import sys; sys.path[:0] = {host.library!r}; {patch}; {program}"
        result = host.runx("start", "c")
        assert (result.returncode, "did not answer within 1 s" in result.stderr) == (1, True), result.stderr
    finally:
        os.kill(pid, signal.SIGCONT)


@pytest.mark.parametrize("victim", ["create", "supervisor", "both", "nobody"])
def test_what_is_killed_while_xl_creates_leaves_no_domain_later(host: Host, victim: str) -> None:
    """xl goes on; `delete --force` waits for it, since only then can what it made be found."""
    host.xen.hold("create")
    create = host.popen("create", "-b", str(host.bundle), "c")
    host.xen.await_call("create")
    if victim in ("create", "both"):
        create.kill()
        create.wait()
    if victim in ("supervisor", "both"):
        os.kill(records.load(str(host.root), "c").pid, signal.SIGKILL)
    delete = host.popen("delete", "--force", "c")
    waits(delete.pid)
    host.xen.release("create")
    ((status, said),) = ends([delete])
    assert (status, said) == (0, "")
    create.wait()
    host.nothing_left()
    host.await_no_process()
    host.nothing_left()
