"""The disks of a root: made once, of what is there, and gone when nobody uses them."""

import fcntl
import os
import select
import shutil
import subprocess
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from runx.errors import RunxError
from runx.exec.storage import image_cache, mkfs
from runx.linux.in_root import directory_identity

pytestmark = [
    pytest.mark.skipif(bool(os.geteuid()), reason="file systems of others are read by root"),
    pytest.mark.skipif(shutil.which("mkfs.erofs") is None, reason="erofs-utils is not installed"),
]

MIB = 2**20


class Home:
    """A place for images, and one container's plan."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.root = directory / "root"
        self.root.mkdir()
        (self.root / "file").write_text("content")
        self.images = directory / "home/images"
        self.layers = directory / "home/layers"

    def plan(self, key: str = "key", cache_mib: int = 100) -> dict[str, Any]:
        identity = directory_identity(str(self.root))
        base = {"holds": "base", "source": f"{self.images}/{key}", "made_of": ""}
        layer = {"holds": "layer", "source": f"{self.layers}/{identity}/runx-layer", "made_of": ""}
        return {
            "root": {
                "path": str(self.root), "lower": [], "lower_options": [], "layer_mib": 64, "layer_of": str(self.root),
                "cache_mib": cache_mib, "images": [], "images_mib": 0,
            },
            "domain": {"disks": [base, layer]},
        }  # fmt: skip

    def make(self, container: str = "c", **plan: Any) -> list[int]:
        (self.directory / container).mkdir(exist_ok=True)
        return image_cache.make(str(self.directory / container), self.plan(**plan))


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path)


@contextmanager
def closing(fds: list[int]) -> Iterator[None]:
    yield
    for fd in fds:
        os.close(fd)


def in_child(work: Callable[[], object]) -> int:
    """Start it in a child, which keeps what it opens until it ends; the pid. What it raises goes to standard error."""
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            work()
            status = 0
        except BaseException:
            traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(status)
    return pid


def exit_status(pid: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_disks_are_made_whole(home: Home) -> None:
    with closing(home.make()):
        assert names(home.images) == ["key"]
        subprocess.run(["fsck.erofs", home.images / "key"], check=True, capture_output=True)
        (layer,) = home.layers.glob("*/runx-layer")
        subprocess.run(["e2fsck", "-fn", layer], check=True, capture_output=True)
        assert layer.stat().st_size == 64 * MIB
        assert layer.stat().st_blocks * 512 < 8 * MIB, "sparse"
        assert names(home.directory / "c") == [], "nothing of the work is left"


def test_an_image_is_made_once_and_a_layer_is_kept(home: Home) -> None:
    with closing(home.make()):
        (layer,) = home.layers.glob("*/runx-layer")
        before = (home.images / "key").stat().st_ino, layer.stat().st_ino
    with closing(home.make("d")):
        assert ((home.images / "key").stat().st_ino, layer.stat().st_ino) == before


def test_images_of_an_engine_are_left_alone(home: Home) -> None:
    """Only the layer is made, beside the engine's directory; there may be no place for images at all."""
    place = home.directory / "snapshots/7"
    place.mkdir(parents=True)
    plan = home.plan()
    plan["domain"]["disks"] = [
        {"holds": "engine", "source": "/no/such/layer.erofs", "made_of": ""},
        {"holds": "layer", "source": f"{place}/runx-layer", "made_of": ""},
    ]
    (home.directory / "c").mkdir()
    assert image_cache.make(str(home.directory / "c"), plan) == []
    assert names(place) == ["runx-layer"]
    assert not home.images.exists()


def test_many_at_once_make_one(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    original = mkfs.image

    def image(*arguments: Any, **options: Any) -> None:
        with (home.directory / "made").open("a") as file:
            file.write("once\n")
        original(*arguments, **options)

    monkeypatch.setattr(mkfs, "image", image)
    made, say = os.pipe()
    ended, end = os.pipe()

    def create(container: str) -> None:
        os.close(end)
        home.make(container)
        os.write(say, b".")
        os.read(ended, 1)  # the container lives

    children = [in_child(partial(create, name)) for name in "abcdefgh"]
    os.close(say)
    poller = select.poll()
    poller.register(made, select.POLLIN)
    done = b""
    try:
        while len(done) < 8:
            assert poller.poll(60_000), "one waits for the end of another's container"
            word = os.read(made, 8)
            assert word, "one failed"
            done += word
        assert names(home.images) == ["key"]
    finally:
        os.close(end)
        statuses = [exit_status(child) for child in children]
        os.close(made)
        os.close(ended)
    assert statuses == [0] * 8
    assert (home.directory / "made").read_text() == "once\n"


def test_a_place_that_is_being_filled_is_not_collected(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between its making and the mark that says whose it is, it looks like one that a killed process left."""
    (home.directory / "other").mkdir()
    other = Home(home.directory / "other")
    other.images, other.layers = home.images, home.layers
    original = image_cache.write_atomically

    def meanwhile(path: str, content: bytes) -> None:
        monkeypatch.undo()
        assert exit_status(in_child(other.make)) == 0
        original(path, content)

    monkeypatch.setattr(image_cache, "write_atomically", meanwhile)
    with closing(home.make()):
        assert [names(place) for place in home.layers.iterdir()] == [["directory", "runx-layer"]] * 2


def test_what_a_killed_process_left_of_a_place_goes(home: Home) -> None:
    for name in ("empty", "marked", "half"):
        (home.layers / name).mkdir(parents=True)
    (home.layers / "marked/directory").write_text("/no/such")
    (home.layers / "half/runx-layer.1").write_text("half")
    with closing(home.make()):
        assert len(names(home.layers)) == 1


def test_files_that_go_while_others_look(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other containers' images are completed and removed at any time."""
    original = os.listdir

    def listdir(path: str) -> list[str]:
        return original(path) + (["gone", "gone.new", "once-gone"] if path == str(home.images) else [])

    monkeypatch.setattr(os, "listdir", listdir)
    os.close(home.make()[0])


def test_what_a_killed_maker_left_is_no_image(home: Home) -> None:
    home.images.mkdir(parents=True, mode=0o700)
    (home.images / "key.new").write_bytes(b"half" * 5000)
    for name in ("key.lock", "other.lock", "other.new"):
        (home.images / name).touch()
    (home.images / "once-gone").write_bytes(b"half")
    with closing(home.make()):
        assert names(home.images) == ["key"]
        subprocess.run(["fsck.erofs", home.images / "key"], check=True, capture_output=True)


def test_the_least_recently_used_goes_unless_it_is_used(home: Home) -> None:
    (home.root / "large").write_bytes(os.urandom(MIB))
    for age, key in ((3, "in-use"), (2, "old"), (1, "new")):
        with closing(home.make(key=key)):
            os.utime(home.images / key, (1000 - age, 1000 - age))
    used = os.open(home.images / "in-use", os.O_RDONLY)
    fcntl.flock(used, fcntl.LOCK_SH)
    with closing(home.make(key="last", cache_mib=3)):
        assert names(home.images) == ["in-use", "last"]
    os.close(used)


def test_a_layer_goes_with_its_directory(home: Home) -> None:
    with closing(home.make()):
        pass
    shutil.move(home.root, home.directory / "other")
    home.root = home.directory / "other"
    with closing(home.make()):
        (place,) = home.layers.iterdir()
        assert (place / "directory").read_text() == str(home.root)


def test_an_image_larger_than_the_limit(home: Home) -> None:
    os.truncate(home.root / "file", 4 * MIB)
    with pytest.raises(RunxError, match=r"larger than 2 MiB, root\.cache_size") as caught:
        home.make(cache_mib=2)
    assert "9p" in caught.value.hint
    assert names(home.images) == []


def test_an_image_of_too_many_files(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each file takes mkfs.erofs some memory, of dom0."""
    for number in range(8000):
        (home.root / f"{'x' * 200}{number}").touch()
    with closing(home.make()):
        pass
    monkeypatch.setattr(mkfs, "memory_limit", lambda: 16 * MIB)
    with pytest.raises(RunxError, match=r"needs more memory than mkfs\.erofs may have, 16 MiB") as caught:
        home.make(key="other")
    assert "9p" in caught.value.hint


def test_mkfs_that_never_ends_without_space(home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As that of erofs-utils 1.8.6 on a full disk. One without that message may take its time."""
    program = tmp_path / "mkfs"
    monkeypatch.setattr(mkfs, "_program", lambda _: str(program))
    for said, ends in (("<E> erofs: failed to write: No space left on device", "exec sleep 1000"), ("busy", "sleep 3; exit 1")):
        program.write_text(f"#!/bin/sh\necho '{said}' >&2\n{ends}\n")
        program.chmod(0o755)
        with pytest.raises(RunxError) as caught:
            home.make()
        assert caught.value.message == f"root.path: no image of {home.root} could be made: {said}"
        assert names(home.images) == []


def test_a_directory_of_others_is_not_used(home: Home) -> None:
    home.images.mkdir(parents=True)
    home.images.chmod(0o777)
    with pytest.raises(RunxError, match="can be written to by others"):
        home.make()


def test_links_are_not_followed(home: Home, tmp_path: Path) -> None:
    """Whatever is exchanged while mkfs.erofs works: it cannot follow a link."""
    (tmp_path / "secret").write_text("secret")
    (home.root / "link").symlink_to(tmp_path / "secret")
    tree = mkfs.Tree(str(tmp_path / "work"), str(home.root))
    for name in ("root", "empty"):
        (tmp_path / "work" / name).mkdir(parents=True)
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            mkfs._assemble(tree)
            os.stat(tmp_path / "work/root/link")
        except OSError as error:
            status = 40 if error.strerror == os.strerror(40) else 2  # ELOOP
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 40
