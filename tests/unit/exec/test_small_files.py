"""Files that travel in the ramdisk and change before the container starts."""

import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from runx.exec.storage import small_files


def kept(directory: Path, contents: list[bytes]) -> list[Path]:
    """Files with these contents, and copies of them as a guest has them."""
    (directory / "guest").mkdir()
    copies = []
    for number, content in enumerate(contents):
        (directory / f"file {number}").write_bytes(content)
        (directory / "guest" / str(number)).write_bytes(content)
        copies.append((f"{directory}/guest/{number}", f"{directory}/file {number}", content))
    small_files.keep(str(directory), copies)
    return [directory / f"file {number}" for number in range(len(contents))]


def test_without_any(tmp_path: Path) -> None:
    assert small_files.changed(str(tmp_path)) == []


def test_those_that_have_not_changed_are_left_alone(tmp_path: Path) -> None:
    for file in kept(tmp_path, [b"a\n", b"", b"no line end"]):
        file.write_bytes(file.read_bytes())
    assert small_files.changed(str(tmp_path)) == []


@pytest.mark.parametrize(
    "now", [b"", b"nameserver 127.0.0.11\n", b"it's 100 %s \\n $HOME `id`\n\n", bytes(range(1, 256)), b"x" * 65536]
)
def test_a_shell_makes_of_the_copy_what_the_file_is_now(tmp_path: Path, now: bytes) -> None:
    first, second = kept(tmp_path, [b"as it was\n", b"stays\n"])
    first.unlink()
    first.write_bytes(now)  # another file of the same name, as most programs write theirs
    ((path, command),) = small_files.changed(str(tmp_path))
    assert path == str(first)
    subprocess.run(["sh", "-eu"], input=command, check=True)
    assert (tmp_path / "guest/0").read_bytes() == now
    assert (tmp_path / "guest/1").read_bytes() == second.read_bytes()


@pytest.mark.parametrize("now", [b"a\0b", b"x" * 65537, None])
def test_what_cannot_follow_is_told(tmp_path: Path, now: bytes | None) -> None:
    (file,) = kept(tmp_path, [b"as it was\n"])
    file.unlink()
    if now is not None:
        file.write_bytes(now)
    assert small_files.changed(str(tmp_path)) == [(str(file), b"")]


@pytest.mark.parametrize("make", [os.mkdir, os.mkfifo])
def test_what_is_no_file_in_its_place(tmp_path: Path, make: Callable[[Path], None]) -> None:
    (file,) = kept(tmp_path, [b"as it was\n"])
    file.unlink()
    make(file)
    assert small_files.changed(str(tmp_path)) == [(str(file), b"")]
