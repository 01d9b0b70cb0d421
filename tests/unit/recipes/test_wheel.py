"""`pip install .` makes a runx that plans as the checkout does; so does the source distribution."""

import os
import shutil
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path

import pytest

from runx.paths import machine

CHECKOUT = Path(__file__).parents[3]
GUEST = """[paths]
kernel = "/guest/kernel"
initrd = "/guest/initrd"
"""


def run(*argv: str | Path, cwd: Path) -> str:
    """The command's output. PYTHONPATH would bring the checkout's modules into the environment."""
    inherited = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run(argv, cwd=cwd, env=inherited, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the checkout, as pip leaves files behind where it builds."""
    copy = tmp_path_factory.mktemp("wheel") / "checkout"
    shutil.copytree(CHECKOUT, copy, ignore=shutil.ignore_patterns(".*", "out", "__pycache__", "*.egg-info", "snapshots"))
    return copy


@pytest.fixture(scope="module")
def environment(checkout: Path) -> Path:
    """A fresh virtual environment into which pip has installed the checkout, with the versions the tests run with."""
    directory = checkout.parent / "venv"
    run(sys.executable, "-m", "venv", directory, cwd=checkout)
    pip = (directory / "bin/python", "-m", "pip", "install", "--quiet", "--no-input")
    run(*pip, "--require-hashes", "-r", checkout / "requirements.txt", cwd=checkout)
    run(*pip, ".", cwd=checkout)
    return directory


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    """The bundle of containerd's ctr, and beside it a runx.toml that names a guest."""
    shutil.copytree(CHECKOUT / "tests/cases/ctr-plain", tmp_path / "bundle")
    (tmp_path / "bundle/rootfs").mkdir()
    (tmp_path / "runx.toml").write_text(GUEST)
    return tmp_path / "bundle"


@pytest.mark.parametrize("arguments", [["--format", "json"], ["--format", "text"]])
def test_plans_are_those_of_the_checkout(environment: Path, bundle: Path, arguments: list[str]) -> None:
    argv = ["plan", *arguments, "--config", str(bundle.parent / "runx.toml"), str(bundle)]
    here = run(sys.executable, "-m", "runx", *argv, cwd=CHECKOUT)
    assert '/guest/kernel"' in here
    assert run(environment / "bin/runx", *argv, cwd=bundle) == here


@pytest.mark.parametrize("arguments", [["--version"], ["features"], ["--help"]])
def test_commands_say_what_the_checkout_says(environment: Path, tmp_path: Path, arguments: list[str]) -> None:
    here = run(sys.executable, "-m", "runx", *arguments, cwd=CHECKOUT)
    assert run(environment / "bin/runx", *arguments, cwd=tmp_path) == here


def test_the_guest_is_looked_for_beside_the_environment(environment: Path, tmp_path: Path) -> None:
    (tmp_path / "runx.toml").touch()  # not that of this machine
    shown = run(environment / "bin/runx", "config", "--config", tmp_path / "runx.toml", cwd=tmp_path)
    assert f'kernel = "{environment}/share/runx/{machine()}/kernel"' in shown


def test_the_checkout_is_left_as_it_was(environment: Path, checkout: Path) -> None:  # `build` is a file, which setuptools minds
    """So a checkout that is read-only will do."""
    assert {path.name for path in checkout.iterdir()} <= {path.name for path in CHECKOUT.iterdir()}
    assert (checkout / "build").read_bytes() == (CHECKOUT / "build").read_bytes()


@pytest.mark.parametrize("version", ["==66.1.1", ""])
def test_the_source_distribution_makes_the_same_wheel(environment: Path, checkout: Path, tmp_path: Path, version: str) -> None:
    """With the oldest setuptools that will do, Debian 12's, and with the newest."""
    python = environment / "bin/python"
    (required,) = tomllib.loads((checkout / "pyproject.toml").read_text())["build-system"]["requires"]
    assert required == "setuptools>=66"
    install = [python, "-m", "pip", "install", "--quiet", "--no-input", "--upgrade", f"setuptools{version}", "wheel"]
    run(*install, cwd=checkout)
    for build in ("build_wheel", "build_sdist"):
        program = f"from setuptools.build_meta import *; {build}({str(tmp_path / 'direct')!r})"
        # Forms that a newer version will refuse are errors.
        run(python, "-W", "error:`project.license`", "-c", program, cwd=checkout)
    (source,) = (tmp_path / "direct").glob("*.tar.gz")
    with tarfile.open(source) as archive:
        packed = {name.partition("/")[2] for name in archive.getnames() if not archive.getmember(name).isdir()}
    # Its documents tell to run what is in it.
    assert packed - {"PKG-INFO", "setup.cfg"} == {
        str(path.relative_to(checkout)) for path in checkout.rglob("*") if path.is_file()
    }
    wheel = [python, "-m", "pip", "wheel", "--quiet", "--no-input", "--no-deps", "--no-build-isolation"]
    run(*wheel, "-w", tmp_path / "from-source", source, cwd=tmp_path)
    direct, from_source = (contents(tmp_path / name) for name in ("direct", "from-source"))
    assert from_source == direct
    assert any(b"\nLicense: Apache-2.0\n" in data for name, data in direct.items() if name.endswith("/METADATA"))
    ours = {name: (CHECKOUT / name).read_bytes() for name in below("runx", "*.py")}
    ours |= {f"runx/{name}": (CHECKOUT / name).read_bytes() for name in below("grammars", "*.lark")}
    assert {name: data for name, data in direct.items() if name.startswith("runx/")} == ours


def contents(directory: Path) -> dict[str, bytes]:
    """The files of the wheel in a directory."""
    (path,) = directory.glob("*.whl")
    with zipfile.ZipFile(path) as wheel:
        return {name: wheel.read(name) for name in wheel.namelist() if not name.endswith("/RECORD")}


def below(directory: str, pattern: str) -> list[str]:
    return [str(path.relative_to(CHECKOUT)) for path in sorted((CHECKOUT / directory).rglob(pattern))]
