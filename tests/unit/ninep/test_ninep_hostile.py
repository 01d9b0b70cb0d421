"""Nothing of the guest's leads out of a share, whatever it says and whatever becomes of names meanwhile."""

import errno
import os
import random
import shutil
import stat
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from runx.exec.ninep import wire
from runxtools.ninep.client import ROOT, Client
from runxtools.testing import hostile_place, hostile_share
from runxtools.testing.nineclient import served

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="the server acts for any user")


@pytest.fixture
def outside(tmp_path: Path) -> Path:
    """A directory beside the share, with a secret in it."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "secret").write_text("secret")
    return outside


@pytest.fixture
def place(tmp_path: Path) -> Path:
    place = tmp_path / "share"
    place.mkdir()
    return place


@pytest.fixture
def client(place: Path) -> Iterator[Client]:
    with served(place) as client:
        yield client.begin()


def state(directory: Path) -> list[tuple[str, int, int, int, int]]:
    """Everything about a tree that a guest may change."""
    found = []
    for path in sorted([directory, *directory.rglob("*")]):
        status = path.lstat()
        found.append((path.name, status.st_mode, status.st_uid, status.st_mtime_ns, status.st_size))
    return found


def test_links_are_not_followed(place: Path, outside: Path, client: Client) -> None:
    before = state(outside)
    (place / "dir").symlink_to(outside)
    (place / "file").symlink_to(outside / "secret")
    (place / "proc").symlink_to("/proc/self/root")
    for name in (b"dir", b"proc"):
        with pytest.raises(FileNotFoundError):
            client.walk(name, b"secret")
        fid = client.walk(name)
        for request in (
            lambda fid=fid: client.walk(b"secret", fid=fid),
            lambda fid=fid: client.create(b"new", fid=fid),
            lambda fid=fid: client.mkdir(b"new", fid=fid),
            lambda fid=fid: client.unlink(b"secret", fid=fid),
            lambda fid=fid: client.rename(b"secret", b"mine", fid=fid),
        ):
            with pytest.raises(OSError, match="Not a directory"):
                request()
    fid = client.walk(b"file")
    for flags in (os.O_RDONLY, os.O_RDWR, os.O_WRONLY | os.O_TRUNC):
        with pytest.raises(OSError, match="No such device or address"):
            client.lopen(client.walk(b"file"), flags)
        with pytest.raises(OSError, match="No such device or address"):
            client.create(b"file", flags)
    with pytest.raises(OSError, match="not supported"):
        client.setattr(fid, 1, 0o777)
    with pytest.raises(OSError, match="Invalid argument"):
        client.setattr(fid, 8, 0, 0, 0, 0)
    client.setattr(fid, 2 | 4, 0, 1234, 1234)
    client.setattr(fid, 16 | 32 | 128 | 256, 0, 0, 0, 0, 1, 1, 1, 1)
    assert (place / "file").lstat().st_uid == 1234, "the link itself"
    client.link(fid, b"linked")
    assert (place / "linked").is_symlink()
    assert state(outside) == before


def test_names_that_are_exchanged(place: Path, outside: Path, client: Client) -> None:
    """Another machine, or the host, replaces a directory by a link all the time: requests reach the share or nothing."""
    before = state(outside)
    ended = threading.Event()

    def exchange() -> None:
        while not ended.is_set():
            os.mkdir(place / "name")
            (place / "name" / "secret").touch()
            os.rename(place / "name", place / "kept")
            os.symlink(outside, place / "name")
            os.rename(place / "name", place / "link")
            os.rename(place / "kept", place / "name")
            os.unlink(place / "link")
            while (place / "name").exists():  # the guest may make something in it meanwhile
                shutil.rmtree(place / "name", ignore_errors=True)

    thread = threading.Thread(target=exchange)
    thread.start()
    seen = set()
    try:
        end = time.monotonic() + 3
        while time.monotonic() < end:
            try:
                directory = client.walk(b"name")
                seen.add(stat.S_IFMT(client.getattr(directory)["mode"]))
                client.create(b"secret", os.O_WRONLY | os.O_TRUNC, fid=directory)
                client.mknod(b"new", stat.S_IFREG, fid=directory)
                client.unlink(b"secret", fid=directory)
            except OSError:
                pass
            try:
                fid = client.walk(b"name", b"secret")
                client.setattr(fid, 1 | 2, 0o666, 77)
                assert client.read(client.lopen(fid)) == b""
            except OSError:
                pass
            for number in range(1, next(client.numbers)):
                try:
                    client.clunk(number)
                except OSError:
                    pass
            client.numbers = iter(range(1, 1 << 30))
    finally:
        ended.set()
        thread.join()
    assert seen >= {stat.S_IFDIR}
    assert state(outside) == before


def test_a_directory_that_is_moved_out_is_no_way_up(place: Path, outside: Path, client: Client) -> None:
    (place / "a/b").mkdir(parents=True)
    fid = client.walk(b"a", b"b")
    (place / "a").rename(outside / "a")
    with pytest.raises(OSError, match="Invalid argument"):
        client.walk(b"..", fid=fid)
    with pytest.raises(FileNotFoundError):
        client.walk(b"secret", fid=fid)


def test_what_tools_fuzz_says(tmp_path: Path) -> None:
    inputs = (random.Random(seed).randbytes(400) for seed in range(300))
    assert hostile_place.stands(lambda: hostile_share.Place(tmp_path).hear, inputs)


def test_messages_of_a_broken_client(place: Path, outside: Path) -> None:
    """Valid messages, damaged: each is answered, and nothing outside changes."""
    randomness = random.Random(20)
    before = state(outside)
    (place / "dir").mkdir()
    (place / "file").write_bytes(b"x" * 5000)
    (place / "link").symlink_to(outside)
    words = [b"dir", b"file", b"link", b"..", b"/", b"new", b"secret", str(outside).encode(), b"user.x", b"x" * 300]

    def field() -> bytes:
        kind = randomness.randrange(5)
        if kind == 0:
            return struct.pack("<I", randomness.choice([0, 1, 2, 3, 4, 5, 0xFFFFFFFF, 0x80000000, randomness.getrandbits(32)]))
        if kind == 1:
            return wire.text(randomness.choice(words))
        if kind == 2:
            return struct.pack("<Q", randomness.choice([0, 1, 4096, 1 << 31, 1 << 63, randomness.getrandbits(64)]))
        if kind == 3:
            return bytes([randomness.getrandbits(8)])
        return struct.pack("<IIH", randomness.randrange(5), randomness.randrange(5), 1) + wire.text(randomness.choice(words))

    kinds = [kind for name, kind in vars(wire).items() if name.startswith("T") and isinstance(kind, int)]
    # Sizes of files grow to what a message says, but not by what it holds.
    with served(place) as client:
        for number in range(12000):
            if number % 200 == 0:
                client.begin()
                client.numbers = iter(range(100, 1 << 30))
                client.walk(b"dir", new=1)
                client.walk(b"file", new=2)
                client.open()
            kind = randomness.choice(kinds)
            body = b"".join(field() for _ in range(randomness.randrange(8)))
            answer = client.raw(struct.pack("<IBH", 7 + len(body), kind, 7) + body)
            assert answer[4] in (kind + 1, wire.RLERROR)
            assert answer[5:7] == b"\7\0"
            if answer[4] == wire.RLERROR:
                assert struct.unpack("<I", answer[7:])[0] in errno.errorcode
            elif kind == wire.TVERSION:
                client.begin()
        client.begin().getattr(ROOT)
    assert state(outside) == before
