"""The file to which a guest writes what a container has written: a hostile guest gets at nothing but that root filesystem.

`tests/unit/guest/test_layer.py` has what guests send that are not hostile.
"""

import errno
import fcntl
import os
import random
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from runx.exec.ninep import layer
from runx.exec.ninep.changes import ATTRIBUTE, DATA, END, ENTRY, LEAVE, LINK, PLACE, REMOVE, Changes
from runx.exec.ninep.layer import Root
from runx.exec.ninep.nodes import Rules
from runx.exec.ninep.share import Share, open_directory
from runxtools.ninep.client import Client
from runxtools.testing import hostile_changes, hostile_place, nineclient
from runxtools.testing.changerecords import (
    DIRECTORY,
    FILE,
    LINK_TO,
    PLACED,
    TOP,
    data,
    directory,
    entry,
    file,
    record,
    two,
    whole,
)

_GET_FLAGS, _SET_FLAGS, _IMMUTABLE = 0x80086601, 0x40086602, 0x10
"""FS_IOC_GETFLAGS, FS_IOC_SETFLAGS, FS_IMMUTABLE_FL (linux/fs.h)"""

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="owners and nodes need root")


@pytest.fixture
def place(tmp_path: Path) -> Path:
    for name in ("root/below", "outside"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "root/below/file").write_text("of the image")
    (tmp_path / "outside/secret").write_text("secret")
    return tmp_path / "root"


@pytest.fixture
def changes(place: Path) -> Iterator[Changes]:
    """In this process, as the server has it."""
    before, mask = os.getcwd(), os.umask(0)
    taken = Changes(Root(open_directory(str(place))))
    taken.allow(1 << 20)
    os.chdir("/proc/self/fd")
    yield taken
    os.chdir(before)
    os.umask(mask)


@contextmanager
def refused(code: int = errno.EIO) -> Iterator[None]:
    with pytest.raises(OSError) as caught:
        yield
    assert caught.value.errno == code


def test_records_in_pieces_of_any_size(place: Path, changes: Changes) -> None:
    stream = whole(
        file(b"one"),
        directory(b"below", file(b"two", b"x" * 300), two(LINK, b"three", b"below/two")),
        directory(b"new", entry(LINK_TO, b"link", b"/nowhere") + PLACED, record(REMOVE, b"absent")),
        record(REMOVE, b"outside"),
    )
    at = 0
    for size in [*range(1, 40), len(stream)]:
        piece = stream[at : at + size]
        if piece:
            changes.write(at, piece)
        at += len(piece)
    assert changes.settled() == "7 304"
    assert (place / "below/two").read_text() == "x" * 300 and (place / "below/file").exists()
    assert (place / "below/three").samefile(place / "below/two")
    assert os.readlink(place / "new/link") == "/nowhere"
    assert sorted(os.listdir(place)) == ["below", "new", "one"]


NAMES = (b"", b".", b"..", b"a/b", b"/etc", b"a\0b", b"n" * 256)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize(
    "make",
    [
        lambda name: file(name),
        lambda name: directory(name),
        lambda name: entry(LINK_TO, name, b"x") + PLACED,
        lambda name: record(REMOVE, name),
        lambda name: file(b"first") + two(LINK, name, b"first"),
    ],
    ids=["file", "directory", "symlink", "remove", "link"],
)
def test_a_name_is_one_step(place: Path, changes: Changes, make: object, name: bytes) -> None:
    assert callable(make)
    with refused():
        changes.write(0, whole(make(name)))
    assert changes.settled().split(" ", 2)[2].startswith("/")
    assert set(os.listdir(place.parent)) == {"root", "outside"} and (place.parent / "outside/secret").read_text() == "secret"
    assert set(os.listdir(place)) <= {"below", "first"}


@pytest.mark.parametrize("path", [b"", b"..", b"../outside/secret", b"escape/secret", b"/etc/passwd", b"below/../one", b"below"])
def test_a_link_is_of_a_file_of_the_root(place: Path, changes: Changes, path: bytes) -> None:
    (place / "escape").symlink_to("../outside")
    with refused():
        changes.write(0, whole(file(b"one"), two(LINK, b"stolen", path)))
    assert not (place / "stolen").exists()
    assert "/stolen: linking it: " in changes.settled()


def test_links_of_the_root_are_not_followed(place: Path, changes: Changes) -> None:
    """A directory of the guest's is none if the root has a link of that name: the link is replaced, or what it names stays."""
    (place / "escape").symlink_to("../outside")
    (place / "other").symlink_to("../outside/secret")
    changes.write(0, whole(directory(b"escape", file(b"secret", b"written")), file(b"other"), record(REMOVE, b"below")))
    assert (place.parent / "outside/secret").read_text() == "secret"
    assert (place / "escape").is_dir() and not (place / "escape").is_symlink()
    assert (place / "escape/secret").read_text() == "written" and (place / "other").read_text() == "text"


def test_a_link_that_is_made_meanwhile_is_not_followed(place: Path, changes: Changes) -> None:
    """Between two requests, somebody exchanges the directory that was entered: it stays the one that was entered."""
    stream = whole(directory(b"below", file(b"one"), file(b"two")))
    at = stream.index(b"two") - 60
    changes.write(0, stream[:at])
    os.rename(place / "below", place / "moved")
    (place / "below").symlink_to("../outside")
    changes.write(at, stream[at:])
    assert sorted(os.listdir(place / "moved")) == ["file", "one", "two"]
    assert os.listdir(place.parent / "outside") == ["secret"]


@pytest.mark.parametrize(
    ("attribute", "is_taken"),
    [
        (b"user.some", True),
        (b"trusted.overlay.opaque", False),
        (b"trusted.other", False),
        (b"security.selinux", False),
        (b"security.ima", False),
    ],
)
def test_attributes_that_steer_the_host(place: Path, changes: Changes, attribute: bytes, is_taken: bool) -> None:
    """They are left out, which is said. All else goes on."""
    one = entry(FILE, b"one", size=4) + data(0, b"text") + two(ATTRIBUTE, attribute, b"y") + PLACED
    changes.write(0, whole(one, file(b"two")))
    assert (place / "one").exists() and (place / "two").exists()
    assert os.listxattr(place / "one") == ([attribute.decode()] if is_taken else [])
    words = changes.settled().split(" ", 2)
    assert words[2:] == ([] if is_taken else [f"/one: {attribute.decode()}: operation not supported"])


BROKEN = [
    record(0),
    record(9),
    TOP + record(END, struct.pack("<I", 3)) + record(PLACE),
    TOP + record(END, struct.pack("<I", 4)),
    TOP + record(END, b""),
    TOP + record(LEAVE),
    TOP + PLACED,
    TOP + data(0, b"x"),
    TOP + two(ATTRIBUTE, b"user.x", b""),
    TOP + record(ENTRY, b"short"),
    TOP + record(ATTRIBUTE, b"\xff\xffname"),
    TOP + record(LINK, b"\xff\xffname"),
    TOP + entry(FILE, b"a") + entry(FILE, b"b"),
    TOP + entry(FILE, b"a") + record(LEAVE),
    TOP + entry(FILE, b"a") + record(REMOVE, b"a"),
    TOP + entry(FILE, b"a") + two(LINK, b"b", b"a"),
    TOP + entry(FILE, b"a") + data(10, b"x") + data(0, b"x"),
    TOP + entry(FILE, b"a") + data(1 << 63, b"x"),
    TOP + entry(FILE, b"a") + two(ATTRIBUTE, b"user.x", b"y") + data(0, b"x"),
    TOP + entry(FILE, b"a") + two(ATTRIBUTE, b"user.x\0y", b"y"),
    TOP + entry(FILE, b"a", size=1 << 63) + PLACED,
    TOP + entry(FILE, b"a", uid=0xFFFFFFFF) + PLACED,
    TOP + entry(LINK_TO, b"a", b"x\0y") + PLACED,
    TOP + entry(LINK_TO, b"a", b"") + PLACED,
    TOP + entry(stat.S_IFCHR, b"a") + PLACED,
    TOP + entry(stat.S_IFBLK, b"a", device=(0xFFFFFFFF, 0xFFFFFFFF)) + PLACED,
    TOP + entry(0, b"a") + PLACED,
    TOP + entry(0o150000, b"a") + PLACED,
    entry(DIRECTORY, b"name") + PLACED,
    entry(FILE, b"") + PLACED,
    record(REMOVE, b"below"),
    file(b"one"),
    two(LINK, b"a", b"below/file"),
    struct.pack("<BI", DATA, 1 << 30),
]


@pytest.mark.parametrize("stream", BROKEN)
def test_a_broken_rule_is_the_end_of_it(place: Path, changes: Changes, stream: bytes) -> None:
    with refused():
        changes.write(0, stream)
    with refused():  # nothing more is taken
        changes.write(len(stream), whole())
    words = changes.settled().split(" ", 2)
    assert len(words) == 3, words
    assert os.listdir(place) == ["below"], "what was not complete is removed"


def test_what_a_guest_may_use_of_the_disk(place: Path, changes: Changes) -> None:
    changes.allow(1 << 20)
    big = entry(FILE, b"big", size=1 << 20) + data(0, b"x" * (1 << 20)) + PLACED
    changes.write(0, TOP + big)
    with refused():
        changes.write(len(TOP + big), file(b"more", b"x"))
    assert "/more: more data than its layer can hold" in changes.settled()


def test_how_many_files_a_guest_may_make(place: Path, changes: Changes) -> None:
    changes.allow(64 << 10)
    made = b"".join(entry(FILE, b"%d" % number) + PLACED for number in range(65))
    with refused():
        changes.write(0, TOP + made)
    assert "/64: more files than its layer can hold" in changes.settled()
    assert len(os.listdir(place)) == 65


def test_how_deep_a_guest_may_go(place: Path, changes: Changes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layer, "DEPTH_MAX", 50)
    with refused():
        changes.write(0, TOP + (entry(DIRECTORY, b"d") + PLACED) * 50)
    assert "more than 50 directories in each other" in changes.settled()
    again = Changes(Root(open_directory(str(place))))
    again.allow(1 << 20)
    again.write(0, whole(record(REMOVE, b"d")))
    assert os.listdir(place) == ["below"] and again.settled() == "1 0"


def test_only_one_request_at_a_time(changes: Changes) -> None:
    """The one before may be waiting for a slow disk."""
    changes._turn.acquire()
    with refused(errno.EBUSY):
        changes.write(0, TOP)
    changes._turn.release()
    changes.write(0, whole())
    assert changes.settled() == "0 0"


def test_requests_come_in_order(changes: Changes) -> None:
    with refused():
        changes.write(1, TOP)
    assert changes.settled().endswith("broke a rule of what it sends")


def test_a_client_sees_the_file_and_nothing_else(place: Path, tmp_path: Path) -> None:
    top = tmp_path / "share"
    top.mkdir()
    (top / "changes").touch()
    place.rename(top / "root")
    place = top / "root"
    share = Share(open_directory(str(top)), Rules(), {})
    share.take_changes(b"changes", b"root", 1 << 20)
    with nineclient.served_share(share) as client:
        client.begin()
        with refused(errno.ENOENT):
            client.walk(b"root")
        for attempt in (lambda: client.create(b"x"), lambda: client.unlink(b"changes"), lambda: client.mkdir(b"x")):
            with refused(errno.EROFS):
                attempt()
        send(client, whole(file(b"one"), record(REMOVE, b"below")))
        with refused(errno.EROFS):
            client.setattr(client.walk(b"changes"), 1, 0o777)
    assert os.listdir(place) == ["one"]


def send(client: Client, stream: bytes) -> None:
    fid = client.open(b"changes", flags=os.O_WRONLY)
    assert client.write(fid, stream) == len(stream)
    assert client.read(fid) == b""
    with refused():
        client.write(fid, b"more", len(stream))
    client.clunk(fid)


def test_what_tools_fuzz_says(tmp_path: Path) -> None:
    inputs = (random.Random(seed).randbytes(300) for seed in range(300))
    assert hostile_place.stands(lambda: hostile_changes.Place(tmp_path).hear, inputs)


@pytest.fixture
def immutable(place: Path) -> Iterator[None]:
    """`below/file` as chattr(1) leaves it (+i)."""
    with (place / "below/file").open() as file:
        flags = bytearray(8)
        try:
            fcntl.ioctl(file, _GET_FLAGS, flags)
            flags[0] |= _IMMUTABLE
            fcntl.ioctl(file, _SET_FLAGS, flags)
        except OSError as error:
            pytest.skip(f"{place}: {error.strerror}")
        yield
        flags[0] &= ~_IMMUTABLE
        fcntl.ioctl(file, _SET_FLAGS, flags)


@pytest.mark.parametrize(
    ("stream", "what"),
    [(record(REMOVE, b"file"), "removing it"), (file(b"file"), "giving it its name")],
    ids=["remove", "replace"],
)
def test_a_file_that_cannot_be_removed(place: Path, changes: Changes, immutable: None, stream: bytes, what: str) -> None:
    """The reason is that of the file, and not that it is no directory."""
    with refused():
        changes.write(0, whole(directory(b"below", stream)))
    assert changes.settled().split(" ", 2)[2] == f"/below/file: {what}: operation not permitted"
