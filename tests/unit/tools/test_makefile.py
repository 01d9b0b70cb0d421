"""Who names commands of this checkout names such as there are: the Makefile, and the hooks of pre-commit."""

import itertools
import os
import re
import shutil
import subprocess
from importlib.util import find_spec

import pytest

from runxtools.checkout import CHECKOUT
from runxtools.test import STEPS

TEXT = (CHECKOUT / "Makefile").read_text()
TARGETS = dict(re.findall(r"^([a-z-]+): ## .+\n\t(.+)$", TEXT, re.M))
PHONY = TEXT.split(".PHONY: ")[1].split("\n")[0].split()


def test_every_target_is_one_line_and_no_file() -> None:
    assert list(TARGETS) == PHONY
    assert TEXT.count("\n\t") == len(TARGETS)


def test_help_is_the_default_and_names_every_target() -> None:
    shown = subprocess.run(["make", "-s"], cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout
    assert [line.split()[0] for line in shown.splitlines()] == PHONY
    assert shown == subprocess.run(["make", "-s", "help"], cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout


@pytest.mark.parametrize("target", [target for target in PHONY if target != "help"])
def test_the_command_of_a_target_exists(target: str) -> None:
    shown = subprocess.run(["make", "-n", target], cwd=CHECKOUT, capture_output=True, text=True, check=True).stdout
    assert shown == TARGETS[target] + "\n", "whatever there is already"
    program, *words = shown.split()
    assert os.access(CHECKOUT / program, os.X_OK)
    for option, value in itertools.pairwise(words):
        if option == "--only":
            assert value in STEPS
        elif option == "-m" and value.startswith("runxtools."):
            assert (CHECKOUT / "tools" / value.replace(".", "/")).with_suffix(".py").is_file()
    assert all((CHECKOUT / word).exists() for word in words if "/" in word)


HOOKS = (CHECKOUT / ".pre-commit-config.yaml").read_text()


@pytest.mark.parametrize("command", re.findall(r"^ +entry: (.+)$", HOOKS, re.M))
def test_the_command_of_a_hook_exists(command: str) -> None:
    program, *words = command.split()
    assert os.access(CHECKOUT / program, os.X_OK) if "/" in program else shutil.which(program)
    assert words[:1] != ["-m"] or find_spec(words[1])


def test_hooks_download_nothing() -> None:
    assert re.findall(r"repo: (.+)", HOOKS) == ["local"]
    assert HOOKS.count("language: system") == HOOKS.count("- id: ")
