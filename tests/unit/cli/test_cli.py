"""The program around the commands: its help, and how it ends."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from runx import paths
from runx.cli.main import COMMANDS

CHECKOUT = Path(__file__).parents[3]
# As it is installed: the caller's environment does not count.
RUNX = [
    sys.executable,
    "-I",
    "-S",
    "-c",
    f"import sys; sys.path[:0] = {[str(CHECKOUT), *sys.path]!r}; from runx.cli.main import program; program()",
]


@pytest.mark.parametrize("words", [["--version"], ["--root", "/nonexistent", "list"], ["features"]])
def test_output_that_has_no_room_is_an_error(words: list[str]) -> None:
    with open("/dev/full", "w") as full:
        result = subprocess.run([*RUNX, *words], stdout=full, stderr=subprocess.PIPE)
    assert (result.returncode, result.stderr) == (1, b"runx: standard output: no space left on device\n")


def test_a_reader_that_has_gone_is_no_error_to_tell_of() -> None:
    reader, writer = os.pipe()
    os.close(reader)
    result = subprocess.run([*RUNX, "features"], stdout=writer, stderr=subprocess.PIPE)
    os.close(writer)
    assert (result.returncode, result.stderr) == (1, b"")


def test_closed_descriptors_change_nothing(tmp_path: Path) -> None:
    words = ["--log", str(tmp_path / "log"), "--root", str(tmp_path / "state")]
    closed = subprocess.run(["sh", "-c", '"$@" >&-', "sh", *RUNX, *words, "delete", "--force", "c"], stderr=subprocess.PIPE)
    assert (closed.returncode, closed.stderr) == (0, b"")
    assert not (tmp_path / "log").exists()
    assert subprocess.run(["sh", "-c", '"$@" 2>&-', "sh", *RUNX, *words, "state", "c"]).returncode == 1
    assert "does not exist" in (tmp_path / "log").read_text()


def test_all_output_arrives() -> None:
    result = subprocess.run([*RUNX, "--version"], capture_output=True, text=True)
    assert result.returncode == 0
    assert result.stdout.startswith("runx version ")
    assert result.stdout.endswith("\n")


def test_help_names_every_command_and_the_default_root() -> None:
    result = subprocess.run([*RUNX, "--help"], capture_output=True, text=True, check=True)
    listed = [line.split()[0] for line in result.stdout.partition("Commands:\n")[2].partition("\n\n")[0].splitlines()]
    assert listed == list(COMMANDS)
    assert f", or {paths.DEFAULT_STATE_ROOT})\n" in result.stdout
    for name in listed:
        own = subprocess.run([*RUNX, name, "--help"], capture_output=True, text=True, check=True)
        assert own.stdout.startswith(f"usage: runx [global options] {name} ".rstrip())
