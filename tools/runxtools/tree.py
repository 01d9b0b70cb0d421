"""Debian roots of other suites, and commands that run in them: `tools/tree` (docs/trees.md).

A root is made once by mmdebstrap and kept in the cache. A command runs in namespaces of its own, with the root below an overlay
that is discarded at its end, so the root stays as it was made.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from runxtools import apt, cache
from runxtools.checkout import CHECKOUT
from runxtools.command import main_of, run
from runxtools.errors import ToolError
from runxtools.installer import PIP_SETTINGS
from runxtools.packages import Package, install, missing, require_root

HOST_PACKAGES = (Package("mmdebstrap", "mmdebstrap", "makes Debian roots"),)
SUITES = ("bookworm", "trixie", "testing", "sid")
_ENTER = CHECKOUT / "tools" / "tree-assets" / "enter"
_LEFT_OUT = ("/usr/share/doc/*", "/usr/share/info/*", "/usr/share/locale/*", "/usr/share/man/*")
_FILES = ("/etc/resolv.conf", "/etc/hosts", "/etc/ssl/certs/ca-certificates.crt", "/etc/pip.conf")
"""Files of this machine that commands get as copies, for the network."""
_OF_THE_MACHINE = ("apt/sources.list", "apt/sources.list.d/*", "apt/apt.conf.d/99mmdebstrap", "apt/auth.conf", "resolv.conf")
"""Files below /etc that mmdebstrap leaves in a root, which have this machine's settings."""
_CERTIFICATES = ("CURL_CA_BUNDLE",)
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


class Bind(NamedTuple):
    """A file or directory of this machine that a command in a root sees."""

    path: Path
    at: Path | None = None
    """Its place there (default: the same path)."""
    writable: bool = True


def make(suite: str, packages: Sequence[str]) -> Path:
    """The root of a minimal Debian of `suite` with these packages, in the cache: made if needed, about a minute.

    Nothing may be changed in it. Raises ToolError: not root, no package sources, or mmdebstrap's reason.
    """
    require_root(f"a root of Debian {suite} has device nodes and owners")
    install(missing(HOST_PACKAGES), lambda line: print(line, file=sys.stderr))
    sources = apt.suite_entries(suite)
    ingredients: dict[str, str | bytes] = {
        "packages": " ".join((suite, *sorted(packages))),
        "mmdebstrap": run(["mmdebstrap", "--version"]),
        "recipe": Path(__file__).read_bytes(),
        **{f"source {name}": text for name, text in sources.items()},
    }
    key = cache.key_of(ingredients)

    def fill(directory: Path) -> None:
        bootstrap(suite, packages, directory / "root", _LEFT_OUT)

    part = f"tree.{suite}"
    with cache.locked(cache.root() / f"{part}.lock"):
        entry = cache.find(cache.root(), part, key) or cache.make(cache.root(), part, key, fill)
    return entry / "root"


def bootstrap(suite: str, packages: Sequence[str], target: Path, left_out: Sequence[str], options: Sequence[str] = ()) -> None:
    """Make a minimal Debian with these packages by mmdebstrap, from this machine's package sources for `suite`.

    `target` is a directory or, ending in .tar, an archive. `left_out` are patterns of paths that are not unpacked. None of the
    machine's sources and settings stay in it. Raises ToolError.
    """
    with tempfile.TemporaryDirectory(prefix="runx-sources-") as place:
        sources = []
        for name, text in apt.suite_entries(suite).items():
            sources.append(Path(place, name))
            sources[-1].touch(mode=0o600)  # an address may hold a password
            sources[-1].write_text(text)
        run([
            "mmdebstrap", "--variant=minbase", "--mode=root", f"--format={'tar' if target.suffix == '.tar' else 'directory'}",
            f"--include={','.join(packages)}",
            *(f"--dpkgopt=path-exclude={pattern}" for pattern in left_out),
            *(f"--aptopt={setting}" for setting in apt.settings(suite)),
            *options,
            *(f'--customize-hook=rm -f "$1"/etc/{name}' for name in _OF_THE_MACHINE),
            suite, target, *sources,
        ])  # fmt: skip


@contextmanager
def entered(
    root: Path, argv: Sequence[str | Path], binds: Sequence[Bind] = (), directory: str = "/"
) -> Iterator[tuple[list[str | Path], dict[str, str]]]:
    """The local command that runs `argv` in the root, and its environment. The command must have ended when the context ends.

    The command has the caller's streams and gives the exit status of `argv`, or 128 + n for signal n. It is root there, in this
    machine's network, with new mounts and processes only: /proc, /sys, cgroup2, an empty /run, this machine's /dev, and
    `binds`. The end of `argv` ends what it has started. `directory` is its working directory. pip and TLS work as on this
    machine: the environment has their settings, the root their files.
    """
    require_root("a command in a Debian root needs mounts")
    words: list[str | Path] = []
    for name in (*_FILES, str(Path.home() / ".config/pip/pip.conf")):
        if os.path.exists(name):
            words += ["file", name]
    for bind in binds:
        if not bind.path.exists():
            raise ToolError(f"{bind.path}: no such file or directory")
        words += ["bind", bind.path.absolute(), (bind.at or bind.path).absolute(), "rw" if bind.writable else "ro"]
    kept = {name: text for name, text in os.environ.items() if name.startswith(PIP_SETTINGS) or name in (*_CERTIFICATES, "TERM")}
    environment = {**kept, "PATH": _PATH, "HOME": str(Path.home()), "LANG": "C.UTF-8"}
    with tempfile.TemporaryDirectory(prefix="runx-tree-") as scratch:
        spaces = ("--mount", "--propagation", "private", "--pid", "--fork", "--kill-child")
        yield ["unshare", *spaces, _ENTER, root, scratch, directory, *words, "--", *argv], environment


def call(
    root: Path,
    argv: Sequence[str | Path],
    binds: Sequence[Bind] = (),
    directory: str = "/",
    environment: Mapping[str, str] | None = None,
    **options: Any,
) -> "subprocess.CompletedProcess[bytes]":
    """Run a command in the root to its end (`entered`). `environment` is added to its own; `options` are subprocess.run's."""
    with entered(root, argv, binds, directory) as (words, own):
        return subprocess.run(words, env={**own, **(environment or {})}, check=False, **options)


def main() -> int:
    """Run `tools/tree`: the exit status of the command."""
    parser = argparse.ArgumentParser(
        prog="tools/tree",
        usage="tools/tree [OPTION ...] [--] COMMAND [ARGUMENT ...]",
        description="Runs a command in a Debian of another suite, in the directory of this checkout: docs/trees.md.",
    )
    parser.add_argument("--suite", choices=SUITES, default="trixie", help="default: %(default)s")
    parser.add_argument("--package", action="append", default=[], metavar="NAME", help="a package that it has; may be repeated")
    parser.add_argument(
        "--bind", action="append", default=[], metavar="PATH", type=Path, help="a path of this machine that it sees"
    )
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="COMMAND")
    options = parser.parse_args()
    words = options.command[1:] if options.command[:1] == ["--"] else options.command
    if not words:
        parser.error("COMMAND is missing")
    binds = [Bind(CHECKOUT), *map(Bind, options.bind)]
    return call(make(options.suite, options.package), words, binds, str(CHECKOUT)).returncode


if __name__ == "__main__":
    main_of("tree", main, trouble=125)
