"""`./build install`: runx with private copies of the libraries it uses, and the guest's files, below a prefix.

PREFIX/bin/runx                      starts the interpreter with -I -S and looks nowhere but in PREFIX/lib/runx
PREFIX/lib/runx/                     the package, its grammars, the libraries; all compiled
PREFIX/share/runx/ARCH/              kernel, initrd and block, the script of disks
"""

import json
import os
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

from runxtools import cache
from runxtools.arches import ARCHES, Arch
from runxtools.checkout import CHECKOUT, HOST_SCRIPTS
from runxtools.errors import ToolError
from runxtools.runner import Log, environment, say

_LAUNCHER = """\
#!{python} -IS
# runx, an OCI runtime for Xen. -I and -S: neither the caller's environment nor the machine's Python packages matter.
import sys

sys.path.insert(0, "{library}")

from runx.cli.main import program

program()
"""
_MARK = "installed-by-runx-build"
_GUEST_FILES = ("kernel", "initrd")
# What tells pip, and the TLS library below it, how to reach the packages.
_PIP_SETTINGS = ("PIP_", "SSL_", "REQUESTS_", "http_", "https_", "HTTP_", "HTTPS_", "no_proxy", "NO_PROXY")


@dataclass(frozen=True)
class Place:
    """Where to install: PREFIX is where it will run, DESTDIR is put before it while copying."""

    prefix: Path
    destdir: Path | None
    python: Path
    """The interpreter that will run it."""

    def real(self, path: Path) -> Path:
        """The path under which a file of the installation is written now."""
        return self.destdir / path.relative_to("/") if self.destdir else path

    @property
    def library(self) -> Path:
        """PREFIX/lib/runx."""
        return self.prefix / "lib" / "runx"


def place(prefix: str, destdir: str | None, python: str) -> Place:
    """Raises ToolError for a prefix that is not absolute, or an interpreter that cannot run runx."""
    if not prefix.startswith("/"):
        raise ToolError(f"--prefix {prefix} is no absolute path")
    if any(character in prefix for character in '"\\\n'):
        raise ToolError("the prefix has a character that the launcher cannot quote")
    if not os.access(python, os.X_OK) or not python.startswith("/"):
        raise ToolError(f"--python {python}: there is no such program", "apt-get install python3, or give its absolute path")
    return Place(Path(os.path.normpath(prefix)), Path(destdir).absolute() if destdir else None, Path(python))


def install(out: Path, arch: Arch, place: Place) -> None:
    """Install runx for hosts of `arch`, and every guest that was built into `out`.

    Another machine's architecture goes into a destdir only: a package for that machine, whose Python must have the version of
    the one here. Raises ToolError when the guest has not been built.
    """
    if not arch.native and not place.destdir:
        message = f"ARCH={arch.name} is not this machine's: what is installed would not run here"
        raise ToolError(message, "--destdir DIRECTORY makes a package for a machine where it does")
    guests = [guest for guest in ARCHES if all((out / guest / name).is_file() for name in _GUEST_FILES)]
    if arch.name not in guests:
        raise ToolError(f"{out / arch.name} has no kernel and initrd yet", f"./build ARCH={arch.name}")
    _check_writable(place)
    ours = _libraries(place)
    _install_library(place, ours if arch.native else _libraries(place, arch), ours)
    _install_launcher(place)
    for guest in guests:
        target = place.real(place.prefix / "share" / "runx" / guest)
        target.mkdir(parents=True, exist_ok=True)
        for name in _GUEST_FILES:
            _copy(out / guest / name, target / name, 0o644)
        for script in HOST_SCRIPTS:
            _copy(script, target / script.name, 0o755)
    say(f"installed: {place.prefix}/bin/runx" + (f" in {place.destdir}" if place.destdir else ""))


def uninstall(place: Place) -> None:
    """Removes what install() made, and nothing else."""
    library = place.real(place.library)
    if not (library / _MARK).is_file():
        raise ToolError(f"{library} was not installed by ./build install")
    for path in (library, place.real(place.prefix / "share" / "runx")):
        shutil.rmtree(path, ignore_errors=True)
    place.real(place.prefix / "bin" / "runx").unlink(missing_ok=True)
    say(f"removed: runx from {place.prefix}")


def _check_writable(place: Place) -> None:
    at = place.real(place.prefix)
    while not at.exists():
        at = at.parent
    if not os.access(at, os.W_OK):
        raise ToolError(f"{at} cannot be written to", "run it as root (sudo), or choose another --prefix")


def _copy(source: Path, target: Path, mode: int) -> None:
    """Puts a whole file in place at once: what runs from the old one goes on doing so."""
    temporary = target.with_name(f".{target.name}.new")
    shutil.copyfile(source, temporary)
    temporary.chmod(mode)
    temporary.replace(target)


# ---- the libraries


def requirements() -> list[str]:
    """What pyproject.toml says runx needs."""
    with (CHECKOUT / "pyproject.toml").open("rb") as file:
        return list(tomllib.load(file)["project"]["dependencies"])


def _python_version(python: Path) -> str:
    code = "import sys, sysconfig; print(sys.implementation.cache_tag, sysconfig.get_platform(), *sys.version_info[:3])"
    result = subprocess.run([python, "-I", "-c", code], capture_output=True, text=True, check=False)
    if result.returncode:
        raise ToolError(f"--python {python} does not run", result.stderr.strip())
    words = result.stdout.split()
    if (int(words[2]), int(words[3])) < (3, 11):
        raise ToolError(f"--python {python} is Python {'.'.join(words[2:])}", "runx needs 3.11")
    return " ".join(words)


def _pip(python: Path) -> list[str | Path]:
    """A pip that installs for this interpreter: its own, or ours."""
    candidates: list[list[str | Path]] = [[python, "-m", "pip"], [sys.executable, "-m", "pip", "--python", python]]
    for candidate in candidates:
        result = subprocess.run([*candidate, "--version"], capture_output=True, check=False, env=environment())
        if result.returncode == 0:
            return candidate
    raise ToolError(f"{python} has no pip", "apt-get install python3-pip")


def _libraries(place: Place, foreign: Arch | None = None) -> Path:
    """A directory with the libraries, of this machine or of another one, compiled for their final place."""
    pins = (CHECKOUT / "requirements-dev.txt").read_text()
    wanted = requirements()
    python = _python_version(place.python)
    ingredients: dict[str, str | bytes] = {
        "recipe": "2",
        "requirements": "\n".join(wanted),
        "pins": pins,
        "python": python,
        "place": str(place.library),
    }
    platform = _platform(foreign, python) if foreign else ()
    if platform:
        ingredients["platform"] = " ".join(platform)
    key = cache.key_of(ingredients)

    def fill(directory: Path) -> None:
        say(f"libraries: {', '.join(wanted)} and what they need, about 15 s")
        log = Log("libraries")
        # The versions the tests run with.
        constraints = directory / "constraints"
        constraints.write_text(pins)
        target = directory / "lib"
        log.run(
            [
                *_pip(place.python), "install", "--quiet", "--no-input", "--disable-pip-version-check", "--no-compile",
                "--root-user-action=ignore", "--only-binary=:all:", "--target", target, "-c", constraints,
                *platform, *wanted,
            ],
            "pip install",
            env={name: value for name, value in os.environ.items() if name.startswith(_PIP_SETTINGS)},
        )  # fmt: skip
        constraints.unlink()
        shutil.rmtree(target / "bin", ignore_errors=True)
        _compile(place, target, target)

    # A part for each place, since making one removes older ones of the same part.
    part = f"install-libraries.{cache.key_of({'place': str(place.library) + (foreign.name if foreign else '')})[:6]}"
    return cache.find(cache.root(), part, key) or cache.make(cache.root(), part, key, fill)


def _platform(arch: Arch, python: str) -> tuple[str, ...]:
    """What tells pip to fetch for another architecture, and this version of Python (PEP 425)."""
    _, _, major, minor, _ = python.split()
    named = (f"--platform={kind}_{arch.wheels}" for kind in ("manylinux_2_17", "manylinux2014"))
    return (*named, f"--python-version={major}.{minor}", "--implementation=cp", f"--abi=cp{major}{minor}")


def _compile(place: Place, directory: Path, root: Path) -> None:
    """Compiles every module below DIRECTORY, whose ROOT will be PREFIX/lib/runx.

    Without checks: a .pyc is used as it is, so dates do not matter and no source is looked at.
    """
    code = (
        "import compileall, py_compile, sys\n"
        "mode = py_compile.PycInvalidationMode.UNCHECKED_HASH\n"
        "ok = compileall.compile_dir(sys.argv[1], quiet=1, workers=0, invalidation_mode=mode, stripdir=sys.argv[2],"
        " prependdir=sys.argv[3])\n"
        "sys.exit(not ok)"
    )
    result = subprocess.run(
        [place.python, "-I", "-c", code, directory, root, place.library], capture_output=True, text=True, check=False
    )
    if result.returncode:
        raise ToolError(f"compiling {directory} failed", (result.stdout + result.stderr).strip())


def _write_tables(place: Place, library: Path, ours: Path) -> None:
    """The parsers' tables, as the runx at LIBRARY writes them, with libraries that this machine can run."""
    code = "import sys; sys.path[:0] = sys.argv[1:]; from runx.compiler.grammar import write_tables; write_tables()"
    result = subprocess.run(
        [place.python, "-I", "-S", "-c", code, ours / "lib", library], capture_output=True, text=True, check=False
    )
    if result.returncode:
        raise ToolError("the grammars' tables cannot be made", (result.stdout + result.stderr).strip())


# ---- the package


def _install_library(place: Place, libraries: Path, ours: Path) -> None:
    """Makes PREFIX/lib/runx anew beside the old one, then swaps them. `ours`: the libraries of this machine."""
    target = place.real(place.library)
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists() and not (target / _MARK).exists() and any(target.iterdir()):
        raise ToolError(f"{target} is there and not ours", "remove it, or choose another --prefix")
    new, old = target.with_name("runx.new"), target.with_name("runx.old")
    for leftover in (new, old):
        shutil.rmtree(leftover, ignore_errors=True)
    try:
        shutil.copytree(libraries / "lib", new, symlinks=True)
        ignore = shutil.ignore_patterns("__pycache__", "*.pyc")
        shutil.copytree(CHECKOUT / "runx", new / "runx", ignore=ignore)
        shutil.copytree(CHECKOUT / "grammars", new / "grammars", ignore=ignore)
        _compile(place, new / "runx", new)
        _write_tables(place, new, ours)
        (new / _MARK).write_text(json.dumps({"prefix": str(place.prefix), "python": str(place.python)}) + "\n")
        _open_to_all(new)
        if target.exists():
            target.rename(old)
        new.rename(target)
    finally:
        for leftover in (new, old):
            shutil.rmtree(leftover, ignore_errors=True)


def _open_to_all(directory: Path) -> None:
    """Everybody may read what is installed, whatever umask this ran under."""
    for parent, directories, files in os.walk(directory):
        for name in (*directories, *files):
            path = Path(parent, name)
            if not path.is_symlink():
                runs = name.endswith(".so") or (path.suffix == "" and path.stat().st_mode & 0o100)
                path.chmod(0o755 if path.is_dir() or runs else 0o644)
    directory.chmod(0o755)


def _install_launcher(place: Place) -> None:
    target = place.real(place.prefix / "bin" / "runx")
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(".runx.new")
    temporary.write_text(_LAUNCHER.format(python=place.python, library=place.library))
    temporary.chmod(0o755)
    temporary.replace(target)
