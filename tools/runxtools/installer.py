"""`./build install`: install runx, private copies of its libraries, and the guest's files below a prefix.

PREFIX/bin/runx           starts the interpreter with -I -S, which imports from PREFIX/lib/runx only
PREFIX/lib/runx/          the package, its grammars and its libraries, compiled
PREFIX/share/runx/ARCH/   kernel, initrd, their manifest, and hotplug scripts
PREFIX/lib/udev, PREFIX/lib/systemd/network, PREFIX/share/runx/lvmlocal.conf
                          settings that keep dom0's programs off what guests have
"""

import json
import os
import shlex
import shutil
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

from runxtools import cache
from runxtools.arches import ARCHES, Arch
from runxtools.checkout import CHECKOUT, HOST_SCRIPTS, HOST_SETTINGS
from runxtools.errors import ToolError
from runxtools.runner import Log, environment, say

PREAMBLE = """\
#!/bin/sh
''':'
# What a shell reads: Python does not start at all if its standard input is a directory. It ends as any input does then.
# -I and -S ignore the caller's environment and the machine's Python packages.
[ ! -d /dev/stdin ] || exec < /dev/null
exec {python} -IS "$0" "$@"
'''
"""
"""The beginning of a program for an interpreter, as a word of a shell."""
_LAUNCHER = """\
# runx, an OCI runtime for Xen.
import sys

sys.path.insert(0, "{library}")

from runx.cli.main import program

program()
"""
_MARK = "installed-by-runx-build"
ADDED = "kernel.added"
"""Lines of KERNEL_CONFIG, if the kernel was made with them."""
MANIFEST = "manifest.spdx.json"
"""What the kernel and the initrd were made of (recipes/manifest.py)."""
_READ_BY_UDEV = ("/usr", "/usr/local")
"""Prefixes below whose lib udev and systemd-networkd look (udev(7), systemd.network(5))."""
_GUEST_FILES = ("kernel", "initrd")
PIP_SETTINGS = ("PIP_", "SSL_", "REQUESTS_", "http_", "https_", "HTTP_", "HTTPS_", "no_proxy", "NO_PROXY")
"""First words of variables that tell pip, and its TLS library, how to reach the packages."""


@dataclass(frozen=True)
class Place:
    """Where to install: runx will run from `prefix`; files are copied below `destdir` if there is one."""

    prefix: Path
    destdir: Path | None
    python: Path
    """The interpreter that will run runx."""

    def real(self, path: Path) -> Path:
        """The path to which an installed file is written now."""
        return self.destdir / path.relative_to("/") if self.destdir else path

    @property
    def library(self) -> Path:
        """PREFIX/lib/runx."""
        return self.prefix / "lib" / "runx"


def place(prefix: str, destdir: str | None, python: str) -> Place:
    """The place of these options. Raises ToolError for a relative prefix, or an interpreter that does not exist."""
    if not prefix.startswith("/"):
        raise ToolError(f"--prefix {prefix} is not an absolute path")
    if any(character in prefix for character in '"\\\n'):
        raise ToolError('--prefix: the launcher cannot quote ", \\ and newlines')
    if not os.access(python, os.X_OK) or not python.startswith("/"):
        raise ToolError(f"--python {python}: no such program", "apt-get install python3, or give its absolute path")
    return Place(Path(os.path.normpath(prefix)), Path(destdir).absolute() if destdir else None, Path(python))


def install(out: Path, arch: Arch, place: Place) -> None:
    """Install runx for hosts of `arch`, and every guest in `out`.

    Another architecture than this machine's needs a destdir, and a Python of the same version as this one there. Raises
    ToolError when the guest has not been built.
    """
    if not arch.native and not place.destdir:
        message = f"ARCH={arch.name} is not this machine's: it would not run here"
        raise ToolError(message, "--destdir DIRECTORY makes a package for such a machine")
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
        if (out / guest / ADDED).is_file():
            _copy(out / guest / ADDED, target / ADDED, 0o644)
        else:
            (target / ADDED).unlink(missing_ok=True)
        if (out / guest / MANIFEST).is_file():
            _copy(out / guest / MANIFEST, target / MANIFEST, 0o644)
        else:
            (target / MANIFEST).unlink(missing_ok=True)
        for script in HOST_SCRIPTS:
            _copy(script, target / script.name, 0o755)
    for source, name in HOST_SETTINGS.items():
        target = place.real(place.prefix / name)
        target.parent.mkdir(parents=True, exist_ok=True)
        _copy(source, target, 0o644)
    say(f"installed: {place.prefix}/bin/runx" + (f" in {place.destdir}" if place.destdir else ""))
    if str(place.prefix) not in _READ_BY_UDEV:
        say(f"udev and networkd do not read {place.prefix}/lib: copy its udev and systemd below /usr/local/lib or /etc")


def uninstall(place: Place) -> None:
    """Remove the files of install(), and no others."""
    library = place.real(place.library)
    if not (library / _MARK).is_file():
        raise ToolError(f"{library} was not installed by ./build install")
    for path in (library, place.real(place.prefix / "share" / "runx")):
        shutil.rmtree(path, ignore_errors=True)
    for path in (place.prefix / "bin" / "runx", *(place.prefix / name for name in HOST_SETTINGS.values())):
        place.real(path).unlink(missing_ok=True)
    say(f"removed: runx from {place.prefix}")


def _check_writable(place: Place) -> None:
    at = place.real(place.prefix)
    while not at.exists():
        at = at.parent
    if not os.access(at, os.W_OK):
        raise ToolError(f"{at} cannot be written to", "run it as root (sudo), or choose another --prefix")


def _copy(source: Path, target: Path, mode: int) -> None:
    """Replace a file at once; processes that use the old file keep it."""
    temporary = target.with_name(f".{target.name}.new")
    shutil.copyfile(source, temporary)
    temporary.chmod(mode)
    temporary.replace(target)


# ---- the libraries


def requirements() -> list[str]:
    """The dependencies in pyproject.toml."""
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
    """Command of a pip that installs for this interpreter: its own, or ours. Raises ToolError for none."""
    candidates: list[list[str | Path]] = [[python, "-m", "pip"], [sys.executable, "-m", "pip", "--python", python]]
    for candidate in candidates:
        result = subprocess.run([*candidate, "--version"], capture_output=True, check=False, env=environment())
        if result.returncode == 0:
            return candidate
    raise ToolError(f"{python} has no pip", "apt-get install python3-pip")


def _libraries(place: Place, foreign: Arch | None = None) -> Path:
    """Directory of the libraries, compiled for their final place; `foreign`: of another architecture."""
    pins = CHECKOUT / "requirements.txt"
    wanted = requirements()
    python = _python_version(place.python)
    ingredients: dict[str, str | bytes] = {
        "recipe": "3",
        "requirements": "\n".join(wanted),
        "pins": pins.read_bytes(),
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
        target = directory / "lib"
        log.run(
            [
                *_pip(place.python), "install", "--quiet", "--no-input", "--disable-pip-version-check", "--no-compile",
                "--root-user-action=ignore", "--only-binary=:all:", "--target", target, *platform,
                # The versions that the tests run with, and no file but those of the list.
                "--require-hashes", "-r", pins,
            ],
            "pip install",
            env={name: value for name, value in os.environ.items() if name.startswith(PIP_SETTINGS)},
        )  # fmt: skip
        shutil.rmtree(target / "bin", ignore_errors=True)
        _compile(place, target, target)

    # A part for each place: making an entry removes older entries of its part.
    part = f"install-libraries.{cache.key_of({'place': str(place.library) + (foreign.name if foreign else '')})[:6]}"
    return cache.find(cache.root(), part, key) or cache.make(cache.root(), part, key, fill)


def _platform(arch: Arch, python: str) -> tuple[str, ...]:
    """Options of pip for another architecture and this version of Python (PEP 425)."""
    _, _, major, minor, _ = python.split()
    named = (f"--platform={kind}_{arch.wheels}" for kind in ("manylinux_2_17", "manylinux2014"))
    return (*named, f"--python-version={major}.{minor}", "--implementation=cp", f"--abi=cp{major}{minor}")


def _compile(place: Place, directory: Path, root: Path) -> None:
    """Compile every module below `directory`; `root` will be PREFIX/lib/runx.

    The .pyc files are unchecked (PEP 552): Python uses them without a look at source files and dates.
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
    """Write the parsers' tables with the runx at `library`, and with `ours`, libraries that this machine can run."""
    code = "import sys; sys.path[:0] = sys.argv[1:]; from runx.compiler.grammar import write_tables; write_tables()"
    result = subprocess.run(
        [place.python, "-I", "-S", "-c", code, ours / "lib", library], capture_output=True, text=True, check=False
    )
    if result.returncode:
        raise ToolError("the grammars' tables cannot be made", (result.stdout + result.stderr).strip())


# ---- the package


def _install_library(place: Place, libraries: Path, ours: Path) -> None:
    """Make a new PREFIX/lib/runx beside the old one, then swap them. `ours`: libraries of this machine."""
    target = place.real(place.library)
    target.parent.mkdir(parents=True, exist_ok=True)
    if target.exists() and not (target / _MARK).exists() and any(target.iterdir()):
        raise ToolError(f"{target} exists and was not installed by ./build install", "remove it, or choose another --prefix")
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
    """Let every user read the installed files, whatever the umask was."""
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
    preamble = PREAMBLE.format(python=shlex.quote(str(place.python)))
    temporary.write_text(preamble + _LAUNCHER.format(library=place.library))
    temporary.chmod(0o755)
    temporary.replace(target)
