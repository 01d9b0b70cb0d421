"""Files that are there whole, or not at all."""

import os
import resource
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from runx.linux.files import write_all, write_atomically


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def names(directory: Path) -> list[str]:
    return sorted(os.listdir(directory))


@pytest.mark.parametrize(("mode", "found"), [(0o600, 0o600), (0o666, 0o644), (0o755, 0o755)])
def test_a_new_file(tmp_path: Path, mode: int, found: int) -> None:
    write_atomically(str(tmp_path / "file"), b"content", mode)
    assert (tmp_path / "file").read_bytes() == b"content"
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == found
    assert names(tmp_path) == ["file"]


def test_who_has_the_old_file_open_keeps_it(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    with (tmp_path / "file").open() as old:
        write_atomically(str(tmp_path / "file"), b"new")
        assert old.read() == "old"
    assert (tmp_path / "file").read_text() == "new"


def test_below_a_descriptor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    directory = os.open(tmp_path / "a", os.O_RDONLY)
    write_atomically("file", b"1", directory=directory)
    write_atomically("b/file", b"2", directory=directory)
    os.close(directory)
    assert names(tmp_path / "a") == ["b", "file"]
    assert names(tmp_path / "a/b") == ["file"]
    monkeypatch.chdir(tmp_path)
    write_atomically("here", b"3")
    assert (tmp_path / "here").read_text() == "3"


def test_links_are_replaced(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (tmp_path / "file").symlink_to("secret")
    (tmp_path / f".file.{os.getpid()}").symlink_to("secret")
    write_atomically(str(tmp_path / "file"), b"new")
    assert (tmp_path / "secret").read_text() == "secret"
    assert not (tmp_path / "file").is_symlink()
    assert names(tmp_path) == ["file", "secret"]


def test_what_a_killed_process_of_the_same_number_left_is_no_hindrance(tmp_path: Path) -> None:
    (tmp_path / f".file.{os.getpid()}").write_text("more than the new content")
    write_atomically(str(tmp_path / "file"), b"new")
    assert (tmp_path / "file").read_text() == "new"
    assert names(tmp_path) == ["file"]


def test_a_failure_leaves_all_as_it_was(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("old")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4, before[1]))  # Python ignores SIGXFSZ
    try:
        with pytest.raises(OSError, match="too large") as caught:
            write_atomically(str(tmp_path / "file"), b"too much")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert caught.value.filename == str(tmp_path / "file")
    assert (tmp_path / "file").read_text() == "old"
    assert names(tmp_path) == ["file"]


def test_errors_name_the_file(tmp_path: Path) -> None:
    (tmp_path / "directory").mkdir()
    for path, error in (("directory", IsADirectoryError), ("no/file", FileNotFoundError)):
        with pytest.raises(error) as caught:
            write_atomically(str(tmp_path / path), b"content")
        assert (caught.value.filename, caught.value.filename2) == (str(tmp_path / path), None)
    assert names(tmp_path) == ["directory"]


def test_a_write_that_takes_a_part_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = []

    def write(fd: int, data: memoryview) -> int:
        taken.append((fd, bytes(data[:3])))
        return len(taken[-1][1])

    monkeypatch.setattr(os, "write", write)
    write_all(7, b"12345678")
    write_all(7, b"")
    assert taken == [(7, b"123"), (7, b"456"), (7, b"78")]
