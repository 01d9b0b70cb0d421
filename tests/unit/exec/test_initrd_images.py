"""A root filesystem in the ramdisk: how large its images can be, and what is appended."""

import os
import random
import shutil
import stat
import subprocess
from pathlib import Path
from typing import Any

import pytest

from runx.compiler.host.erofs_size import image_bytes
from runx.cpio import OverlayFile, archive
from runx.errors import RunxError
from runx.exec.storage import initrd_images
from runxtools.double import ramdisk

pytestmark = [
    pytest.mark.skipif(bool(os.geteuid()), reason="file systems of others are read by root"),
    pytest.mark.skipif(shutil.which("mkfs.erofs") is None, reason="erofs-utils is not installed"),
]

MIB = 2**20


def fill(top: Path, seed: int, files: int, most: int) -> None:
    """A tree of all kinds of files, names and attributes."""
    chance = random.Random(seed)
    places = [top]
    for number in range(files):
        path = chance.choice(places) / f"{number}{'n' * chance.randrange(200)}"
        match chance.randrange(8):
            case 0:
                path.mkdir()
                places.append(path)
            case 1:
                path.symlink_to("t" * chance.randrange(1, 300))
            case 2:
                os.mkfifo(path)
            case _:
                path.write_bytes(os.urandom(chance.randrange(most)))
                if chance.randrange(4) == 0:
                    os.link(path, path.parent / f"again-{number}")
                if chance.randrange(4) == 0:
                    os.setxattr(path, "user.x", b"v" * chance.randrange(500))
                os.utime(path, (number, number))


@pytest.mark.parametrize("seed", range(6))
def test_no_image_is_larger_than_was_said(tmp_path: Path, seed: int) -> None:
    tree = tmp_path / "tree"
    tree.mkdir()
    fill(tree, seed, files=400, most=(1, 100, 2100, 4096, 9000, 50000)[seed])
    subprocess.run(["mkfs.erofs", "--quiet", "-Enoinline_data", tmp_path / "image", tree], check=True, capture_output=True)
    size = (tmp_path / "image").stat().st_size
    bound = image_bytes(str(tree), 1 << 40)
    assert size <= bound <= 2.2 * size + 16384


def test_what_is_too_large_is_not_looked_at_to_its_end(tmp_path: Path) -> None:
    for name in "ab":
        (tmp_path / name).mkdir()
        os.truncate(os.open(tmp_path / name / "large", os.O_CREAT | os.O_WRONLY), 4 * MIB)
    assert 4 * MIB < image_bytes(str(tmp_path), MIB) < 6 * MIB
    (tmp_path / "link").symlink_to("/")
    assert image_bytes(str(tmp_path), 1 << 40) < 9 * MIB


class Container:
    """One whose root is `root`, with a ramdisk that has an overlay already."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.root = directory / "root"
        (self.root / "dir").mkdir(parents=True)
        (self.root / "dir/file").write_bytes(os.urandom(100_001))
        self.ramdisk = directory / "initrd"
        self.ramdisk.write_bytes(archive([OverlayFile("runx/setup", 0o700, b"script")]))

    def plan(self, *images: dict[str, str], images_mib: int = 1) -> dict[str, Any]:
        return {
            "root": {
                "path": str(self.root), "lower": [], "lower_options": [], "cache_mib": 100, "keep_free_mib": 64,
                "images": images, "images_mib": images_mib,
            },
            "domain": {"disks": [], "ramdisk": str(self.ramdisk)},
        }  # fmt: skip

    def image(self, name: str, made_of: str = "") -> dict[str, str]:
        return {"holds": "added" if made_of else "base", "source": f"{self.directory}/home/images/{name}", "made_of": made_of}

    def entries(self) -> dict[str, ramdisk.Entry]:
        return {entry.name: entry for entry in ramdisk.entries(self.ramdisk.read_bytes())}

    def left(self) -> list[str]:
        return os.listdir(self.directory / "home/images")


@pytest.fixture
def container(tmp_path: Path) -> Container:
    return Container(tmp_path)


def test_images_are_files_of_the_ramdisk(container: Container, tmp_path: Path) -> None:
    added = tmp_path / "added"
    added.mkdir()
    (added / "more").write_text("more")
    initrd_images.make(str(tmp_path), container.plan(container.image("key"), container.image("once-c-1", str(added))))
    entries = container.entries()
    assert list(entries) == ["runx", "runx/setup", "runx/root", "runx/root/0", "runx/root/1"]
    assert entries["runx/setup"].data == b"script"
    assert entries["runx/root"].mode == stat.S_IFDIR | 0o700
    assert container.left() == ["key"], "what is of this container alone is in its ramdisk now"
    assert entries["runx/root/0"].data == (tmp_path / "home/images/key").read_bytes()
    for number in (0, 1):
        (tmp_path / "image").write_bytes(entries[f"runx/root/{number}"].data)
        subprocess.run(["fsck.erofs", tmp_path / "image"], check=True, capture_output=True)


def test_one_image_that_cannot_be_made_leaves_none(container: Container, tmp_path: Path) -> None:
    gone = container.image("once-c-added1", str(tmp_path / "gone"))
    with pytest.raises(RunxError, match="gone"):
        initrd_images.make(str(tmp_path), container.plan(container.image("once-c-base"), gone))
    assert container.left() == []


def test_a_name_that_is_too_long_is_told_without_its_control_characters(container: Container, tmp_path: Path) -> None:
    (container.root / "dir" / ("\x1b\n\udcff" + "n" * 252)).write_text("")
    with pytest.raises(RunxError) as caught:
        initrd_images.make(str(tmp_path), container.plan(container.image("once-c-base")))
    assert f"/dir/\\x1b\\n\\udcff{'n' * 252} has a name of 255 bytes" in caught.value.message
    assert caught.value.message.isprintable()


def test_a_tree_that_grew_is_refused(container: Container, tmp_path: Path) -> None:
    (container.root / "grown").write_bytes(os.urandom(MIB))
    before = container.ramdisk.read_bytes()
    with pytest.raises(RunxError, match="larger than the 1 MiB"):
        initrd_images.make(str(tmp_path), container.plan(container.image("once-c-base")))
    assert container.ramdisk.read_bytes() == before
    assert container.left() == []
