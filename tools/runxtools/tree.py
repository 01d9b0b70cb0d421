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

from runxtools import bootstrap, cache
from runxtools.checkout import CHECKOUT
from runxtools.command import main_of
from runxtools.errors import ToolError
from runxtools.installer import PIP_SETTINGS
from runxtools.packages import install, missing, require_root

HOST_PACKAGES = bootstrap.HOST_PACKAGES
SUITES = ("bookworm", "trixie", "testing", "sid")
_ENTER = CHECKOUT / "tools" / "tree-assets" / "enter"
_LEFT_OUT = ("/usr/share/doc/*", "/usr/share/info/*", "/usr/share/locale/*", "/usr/share/man/*")
_FILES = ("/etc/resolv.conf", "/etc/hosts", "/etc/ssl/certs/ca-certificates.crt", "/etc/pip.conf")
"""Files of this machine that commands get as copies, for the network."""
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
    ingredients: dict[str, str | bytes] = {
        "packages": " ".join((suite, *sorted(packages))),
        "left out": " ".join(_LEFT_OUT),
        **bootstrap.ingredients(suite),
    }
    key = cache.key_of(ingredients)

    def fill(directory: Path) -> None:
        bootstrap.make(suite, packages, directory / "root", _LEFT_OUT)

    part = f"tree.{suite}"
    with cache.locked(cache.root() / f"{part}.lock"):
        entry = cache.find(cache.root(), part, key) or cache.make(cache.root(), part, key, fill)
    return entry / "root"


@contextmanager
def entered(
    root: Path,
    argv: Sequence[str | Path],
    binds: Sequence[Bind] = (),
    directory: str = "/",
    environment: Mapping[str, str] | None = None,
) -> Iterator[tuple[list[str | Path], dict[str, str]]]:
    """The local command that runs `argv` in the root, and its environment. The command must have ended when the context ends.

    The command has the caller's streams and gives the exit status of `argv`, or 128 + n for signal n. It is root there, in this
    machine's network, with new mounts and processes only: /proc, /sys, cgroup2, an empty /run, this machine's /dev, and
    `binds`. The end of `argv` ends what it has started. `directory` is its working directory. pip and TLS work as on this
    machine: the environment has their settings, the root their files; `environment` is added.
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
    complete = {**kept, "PATH": _PATH, "HOME": str(Path.home()), "LANG": "C.UTF-8", **(environment or {})}
    with tempfile.TemporaryDirectory(prefix="runx-tree-") as scratch:
        spaces = ("--mount", "--propagation", "private", "--pid", "--fork", "--kill-child")
        yield ["unshare", *spaces, _ENTER, root, scratch, directory, *words, "--", *argv], complete


def call(
    root: Path,
    argv: Sequence[str | Path],
    binds: Sequence[Bind] = (),
    directory: str = "/",
    environment: Mapping[str, str] | None = None,
    **options: Any,
) -> "subprocess.CompletedProcess[bytes]":
    """Run a command in the root to its end (`entered`). `options` are those of subprocess.run."""
    with entered(root, argv, binds, directory, environment) as (words, complete):
        return subprocess.run(words, env=complete, check=False, **options)


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
