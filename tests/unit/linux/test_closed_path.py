"""Paths that other users can, or cannot, lead elsewhere."""

import os
from pathlib import Path

import pytest

from runx.linux.closed_path import OpenToOthers, find

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="gives files to other users")


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """A directory with a file `top/a/b/file`, which nobody else can change. pytest's own are in a sticky directory."""
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/file").write_text("content")
    for path in ("a", "a/b", "a/b/file"):
        (tmp_path / path).chmod(0o755)
    return tmp_path


def content(path: Path | str, closed: Path) -> str:
    found = find(str(path), str(closed))
    try:
        return Path(f"/proc/self/fd/{found}").read_text()
    finally:
        os.close(found)


def test_a_closed_path_and_links_on_it(top: Path) -> None:
    (top / "a/relative").symlink_to("../a/./b//file")
    (top / "a/absolute").symlink_to(top / "a/relative")
    (top / "link").symlink_to("a/b")
    for path in ("a/b/file", "a/absolute", "link/../b/file"):
        assert content(top / path, top / "a") == "content"


@pytest.mark.parametrize("path", ["a", "a/b", "a/b/file"])
@pytest.mark.parametrize(("mode", "who"), [(0o20, "the group"), (0o02, "everybody"), (0o1002, "everybody")])
def test_others_may_write_to_nothing_of_it(top: Path, path: str, mode: int, who: str) -> None:
    (top / path).chmod(0o755 | mode)
    with pytest.raises(OpenToOthers, match=f"^{top}/{path} can be written by {who}"):
        content(top / "a/b/file", top / "a")


def test_a_sticky_directory_is_all_right_above_alone(top: Path) -> None:
    (top / "a").chmod(0o1777)
    assert content(top / "a/b/file", top / "a/b") == "content"
    with pytest.raises(OpenToOthers, match=f"^{top}/a can be written"):
        content(top / "a/b/file", top / "a")
    (top / "a").chmod(0o777)
    with pytest.raises(OpenToOthers, match=f"^{top}/a can be written"):
        content(top / "a/b/file", top / "a/b")


@needs_root
@pytest.mark.parametrize("path", ["a", "a/b", "a/b/file"])
def test_another_user_owns_nothing_of_it(top: Path, path: str) -> None:
    os.chown(top / path, 12345, 12345)
    with pytest.raises(OpenToOthers, match=f"^{top}/{path} belongs to the user 12345"):
        content(top / "a/b/file", top / "a/b")


@needs_root
def test_nor_a_link_on_it_nor_what_the_link_passes(top: Path) -> None:
    (top / "link").symlink_to("a/b")
    os.chown(top / "link", 12345, 12345, follow_symlinks=False)
    with pytest.raises(OpenToOthers, match=f"^{top}/link belongs"):
        content(top / "link/file", top / "a/b")
    (top / "theirs").mkdir()
    os.chown(top / "theirs", 12345, 12345)
    (top / "theirs/link").symlink_to("../a/b")
    (top / "other").symlink_to("theirs/link")
    with pytest.raises(OpenToOthers, match=f"^{top}/theirs belongs"):
        content(top / "other/file", top / "a/b")


def test_a_loop_ends_and_nothing_stays_open(top: Path) -> None:
    (top / "loop").symlink_to("loop")
    before = os.listdir("/proc/self/fd")
    for path, kind in (("loop", OSError), ("none", FileNotFoundError), ("a/b/file/x", NotADirectoryError)):
        with pytest.raises(kind):
            find(f"{top}/{path}", str(top))
    assert os.listdir("/proc/self/fd") == before
