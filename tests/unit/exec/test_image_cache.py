"""The disks of a root: made once, of what is there, and gone when nobody uses them."""

import fcntl
import os
import re
import select
import shutil
import stat
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
from runx.exec import spawn
from runx.exec.storage import ext4, image_cache, mkfs, room
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
                "cache_mib": cache_mib, "keep_free_mib": 64, "images": [], "images_mib": 0,
            },
            "domain": {"disks": [base, layer]},
        }  # fmt: skip

    def make(self, container: str = "c", **plan: Any) -> list[int]:
        (self.directory / container).mkdir(exist_ok=True)
        made = self.plan(**plan)
        image_cache.collect(made)
        return image_cache.make(str(self.directory / container), made)


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
    program = tmp_path / "bin/mkfs"
    program.parent.mkdir()
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")  # programs alone are there for it
    monkeypatch.setattr(mkfs, "_program", lambda _: str(program))
    full, busy = (
        f"no room for an image of the root filesystem: {home.images} has ",
        f"no image of {home.root} could be made: busy",
    )
    for said, ends, told in (
        ("<E> erofs: failed to write: No space left on device", "exec sleep 1000", full),
        ("busy", "sleep 3; exit 1", busy),
    ):
        program.write_text(f"#!/bin/sh\necho '{said}' >&2\n{ends}\n")
        program.chmod(0o755)
        with pytest.raises(RunxError) as caught:
            home.make()
        assert caught.value.message.startswith(f"root.path: {told}")
        assert names(home.images) == []


@pytest.fixture
def small(home: Home) -> Iterator[None]:
    """The file system of images and layers has 100 MiB. A tenth of it is to be left free."""
    home.images.mkdir(parents=True, mode=0o700)
    place = home.images.parent
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=100m,mode=700", "tmpfs", place], check=True)
    yield
    subprocess.run(["umount", place], check=True)


def test_no_image_is_begun_without_room(home: Home, small: None, monkeypatch: pytest.MonkeyPatch) -> None:
    os.truncate(home.root / "file", 95 * MIB)
    monkeypatch.setattr(mkfs, "image", lambda *_, **__: pytest.fail("it was begun"))
    with pytest.raises(RunxError) as caught:
        home.make()
    words = f"{home.images} has 100 MiB free, and 95 MiB are needed beside 10 MiB that are left free (root.keep_free)"
    assert words in caught.value.message
    assert "root.keep_free" in caught.value.hint
    assert names(home.images) == []


def test_a_disk_that_fills_meanwhile(home: Home, small: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The estimate was too low, or others have taken the room."""
    (home.root / "file").write_bytes(os.urandom(95 * MIB))
    monkeypatch.setattr(room, "estimate", lambda _: 0)
    for at_first in (room.on(str(home.images.parent), 64), 200 * MIB):
        monkeypatch.setattr(room, "for_an_image", lambda *_, at_first=at_first: at_first)
        (home.images.parent / "others").write_bytes(bytes(20 * MIB if at_first > 100 * MIB else 0))
        with pytest.raises(RunxError, match=r"no room for an image .*root\.keep_free"):
            home.make(cache_mib=1000)
        assert names(home.images) == []


def test_unused_images_go_before_there_is_no_room(home: Home, small: None) -> None:
    os.truncate(home.root / "file", 40 * MIB)
    with closing(home.make(key="old")):
        pass
    os.truncate(home.root / "file", 50 * MIB)
    with closing(home.make(key="new")):
        assert names(home.images) == ["new"]
        os.truncate(home.root / "file", 70 * MIB)
        with pytest.raises(RunxError, match="no room for an image"):
            home.make(key="third")
        assert names(home.images) == ["new"], "it is in use"


def test_a_small_image_is_made_all_the_same(home: Home, small: None) -> None:
    with closing(home.make(key="other")):
        pass  # and the layer
    (home.images.parent / "others").write_bytes(bytes(86 * MIB))
    assert room.on(str(home.images), 64) < MIB
    os.truncate(home.root / "file", MIB)
    with closing(home.make()):
        assert "key" in names(home.images)


def test_no_layer_is_made_without_room(home: Home, small: None) -> None:
    (home.images.parent / "others").write_bytes(bytes(70 * MIB))
    with pytest.raises(RunxError, match=r"no room for the layer .* has 29 MiB free, and 32 MiB are needed beside 10 MiB"):
        home.make()
    assert not list(home.layers.glob("*/runx-layer*"))


def test_an_estimate_is_about_the_size(tmp_path: Path) -> None:
    tree = tmp_path / "tree"
    for number in range(20):
        (tree / str(number)).mkdir(parents=True)
        for name in range(30):
            (tree / str(number) / str(name)).write_bytes(os.urandom(number * 300))
    os.link(tree / "19/0", tree / "18/linked")
    (tree / "link").symlink_to("/etc")
    image = tmp_path / "image"
    image.touch()
    mkfs.image(mkfs.Tree(str(tmp_path / "work"), str(tree)), str(image), 1 << 30, to_disk=False)
    assert image.stat().st_size <= room.estimate([str(tree)]) < 1.2 * image.stat().st_size


@pytest.mark.parametrize("mib", [64, 2048])
def test_a_layer_has_the_blocks_of_its_journal(tmp_path: Path, mib: int) -> None:
    """And of its maps, so that a full disk cannot stop the journal."""
    layer = tmp_path / "layer"
    fd = os.open(layer, os.O_RDWR | os.O_CREAT)
    mkfs.layer(str(tmp_path / "work"), str(tmp_path), mib << 20, fd)
    ranges = list(ext4.metadata(fd))
    os.close(fd)
    about = subprocess.run(["dumpe2fs", layer], check=True, capture_output=True, text=True).stdout
    block = int(re.findall(r"^Block size: +(\d+)", about, re.MULTILINE)[0])
    journal = subprocess.run(["debugfs", "-R", "blocks <8>", layer], check=True, capture_output=True, text=True).stdout.split()
    maps = re.findall(r"^ +(?:Block bitmap|, Inode bitmap|Inode bitmap) at (\d+)", about, re.MULTILINE)
    assert len(journal) * block >= min(mib // 16, 16) * MIB and len(maps) > mib // 128
    for number in map(int, (*journal, *maps)):
        assert any(start <= number * block < start + length for start, length in ranges), number
    assert sum(length for _, length in ranges) <= layer.stat().st_blocks * 512 < 20 * MIB
    subprocess.run(["e2fsck", "-fn", layer], check=True, capture_output=True)


def test_a_layer_has_the_features_that_runx_chooses(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever mke2fs.conf says: Linux would keep the 2 MiB of an orphan file in memory."""
    settings = tmp_path / "mke2fs.conf"
    settings.write_text("[fs_types]\n ext4 = {\n  features = has_journal,extent,orphan_file,metadata_csum_seed,bigalloc\n }\n")
    environment = {**spawn.environment(), "MKE2FS_CONFIG": str(settings)}
    monkeypatch.setattr(spawn, "environment", lambda: environment)
    layer = tmp_path / "layer"
    fd = os.open(layer, os.O_RDWR | os.O_CREAT)
    mkfs.layer(str(tmp_path / "work"), str(tmp_path), 64 * MIB, fd)
    os.close(fd)
    about = subprocess.run(["dumpe2fs", "-h", layer], check=True, capture_output=True, text=True).stdout
    features = re.findall(r"^Filesystem features: +(.*)$", about, re.MULTILINE)[0].split()
    assert set(features) == set(mkfs.FEATURES) - {"none"}


@pytest.mark.parametrize("how", ["itself", "above", "above, sticky", "of another user", "link"])
def test_a_directory_of_others_is_not_used(home: Home, how: str) -> None:
    """Nor one that others could exchange. A directory such as /tmp may be above it."""
    above = home.images.parent
    home.images.mkdir(parents=True)
    where = above if how.startswith("above") else home.images
    if how == "of another user":
        os.chown(above, 12345, 12345)
        where = above
    elif how == "link":
        (above / "elsewhere").mkdir()
        (above / "elsewhere").chmod(0o777)
        home.images.rmdir()
        home.images.symlink_to("elsewhere")
        where = above / "elsewhere"
    else:
        where.chmod(0o1777 if how == "above, sticky" else 0o777)
    if how == "above, sticky":
        with closing(home.make()):
            return
    with pytest.raises(RunxError, match=f"^{home.images}, for images of root filesystems, is not root's alone: {where} "):
        home.make()
    assert not list(where.rglob("*.new"))


def test_a_directory_that_is_missing_is_made_closed(home: Home) -> None:
    """Whatever the umask of the engine."""
    before = os.umask(0)
    try:
        with closing(home.make()):
            pass
    finally:
        os.umask(before)
    assert stat.S_IMODE(home.images.stat().st_mode) == 0o700
    assert not stat.S_IMODE(home.images.parent.stat().st_mode) & 0o022


def mkfs_finds(tree: mkfs.Tree, image: Path, look: Callable[[], object]) -> str:
    """What a process like mkfs.erofs finds that looks beside its tree: an error's words, or "" if all is allowed."""
    for name in ("root", "view", "empty"):
        Path(tree.work, name).mkdir(parents=True, exist_ok=True)
    image.touch()
    read, write = os.pipe()

    def work() -> None:
        mkfs._assemble(tree, str(image))
        image.write_text("the image can be written")
        try:
            look()
        except OSError as error:
            os.write(write, os.strerror(error.errno or 0).encode())

    assert exit_status(in_child(work)) == 0
    os.close(write)
    with open(read, encoding="utf-8") as pipe:
        return pipe.read()


def test_links_are_not_followed(home: Home, tmp_path: Path) -> None:
    """Whatever is exchanged while mkfs.erofs works: it cannot follow a link."""
    (home.root / "link").symlink_to("/usr/bin/env")
    tree = mkfs.Tree(str(tmp_path / "work"), str(home.root))
    assert mkfs_finds(tree, tmp_path / "image", (tmp_path / "work/root/link").stat) == os.strerror(40)  # ELOOP


def test_mkfs_sees_its_tree_and_programs_alone(home: Home, tmp_path: Path) -> None:
    """Whoever takes it over reads no file of dom0 or of another container, and writes to its own image alone."""
    (tmp_path / "secret").write_text("secret")
    tree, image = mkfs.Tree(str(tmp_path / "work"), str(home.root)), tmp_path / "image"
    for path in (
        tmp_path / "secret",
        home.directory / "home",
        Path("/etc/passwd"),
        Path("/proc/self"),
        Path("/home"),
        Path("/run"),
    ):
        assert mkfs_finds(tree, image, path.stat) == "No such file or directory", path
    inside = tmp_path / "work/root"
    for write in (
        lambda: (inside / "file").write_text("changed"),
        lambda: (inside / "new").touch(),
        lambda: Path("/usr/bin/new").touch(),
        lambda: Path("/new").touch(),
    ):
        assert mkfs_finds(tree, image, write) == "Read-only file system"
    assert mkfs_finds(tree, image, lambda: os.stat("/usr/bin/env") and (inside / "file").read_text()) == ""
