"""Locks of guests hold against each other and against the host."""

import fcntl
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from runx.exec.ninep.nodes import Rules
from runxtools.ninep.client import Client
from runxtools.testing.nineclient import served

READ, WRITE, UNLOCK, WAITS = 0, 1, 2, 1
TRY = """
import fcntl, sys
file = open(sys.argv[1], sys.argv[2])
try:
    if sys.argv[3] == "flock":
        fcntl.flock(file, fcntl.LOCK_NB | (fcntl.LOCK_EX if sys.argv[2] == "r+" else fcntl.LOCK_SH))
    else:
        kind = fcntl.LOCK_EX if sys.argv[2] == "r+" else fcntl.LOCK_SH
        fcntl.lockf(file, fcntl.LOCK_NB | kind, int(sys.argv[5]), int(sys.argv[4]))
except BlockingIOError:
    sys.exit(5)
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    place = tmp_path / "share"
    place.mkdir()
    (place / "file").write_bytes(bytes(100))
    return place / "file"


@pytest.fixture
def client(file: Path) -> Iterator[Client]:
    with served(file.parent) as client:
        yield client.begin()


def host_gets(file: Path, mode: str = "r+", how: str = "fcntl", start: int = 0, length: int = 0) -> bool:
    """Whether another process of the host gets such a lock."""
    argv = [sys.executable, "-IS", "-c", TRY, str(file), mode, how, str(start), str(length)]
    code = subprocess.run(argv, timeout=60).returncode
    assert code in (0, 5)
    return code == 0


def opened(client: Client, name: bytes = b"file") -> int:
    return client.open(name, flags=os.O_RDWR)


def test_ranges_against_the_host(file: Path, client: Client) -> None:
    fid = opened(client)
    assert client.lock(fid, WRITE, 10, 10)
    assert not host_gets(file, start=15, length=1)
    assert host_gets(file, start=20, length=1)
    assert host_gets(file, how="flock"), "a lock of a part is none of flock(2)"
    assert client.lock(fid, READ, 10, 10)
    assert host_gets(file, "r", start=10, length=10)
    assert not host_gets(file, start=10, length=10)
    assert client.lock(fid, UNLOCK, 10, 5)
    assert host_gets(file, start=10, length=5)
    assert not host_gets(file, start=15, length=5)


def test_whole_files_against_the_host(file: Path, client: Client) -> None:
    fid = opened(client)
    assert client.lock(fid, WRITE)
    assert not host_gets(file)
    assert not host_gets(file, how="flock")
    assert client.lock(fid, READ), "to one that others may have, too"
    assert host_gets(file, "r", how="flock")
    assert host_gets(file, "r")
    assert not host_gets(file, how="flock")
    assert client.lock(fid, UNLOCK)
    assert host_gets(file)
    assert host_gets(file, how="flock")


def test_the_hosts_locks_are_in_the_way(file: Path, client: Client) -> None:
    fid = opened(client)
    with file.open("r+") as ours:
        fcntl.flock(ours, fcntl.LOCK_SH)
        assert not client.lock(fid, WRITE)
        assert client.lock(fid, READ)
        fcntl.flock(ours, fcntl.LOCK_UN)
        assert client.lock(fid, WRITE)
        assert client.lock(fid, UNLOCK)
        fcntl.lockf(ours, fcntl.LOCK_EX, 10, 50)
        assert not client.lock(fid, READ)
        assert host_gets(file, how="flock"), "nothing is left of the attempt"
        assert client.getlock(fid, READ, 0, 100)[:3] == (WRITE, 50, 10)
        assert client.getlock(fid, READ, 0, 50)[0] == UNLOCK
        assert client.getlock(fid, UNLOCK, 0, 100)[:3] == (WRITE, 50, 10), "what Linux's client sends for F_GETLK"
        assert client.getlock(fid, UNLOCK, 0, 50)[0] == UNLOCK
        assert client.lock(fid, READ, 0, 50)


def test_what_may_be_in_the_way_without_a_type(file: Path, client: Client) -> None:
    """Linux's client asks so. What is open for reading alone asks for a lock for reading."""
    writes, reads = opened(client), client.open(b"file")
    with file.open("r+") as ours:
        fcntl.lockf(ours, fcntl.LOCK_SH, 10, 50)
        assert client.getlock(writes, UNLOCK, 0, 100)[:3] == (READ, 50, 10)
        assert client.getlock(reads, UNLOCK, 0, 100)[0] == UNLOCK
        fcntl.lockf(ours, fcntl.LOCK_EX, 10, 50)
        assert client.getlock(reads, UNLOCK, 0, 100)[:3] == (WRITE, 50, 10)


def test_an_attempt_that_fails_keeps_what_there_was(file: Path, client: Client) -> None:
    fid = opened(client)
    assert client.lock(fid, READ)
    with file.open("r+") as ours:
        fcntl.lockf(ours, fcntl.LOCK_SH)
        assert not client.lock(fid, WRITE)
    assert not host_gets(file), "the lock for reading is still there"
    assert not host_gets(file, how="flock")


def test_two_guests(file: Path, client: Client) -> None:
    with served(file.parent) as other:
        other.begin()
        mine, theirs = opened(client), opened(other)
        for start, length in ((0, 0), (5, 5)):
            assert client.lock(mine, WRITE, start, length)
            assert not other.lock(theirs, WRITE, start, length)
            assert not other.lock(theirs, READ, start, length)
            assert client.lock(mine, UNLOCK, start, length)
            assert other.lock(theirs, WRITE, start, length)
            assert other.lock(theirs, UNLOCK, start, length)


def test_a_database_with_a_log_is_one_machines(file: Path, client: Client) -> None:
    """SQLite asks what is in the way of a lock for writing, takes it, and has one for reading as long as it is there."""
    shm = file.rename(file.with_name("db-shm"))
    with served(file.parent) as other:
        other.begin()
        mine, second, theirs = (opened(guest, b"db-shm") for guest in (client, client, other))
        assert client.getlock(mine, UNLOCK, 128, 1)[0] == UNLOCK
        for kind in (WRITE, READ):
            assert client.lock(mine, kind, 128, 1)
        assert client.lock(second, READ, 128, 1, process=2), "of the same machine"
        assert client.getlock(second, UNLOCK, 128, 1)[0] == UNLOCK
        assert other.getlock(theirs, UNLOCK, 128, 1)[:3] == (WRITE, 128, 1)
        for kind in (WRITE, READ):
            assert not other.lock(theirs, kind, 128, 1)
        assert not host_gets(shm, "r", start=128, length=1)
        assert other.lock(theirs, READ, 120, 8), "other ranges are others' too"
        assert client.lock(mine, UNLOCK)
        assert not other.lock(theirs, READ, 128, 1), "the second process is still there"
        client.clunk(second)
        assert other.lock(theirs, READ, 128, 1)
        assert not client.lock(mine, READ, 128, 1)
        assert other.lock(theirs, UNLOCK, 128, 1)
        with shm.open("r+") as ours:
            fcntl.lockf(ours, fcntl.LOCK_SH, 1, 128)
            assert not client.lock(mine, READ, 128, 1), "the host uses it"
        assert client.lock(mine, READ, 128, 1)
        client.version()
        assert other.lock(theirs, READ, 128, 1)


def test_more_users_of_a_database_than_there_may_be(file: Path, client: Client) -> None:
    file.rename(file.with_name("db-shm"))
    fid = opened(client, b"db-shm")
    with pytest.raises(OSError, match="No locks available"):
        for process in range(10000):
            assert client.lock(fid, READ, 128, 1, process=process)


def test_that_byte_of_other_files_is_as_any_other(file: Path, client: Client) -> None:
    with served(file.parent) as other:
        other.begin()
        assert client.lock(opened(client), READ, 128, 1)
        assert other.lock(opened(other), READ, 128, 1)


def test_twenty_guests_on_one_volume(tmp_path: Path) -> None:
    """Each adds to one number under a lock, and writes files of its own: all of it is there."""
    (tmp_path / "number").write_text("0")
    with ExitStack() as stack:
        guests = [stack.enter_context(served(tmp_path)).begin() for _ in range(20)]

        def work(number: int) -> None:
            guest, client = guests[number], b"guest %d" % number
            fid = opened(guest, b"number")
            for step in range(10):
                while not guest.lock(fid, WRITE, client=client):
                    time.sleep(0.001)
                count = int(guest.read(fid)) + 1
                guest.write(fid, b"%d" % count)
                guest.lock(fid, UNLOCK, client=client)
                made = guest.create(b"%d-%d" % (number, step))
                guest.write(made, client)
                guest.clunk(made)

        with ThreadPoolExecutor(len(guests)) as pool:
            list(pool.map(work, range(len(guests))))
    assert (tmp_path / "number").read_text() == "200"
    files = {path.name: path.read_text() for path in tmp_path.iterdir() if path.name != "number"}
    assert files == {f"{number}-{step}": f"guest {number}" for number in range(20) for step in range(10)}


def test_locks_go_with_the_fid_and_with_the_machine(file: Path, client: Client) -> None:
    fid = opened(client)
    assert client.lock(fid, WRITE)
    client.clunk(fid)
    assert host_gets(file)
    assert host_gets(file, how="flock")
    with served(file.parent) as other:
        other.begin()
        assert other.lock(opened(other), WRITE)
        assert not host_gets(file)
    assert host_gets(file)
    assert host_gets(file, how="flock")


def test_processes_of_a_guest(file: Path, client: Client) -> None:
    """Two files of one process are one owner; two processes are two."""
    first, second = opened(client), opened(client)
    assert client.lock(first, WRITE, 0, 10, process=1)
    assert client.lock(second, WRITE, 5, 10, process=1)
    assert not client.lock(second, WRITE, 0, 1, process=2)
    assert client.lock(second, WRITE, 50, 1, process=2)


def test_a_process_that_has_inherited_a_file(file: Path, client: Client) -> None:
    """flock(2) of a parent: a child that closes the file leaves the lock, a child that unlocks it does not."""
    fid = opened(client)
    assert client.lock(fid, WRITE, process=1)
    assert client.lock(fid, UNLOCK, process=2)
    assert not host_gets(file, how="flock")
    assert client.lock(fid, UNLOCK, process=2, flags=WAITS)
    assert host_gets(file, how="flock")
    assert client.lock(fid, WRITE, 0, 10, process=1)
    assert client.lock(fid, UNLOCK, process=2, flags=WAITS)
    assert not host_gets(file, start=0, length=10), "a lock of fcntl(2) is its process's"


def test_files_that_cannot_be_written(file: Path) -> None:
    """flock(2) takes exclusive locks of them, fcntl(2) does not."""
    with served(file.parent, Rules(read_only=True)) as client:
        client.begin()
        fid = client.open(b"file")
        assert client.lock(fid, WRITE)
        assert not host_gets(file, "r", how="flock")
        with pytest.raises(OSError, match="Bad file descriptor"):
            client.lock(fid, WRITE, 0, 5)
        assert client.lock(fid, READ, 0, 5)
        assert not host_gets(file, start=0, length=5)


def test_ranges_that_are_none(client: Client) -> None:
    fid = opened(client)
    for start, length in ((1 << 63, 0), (0, 1 << 63), ((1 << 63) - 1, 2), ((1 << 64) - 1, (1 << 64) - 1)):
        with pytest.raises(OSError, match="Invalid argument"):
            client.lock(fid, WRITE, start, length)
    assert client.lock(fid, WRITE, (1 << 63) - 1, 1)
    with pytest.raises(OSError, match="Invalid argument"):
        client.lock(fid, 3)
    with pytest.raises(OSError, match="Bad file descriptor"):
        client.lock(client.walk(b"file"), READ)
