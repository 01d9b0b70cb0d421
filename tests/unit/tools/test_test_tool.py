"""tools/test: which steps it takes, in which order, and what it says at its end."""

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from runxtools import test as tool
from runxtools import tree
from runxtools.checkout import CHECKOUT


class Commands:
    """In the place of what tools/test runs: it remembers the commands, those of `failing` fail."""

    def __init__(self) -> None:
        self.run: list[str] = []
        self.failing: dict[str, int] = {}

    def __call__(self, argv: list[str | Path], **_: Any) -> "subprocess.CompletedProcess[bytes]":
        words = " ".join(map(str, argv)).removeprefix(f"{sys.executable} ")
        self.run.append(words.removeprefix(f"python {' '.join(tool.PYTEST)} "))
        status = next((status for part, status in self.failing.items() if part in words), 0)
        return subprocess.CompletedProcess(argv, status)


class Tree:
    """In the place of a tree: remembers its suite with each command. Those of `failing` fail."""

    def __init__(self, commands: Commands, suite: str) -> None:
        self._commands = commands
        self._suite = suite

    def versions(self) -> str:
        return "podman 5.4.2, python3 3.13.5"

    def call(self, argv: list[str | Path]) -> int:
        self._commands.run.append(f"{self._suite}: {' '.join(map(str, argv[argv.index('no:cacheprovider') + 1 :]))}")
        return self._commands.failing.get(self._suite, 0)


@pytest.fixture
def commands(monkeypatch: pytest.MonkeyPatch) -> Iterator[Commands]:
    commands = Commands()
    monkeypatch.setattr(tool, "set_up", lambda _: Path("python"))
    monkeypatch.setattr(subprocess, "run", commands)
    monkeypatch.setattr(tool.engines, "Tree", lambda suite: Tree(commands, suite))
    yield commands


def call(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["tools/test", *words])
    return tool.main()


SHARED = "-n 2 --dist loadfile"
LINT, UNIT, DOUBLE = "tests/test_linters.py", f"{SHARED} tests/unit", f"{SHARED} tests/integration"
LAB, MORE = f"{SHARED} -m not long tests/lab --lab trixie", "tests/lab/test_image.py tests/lab/test_ctr.py --lab bookworm"
LAB_12 = f"{' '.join(tool.STEPS['lab-bookworm'].pytest)} --lab bookworm"
LAB_BOOKWORM = "tools/lab --suite bookworm up"
UP, DOWN = ([f"tools/lab --number {number} {order}" for number in (1, 2)] for order in ("up", "down"))
LAB_COMMANDS = ["./build all", *UP, LAB, *DOWN]
BOTH_LABS = [*LAB_COMMANDS, LAB_BOOKWORM, LAB_12]
TRIXIE, SID, BOOKWORM = f"trixie: {DOUBLE}", f"sid: {DOUBLE}", f"bookworm: {DOUBLE}"

RELEASE = tool.engines.other(tool.apt.machine_release())
OTHER = f"{RELEASE}: {DOUBLE}"


@pytest.fixture(autouse=True)
def two_processors(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tool.os, "cpu_count", lambda: 2)


@pytest.mark.parametrize(
    ("words", "run"),
    [
        ([], [LINT, "./build initrd", UNIT, DOUBLE, OTHER, *BOTH_LABS]),
        (["--no-lab"], [LINT, "./build initrd", UNIT, DOUBLE, OTHER]),
        (["--lab-only"], LAB_COMMANDS),
        (["--only", "lint"], [LINT]),
        (["--only", "lab"], LAB_COMMANDS),
        (["--only", "lab", "--only", "lab-bookworm"], BOTH_LABS),
        (["--only", "lab-long"], ["./build all", *UP, f"{SHARED} -m long tests/lab --lab trixie", *DOWN]),
        (["--only", "lab-bookworm-more"], ["./build all", LAB_BOOKWORM, MORE]),
        (
            ["--only", "lab-systemd"],
            ["./build all", "tools/lab --systemd up", "tests/lab/test_systemd.py --lab trixie-systemd"],
        ),
        (["--only", "double", "--only", "lint"], [LINT, "./build initrd", DOUBLE]),
        (["--only", "unit", "--", "-k", "cpio"], ["./build initrd", f"{UNIT} -k cpio"]),
        (["--engines"], ["./build initrd", BOOKWORM, TRIXIE, SID]),
        (["--engines", "sid", "bookworm"], ["./build initrd", BOOKWORM, SID]),
        (["--engines", "trixie", "--", "-k", "podman"], ["./build initrd", f"{TRIXIE} -k podman"]),
    ],
)
def test_steps(commands: Commands, monkeypatch: pytest.MonkeyPatch, words: list[str], run: list[str]) -> None:
    assert call(monkeypatch, *words) == 0
    assert commands.run == run


@pytest.mark.parametrize(("processors", "workers"), [(None, 0), (1, 0), (3, 3), (64, 4)])
def test_the_tests_are_shared_by_the_processors(
    commands: Commands, monkeypatch: pytest.MonkeyPatch, processors: int | None, workers: int
) -> None:
    monkeypatch.setattr(tool.os, "cpu_count", lambda: processors)
    assert call(monkeypatch, "--only", "unit") == 0
    assert commands.run[-1] == (f"-n {workers} --dist loadfile tests/unit" if workers else "tests/unit")


def test_one_processor_has_one_lab(commands: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    """It stays up, as tests were not given more of them."""
    monkeypatch.setattr(tool.os, "cpu_count", lambda: 1)
    assert call(monkeypatch, "--only", "lab") == 0
    assert commands.run == ["./build all", "tools/lab up", "-m not long tests/lab --lab trixie"]


def test_every_run_has_the_engines_of_both_debians() -> None:
    """A machine has its own. Where it is neither of them, those of the stable release are in a tree."""
    assert [tool.engines.other(release) for release in ("bookworm", "trixie", "forky", "")] == [
        "trixie",
        "bookworm",
        "trixie",
        "trixie",
    ]
    assert [name for name in tool.engines.SUITES if tool.STEPS[name].usual] == [RELEASE]


def test_paths_of_steps_exist() -> None:
    words = [word for step in tool.STEPS.values() for word in step.pytest if "/" in word]
    paths = [word.rpartition("=")[2].partition("::")[0] for word in words]
    assert len(paths) > len(tool.STEPS)
    assert all((CHECKOUT / path).exists() for path in paths)


def test_debian_12_in_every_run_meets_its_qemu() -> None:
    """pytest fails for names of tests that do not exist, but not for a marker that none has."""
    chosen = [item.split("::") for item in tool.STEPS["lab-bookworm"].pytest]
    assert all(len(parts) == 2 for parts in chosen), "single tests, as a whole module takes too long"
    assert ["tests/lab/test_image.py", "test_an_image_by_qemu"] in chosen


def test_the_summary(commands: Commands, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    commands.failing = {UNIT: 1, "tools/lab": 125}
    assert call(monkeypatch) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [" ".join(line.split()) for line in lines[-12:-1]] == [
        "linters 0 s passed",
        "./build initrd 0 s passed",
        "unit and snapshot tests 0 s failed",
        "tests on xl-double 0 s passed",
        f"tests on xl-double, Debian {RELEASE} 0 s passed",
        "./build all 0 s passed",
        "tools/lab --number 1 up 0 s failed",
        "tests in the Xen lab 0 s not run",
        "tools/lab --suite bookworm up 0 s failed",
        "tests in the Xen lab, Debian 12 0 s not run",
        f"Debian {RELEASE}: podman 5.4.2, python3 3.13.5",
    ]
    assert lines[-1] == (
        "tools/test: failed: unit and snapshot tests, tools/lab --number 1 up, tests in the Xen lab, "
        "tools/lab --suite bookworm up, tests in the Xen lab, Debian 12, 0.0 min"
    )
    assert commands.run[-1] == LAB_BOOKWORM


def test_a_failure_in_a_tree(commands: Commands, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    commands.failing = {"sid": 1}
    assert call(monkeypatch, "--engines") == 1
    assert "tools/test: failed: tests on xl-double, Debian sid, " in capsys.readouterr().out


def test_a_step_without_tests(commands: Commands, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """It is a fault without arguments for pytest. With them, some step has to have a test."""
    commands.failing = {UNIT: tool.NOTHING_SELECTED}
    assert call(monkeypatch, "--only", "unit") == 1
    assert "unit and snapshot tests      0 s  failed" in capsys.readouterr().out
    assert call(monkeypatch, "--only", "unit", "--only", "double", "--", "-k", "engine") == 0
    assert "unit and snapshot tests      0 s  no test" in capsys.readouterr().out
    assert call(monkeypatch, "--only", "unit", "--", "-k", "nothing") == 1
    assert "tools/test: failed: unit and snapshot tests, " in capsys.readouterr().out
    commands.failing = {UNIT: tool.NOTHING_SELECTED, DOUBLE: tool.NOTHING_SELECTED}
    assert call(monkeypatch, "--only", "unit", "--only", "double", "--", "-k", "nothing") == 1


def test_a_step_among_the_words_for_pytest(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        call(monkeypatch, "--only", "unit", "double")
    assert "double is a step, not an argument for pytest: write --only before each step" in capsys.readouterr().err


def test_without_the_guest_there_is_no_lab(commands: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    commands.failing = {"./build all": 1}
    assert call(monkeypatch, "--only", "lab") == 1
    assert commands.run == ["./build all"]


def test_another_python(commands: Commands, monkeypatch: pytest.MonkeyPatch) -> None:
    """A version is that of a Debian, in a tree of it; a path is an interpreter of this machine."""
    trees: list[tuple[str, list[str]]] = []
    monkeypatch.setattr(tree, "make", lambda suite, _: Path("/trees") / suite)

    def called(root: Path, argv: list[str], *_: object) -> "subprocess.CompletedProcess[bytes]":
        trees.append((root.name, argv[-3:]))
        return subprocess.CompletedProcess(argv, 3)

    monkeypatch.setattr(tree, "call", called)
    assert call(monkeypatch, "--python", "3.13", "--", "-k", "cpio") == 3
    assert (trees, commands.run) == ([("trixie", ["tests/unit", "-k", "cpio"])], ["./build initrd"])
    with pytest.raises(SystemExit):
        call(monkeypatch, "--python", "2.7")
