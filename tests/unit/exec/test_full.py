"""A dom0 that is full, and processes that are killed: no container ends for want of bookkeeping, and what is stopped is gone."""

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from commandhost import Host
from runx.errors import RunxError
from runx.exec.commands import delete
from runx.exec.console import frames as link
from runx.exec.container import record as records
from runx.exec.container.record import Record
from runx.exec.supervisor import loop, qemu_log
from runxtools.testing.hostile import HELLO, Conversation

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="file systems are mounted")


def fill(directory: Path) -> None:
    with (directory / "fill").open("wb", buffering=0) as file:
        for size in (65536, 4096, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                pass


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Path]:
    """A file system of 512 KiB."""
    place = tmp_path / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", place], check=True)
    yield place
    subprocess.run(["umount", "-l", place], check=True)


def a_record(directory: Path) -> Record:
    (directory / "c").mkdir()
    record = Record(str(directory / "c"))
    record.status = "running"
    record.save()
    return record


def test_the_log_has_room_and_ends_no_container(small: Path) -> None:
    """What a guest's kernel says last is kept; the rest is dropped."""
    with Conversation(small) as conversation:
        assert conversation.hear(HELLO + link.frame(link.STARTED)) is None
        fill(small)
        for _ in range(10):
            assert conversation.hear(link.frame(link.LOG, b"Out of memory: Killed process 7\n" * 100)) is None
        kept = (small / "console.log").read_bytes()
        assert kept.startswith(b"Out of memory") and 16384 <= len(kept) < 32000
        assert conversation.hear(link.frame(link.EXIT, b"\x07")) == 7


def test_no_log_without_room(small: Path) -> None:
    fill(small)
    with pytest.raises(RunxError, match=r"cannot make .*console.log: no space left"), Conversation(small):
        pass


def test_the_record_is_kept_in_its_reserve(small: Path) -> None:
    record = a_record(small)
    record.reserve()
    record.reserve()  # there is one
    fill(small)
    for status in ("paused", "running", "paused", "stopped"):
        record.status = status
        record.save()
        assert records.load(str(small), "c").status == status


def test_a_record_without_a_reserve_says_so_and_stays_whole(small: Path) -> None:
    record = a_record(small)
    record.log = str(small.parent / "log")
    fill(small)
    record.status = "paused"
    with pytest.raises(RunxError, match=r"cannot write .*record: no space left"):
        record.save()
    record.save_if_possible()
    assert "`state` may show an earlier state" in (small.parent / "log").read_text()
    assert records.load(str(small), "c").status == "running"


def test_create_fails_if_there_is_no_room_for_a_state(small: Path) -> None:
    record = a_record(small)
    fill(small)
    with pytest.raises(RunxError, match=r"no room for the container's state|cannot make .*reserve"):
        record.reserve()
    assert not (small / "c/reserve").exists()


def test_a_full_state_root_changes_no_container(host: Host, tmp_path: Path) -> None:
    """pause, resume and kill act, and `state` tells what they did."""
    host.root.mkdir(mode=0o700)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m,mode=700", "tmpfs", host.root], check=True)
    try:
        host.create()
        fill(host.root)
        for command, status in (("start", "running"), ("pause", "paused"), ("resume", "running")):
            assert host.runx(command, "c").returncode == 0
            assert host.state()["status"] == status
        assert host.runx("create", "--bundle", str(host.bundle), "d").returncode == 1, "there is no room for another one"
        assert host.state()["status"] == "running"
        assert host.runx("kill", "c", "KILL").returncode == 0
        host.await_status("stopped")
        assert host.runx("delete", "c").returncode == 0
        assert host.xen.domains() == {}
    finally:
        subprocess.run(["umount", "-l", host.root], check=True)


@pytest.mark.parametrize("command", [["state", "c"], ["list", "--format", "json"], ["kill", "c", "TERM"], ["kill", "c", "KILL"]])
def test_a_domain_without_a_supervisor_is_ended_by_the_next_command(host: Host, command: list[str]) -> None:
    pid = host.create()
    assert host.runx("start", "c").returncode == 0
    os.kill(pid, signal.SIGKILL)
    host.await_no_process()
    assert host.xen.domains() != {}
    result = host.runx(*command)
    assert host.xen.domains() == {}
    if command[0] == "state":
        assert json.loads(result.stdout)["status"] == "stopped"
    if command[0] == "list":
        assert [found["status"] for found in json.loads(result.stdout)] == ["stopped"]
    assert (result.returncode != 0) == (command[-1] == "TERM"), "of a stopped container, TERM is an error"
    assert host.runx("delete", "c").returncode == 0
    host.nothing_left()


def test_a_domain_that_cannot_be_ended_has_not_stopped(host: Host) -> None:
    pid = host.create()
    assert host.runx("start", "c").returncode == 0
    os.kill(pid, signal.SIGKILL)
    host.await_no_process()
    host.xen.fault("destroy", "libxl: error: no")
    result = host.runx("state", "c")
    assert result.returncode == 1 and "xl destroy failed" in result.stderr
    (host.xen.directory / "faults" / "destroy").unlink()
    assert host.state()["status"] == "stopped"


def test_an_xl_that_is_killed_ends_no_container(host: Host) -> None:
    host.create()
    assert host.runx("start", "c").returncode == 0
    xl = host.xen.directory / "bin" / "xl"
    whole = xl.read_text()
    first, _, rest = whole.partition("\n")
    xl.write_text(f'{first}\n[ "$1" = pause ] && kill -9 $$\n{rest}')
    result = host.runx("pause", "c")
    assert result.returncode == 1 and "xl pause was ended by signal 9" in result.stderr
    xl.write_text(whole)
    assert host.state()["status"] == "running"
    assert host.runx("pause", "c").returncode == 0


def test_logs_of_a_container_go_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those of other containers stay, whose names may begin in the same way."""
    (tmp_path / "console").mkdir()
    gone = ["qemu-dm-runx-a-1.log", "qemu-dm-runx-a-1.log.1", "xl-runx-a-1.log", "console/guest-runx-a-1.log"]
    stay = ["qemu-dm-runx-a-12.log", "qemu-dm-other.log", "xl-runx-a-1-b.log", "xenstored.log", "console/guest-runx-a-12.log"]
    for name in (*gone, *stay):
        (tmp_path / name).touch()
    monkeypatch.setattr(delete, "_LOGS", str(tmp_path))
    delete._remove_logs("runx-a-1")
    assert [name for name in (*gone, *stay) if (tmp_path / name).exists()] == stay
    monkeypatch.setattr(delete, "_LOGS", str(tmp_path / "none"))
    delete._remove_logs("runx-a-1")


def test_the_log_of_qemu_begins_anew_when_it_is_large(tmp_path: Path) -> None:
    """QEMU has it open for appending, and goes on."""
    path = tmp_path / "qemu.log"
    with path.open("ab", buffering=0) as of_qemu:
        part = qemu_log.QemuLog(str(path))
        of_qemu.write(b"x" * qemu_log.LIMIT)
        loop.turn([part])
        assert path.stat().st_size == qemu_log.LIMIT
        of_qemu.write(b"one more")
        part._look_at = 0.0
        loop.turn([part])
        of_qemu.write(b"and again")
        assert path.read_bytes() == b"and again"
    path.unlink()
    part._look_at = 0.0
    loop.turn([part])  # no log is no error
