"""The layers of a root filesystem, as engines mount them."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from runx.compiler.host.overlay_layers import RootFacts, look

pytestmark = pytest.mark.skipif(bool(os.geteuid()), reason="mounts need root")

CHECKOUT = Path(__file__).parents[3]
LOOK = """
cd "$checkout" && exec "$python" -c "
import json, sys
from runx.compiler.host.overlay_layers import look
print(json.dumps(look(sys.argv[1])._asdict()))" """


def looked(script: str, directory: Path, top: str) -> RootFacts:
    """What `look` says of `directory`/`top` after the shell script, which mounts things in a mount namespace of its own."""
    environment = {**os.environ, "checkout": str(CHECKOUT), "python": sys.executable, "top": str(directory / top)}
    words = ["unshare", "--mount", "sh", "-ec", f"{script}\n{LOOK} $top"]
    result = subprocess.run(words, cwd=directory, env=environment, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr
    fields: dict[str, Any] = json.loads(result.stdout)
    return RootFacts(**{name: tuple(value) if isinstance(value, list) else value for name, value in fields.items()})


def files(top: Path, *names: str, content: str = "") -> None:
    """Make files; those whose name ends with `/` are directories."""
    for name in names:
        path = top / name
        if name.endswith("/"):
            path.mkdir(parents=True, exist_ok=True)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content or name)


@pytest.fixture
def store(tmp_path: Path) -> Path:
    """containerd's: two layers of an image, and one of a container."""
    files(tmp_path / "snapshots", "1/fs/a", "2/fs/", "3/fs/", "3/work/", "merged/")
    return tmp_path / "snapshots"


def test_layers_are_told_from_directories(store: Path) -> None:
    script = "mount -t overlay -o lowerdir=$PWD/2/fs:$PWD/1/fs,upperdir=$PWD/3/fs,workdir=$PWD/3/work o merged; touch merged/b"
    facts = looked(script, store, "merged")
    assert facts.lower == (f"{store}/2/fs", f"{store}/1/fs")
    assert facts.added == (f"{store}/3/fs",)
    assert facts.upper_is_engines
    assert look(str(store)).lower == ()


def test_relative_names_of_containerd(store: Path) -> None:
    """A mount of many layers: containerd changes to the directory of its snapshots."""
    script = "mount -i -t overlay -o lowerdir=2/fs:1/fs,upperdir=$PWD/3/fs,workdir=$PWD/3/work o merged"
    facts = looked(script, store, "merged")
    assert facts.lower == (f"{store}/2/fs", f"{store}/1/fs")
    assert facts.upper == f"{store}/3/fs"
    assert facts.upper_is_engines


def test_relative_names_of_docker_and_podman(tmp_path: Path) -> None:
    home = tmp_path / "overlay"
    files(home, "aa/diff/a", "bb/diff/b", "cc/diff/", "cc/work/", "cc/merged/", "l/")
    for link, name in (("A", "aa"), ("B", "bb")):
        (home / "l" / link).symlink_to(f"../{name}/diff")
    facts = looked("mount -i -t overlay -o lowerdir=l/B:l/A,upperdir=cc/diff,workdir=cc/work o cc/merged", home, "cc/merged")
    assert facts.lower == (f"{home}/bb/diff", f"{home}/aa/diff")
    assert facts.upper == f"{home}/cc/diff"
    assert facts.upper_is_engines


def test_numbers_of_descriptors_of_podman(tmp_path: Path) -> None:
    """podman 5 names the layers of a mount by its descriptors of them. Its store has their names."""
    home = tmp_path / "overlay"
    files(home, "aa/diff/a", "bb/diff/b", "cc/diff/", "cc/work/", "cc/merged/", "l/")
    for link, name in (("A", "aa"), ("B", "bb")):
        (home / "l" / link).symlink_to(f"../{name}/diff")
    options = "lowerdir=7:3,upperdir=$here/cc/diff,workdir=$here/cc/work"
    script = f"""
        here=$PWD; mkdir fds fds/7 fds/3; cd fds
        mount --bind ../bb/diff 7; mount --bind ../aa/diff 3
        mount -i -t overlay -o {options} o $here/cc/merged"""
    assert looked(script, home, "cc/merged").lower == (), "no record"
    subprocess.run(["rm", "-r", home / "fds"], check=True)
    (home / "cc/lower").write_text("l/B:l/A")
    facts = looked(script, home, "cc/merged")
    assert facts.lower == (f"{home}/bb/diff", f"{home}/aa/diff")
    assert facts.upper == f"{home}/cc/diff"
    subprocess.run(["rm", "-r", home / "fds"], check=True)
    (home / "cc/lower").write_text("l/B")
    assert looked(script, home, "cc/merged").lower == (), "the record of another mount"


def test_relative_names_that_another_store_has_too(store: Path, tmp_path: Path) -> None:
    """Equal names and equal files prove nothing: they are those of another store."""
    other = tmp_path / "other/snapshots"
    subprocess.run(["cp", "-a", "--", store, other.parent.parent / "copy"], check=True)
    other.parent.mkdir()
    (tmp_path / "copy").rename(other)
    script = (
        f"cd {other}; mount -i -t overlay -o lowerdir=2/fs:1/fs,upperdir={store}/3/fs,workdir={store}/3/work o {store}/merged"
    )
    facts = looked(script, store, "merged")
    assert (facts.lower, facts.upper) == ((), "")


def _docker_init(layer: Path) -> None:
    """What docker puts into its own layer of a container (seen with docker 20.10, 26.1 and 28.5)."""
    files(layer, "dev/pts/", "dev/shm/", "etc/")
    for name in (".dockerenv", "dev/console", "etc/hostname", "etc/hosts", "etc/resolv.conf"):
        (layer / name).touch()
    (layer / "etc/mtab").symlink_to("/proc/mounts")


_THREE = "mount -t overlay -o lowerdir=$PWD/2/fs:$PWD/1/fs,upperdir=$PWD/3/fs,workdir=$PWD/3/work o merged"


def test_the_layer_that_docker_makes_for_a_container(store: Path) -> None:
    """In containerd's store only its content tells it from a layer of the image. The base has no part of it."""
    plain = looked("mount -t overlay -o lowerdir=$PWD/1/fs,upperdir=$PWD/3/fs,workdir=$PWD/3/work o merged", store, "merged")
    _docker_init(store / "2/fs")
    facts = looked(_THREE, store, "merged")
    assert facts.lower == (f"{store}/1/fs",)
    assert facts.added == (f"{store}/2/fs",)
    assert facts.lower_identity == plain.lower_identity


@pytest.mark.parametrize("more", ["etc/passwd", "file", "etc/hosts", "dev/null/"])
def test_a_layer_of_an_image_with_such_files(store: Path, more: str) -> None:
    """An image that was made from a container's files holds docker's mark, too. It has more than mount points."""
    _docker_init(store / "2/fs")
    files(store / "2/fs", more)
    facts = looked(_THREE, store, "merged")
    assert facts.lower == (f"{store}/2/fs", f"{store}/1/fs")
    assert facts.added == ()


def test_a_layer_that_is_a_mount_of_its_own(store: Path) -> None:
    """Its root has the same numbers as that of any other image, and another device at each mount."""
    (store.parent / "tree").mkdir()
    (store.parent / "tree/file").write_text("content")
    made = subprocess.run(["mkfs.erofs", "--quiet", "-T0", store.parent / "image", store.parent / "tree"], capture_output=True)
    assert made.returncode == 0, made.stderr
    (store / "2/fs").rmdir()
    identities = []
    again = "mkdir ../other; cp ../image ../image2; mount -t erofs -o loop,ro ../image2 ../other; "  # it has another loop device
    for _ in range(2):
        (store / "2/fs").mkdir()
        seen = [looked(f"{before} mount -t erofs -o loop,ro ../image 2/fs; {_THREE}", store, "merged") for before in ("", again)]
        assert seen[0].lower == (f"{store}/2/fs", f"{store}/1/fs")
        assert seen[0].lower_identity == seen[1].lower_identity, "mounted again"
        identities.append(seen[0].lower_identity)
        (store / "2/fs").rmdir()
        (store.parent / "other").rmdir()
    assert identities[0] != identities[1], "a new layer of the same name"


def _erofs(tmp: Path, image: Path, *options: str) -> None:
    """Make an EROFS image of a tree with one file."""
    files(tmp / "tree", "file")
    made = subprocess.run(["mkfs.erofs", "--quiet", *options, image, tmp / "tree"], capture_output=True)
    assert made.returncode == 0, made.stderr


_ONE_IMAGE = """
mount -t erofs -o loop,ro 2/layer.erofs 2/fs
mount -t overlay -o lowerdir=$PWD/2/fs,upperdir=$PWD/3/fs,workdir=$PWD/3/work o merged"""


def test_images_of_the_engine(store: Path) -> None:
    """containerd's erofs snapshotter mounts them; the guest can do the same."""
    _erofs(store.parent, store / "2/layer.erofs", "-Enoinline_data")
    facts = looked(_ONE_IMAGE, store, "merged")
    assert facts.images == (f"{store}/2/layer.erofs",)
    assert facts.lower == (f"{store}/2/fs",)
    facts = looked("mount -t erofs -o loop,ro 2/layer.erofs 2/fs; " + _THREE, store, "merged")
    assert (facts.images, len(facts.lower)) == ((), 2), "one of the layers is a directory"


def test_an_image_that_the_guest_may_not_read(store: Path) -> None:
    (store.parent / "tree").mkdir()
    (store.parent / "tree/large").write_bytes(b"x" * 100_000)
    _erofs(store.parent, store / "2/layer.erofs", "-zlz4")
    assert looked(_ONE_IMAGE, store, "merged").images == ()


def test_an_image_that_is_elsewhere(store: Path) -> None:
    """It is not the store's: nobody knows whether it may change."""
    _erofs(store.parent, store.parent / "layer.erofs", "-Enoinline_data")
    assert looked(_ONE_IMAGE.replace("2/layer.erofs", "../layer.erofs"), store, "merged").images == ()
