"""The linters, as tests: each says the same as on a command line, and fails the suite when it has something to say."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

TOP = Path(__file__).parents[1]


def run(*argv: str) -> None:
    result = subprocess.run(argv, cwd=TOP, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


def tracked(*patterns: str) -> list[str]:
    """Files of the checkout. Skip the test in a tree that git did not make, where caches and products are not told apart."""
    if not (TOP / ".git").exists():
        pytest.skip("needs a git checkout: `git ls-files` names the files to check")
    listed = subprocess.run(["git", "ls-files", "-z", "--", *patterns], cwd=TOP, capture_output=True, text=True, check=True)
    return [name for name in listed.stdout.split("\0") if name and (TOP / name).is_file()]


def test_ruff() -> None:
    run(sys.executable, "-m", "ruff", "check", ".", "build")


def test_format() -> None:
    run(sys.executable, "-m", "ruff", "format", "--check", ".", "build")


@pytest.mark.parametrize("files", [["runx"], ["tools/runxtools"]])
def test_mypy(files: list[str]) -> None:
    run(sys.executable, "-m", "mypy", *files)


def test_shellcheck() -> None:
    scripts = [name for name in tracked() if re.match(rb"#! ?/bin/(ba)?sh", (TOP / name).read_bytes()[:16])]
    assert scripts
    # Snapshots are scripts runx wrote: a dollar sign in single quotes is what it is to write.
    for excluded, group in (
        ("", [n for n in scripts if "/snapshots/" not in n]),
        ("SC2016", [n for n in scripts if "/snapshots/" in n]),
    ):
        run("shellcheck", "-x", f"--exclude={excluded}", *group)


def test_spelling() -> None:
    run("codespell", *tracked("*.py", "*.md", "*.c", "*.h", "tools", "build"))


def test_c_compiles_without_warnings() -> None:
    flags = ["-std=gnu11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-fsyntax-only", "-x", "c"]
    compiler = shutil.which("musl-gcc") or "gcc"
    # A header is compiled alone too: it includes what it needs.
    for name in tracked("guest-assets/init/*.[ch]"):
        run(compiler, *flags, "-Os", "-I", "guest-assets/init", name)
    for name in tracked("tools/double-assets/*.c"):
        run("gcc", *flags, "-O2", name)


def test_documents_name_files_that_exist() -> None:
    """A relative link or a path in backquotes that looks like one of ours must be there."""
    missing = []
    for name in tracked("*.md"):
        text = (TOP / name).read_text()
        for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", text):
            if not (TOP / name).parent.joinpath(target).exists():
                missing.append(f"{name}: {target}")
        for target in re.findall(r"`((?:runx|docs|tools|guest-assets|grammars|tests)/[\w./-]+\.\w+)`", text):
            if not (TOP / target).exists():
                missing.append(f"{name}: {target}")
    assert not missing
