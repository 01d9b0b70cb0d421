"""Install this checkout in the lab: copy the tree that `./build install` makes to / of dom0.

dom0 keeps two files in /var/lib/runx-lab: `stamp`, a hash of the tree's sources, and `manifest`, a line for each installed file.
With them an unchanged checkout costs one command, only changed files are copied, and files no longer installed are removed.
"""

import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from runxtools import apt, cache, command, tree
from runxtools.checkout import CHECKOUT
from runxtools.machine import Machine
from runxtools.packages import Package

HOST_PACKAGES = (Package("python3-pip", "/usr/lib/python3/dist-packages/pip", "fetches the libraries that runx uses"),)

_SOURCES = (
    "build",
    "pyproject.toml",
    "requirements.txt",
    "tools/runxtools/installer.py",
    "runx",
    "grammars",
    "guest-assets",
    "host-assets",
    "docs",
)
_ASSETS = "out/x86_64"
_STATE = "var/lib/runx-lab"
# Remove both first, as an interrupted copy leaves dom0 in an unknown state. They are last in the archive.
_RECEIVE = f"""
set -e
cd /{_STATE}
rm -f stamp manifest
if [ -s gone ]; then (cd / && xargs -0 rm -f -- <"/{_STATE}/gone"); fi
exec tar -x -p --no-same-owner --keep-directory-symlink --no-overwrite-dir -C /
"""


def install(lab: Machine, scratch: Path, suite: str) -> bool:
    """Bring dom0, a Debian of `suite`, up to the checkout, by way of a tree at `scratch`, which is removed before and after.

    False when dom0 was up to date. Raises ToolError when `./build install` fails.
    """
    stamp = _stamp()
    if lab.run(["cat", "/var/lib/runx-lab/stamp"]).stdout.decode(errors="replace") == stamp:
        return False
    shutil.rmtree(scratch, ignore_errors=True)
    try:
        _build(scratch, suite)
        _copy(lab, scratch, stamp)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return True


def _build(scratch: Path, suite: str) -> None:
    """`./build install` with the Python of `suite`: this machine's, or that of a tree."""
    build: list[str | Path] = ["./build", "install", "--prefix", "/usr/local", "--destdir", scratch]
    if apt.machine_release() == suite:
        command.run(["env", "-C", CHECKOUT, "PYTHON=/usr/bin/python3", *build], "./build install")
        return
    root = tree.make(suite, ("python3", "python3-pip"))
    scratch.mkdir()
    binds = [tree.Bind(CHECKOUT, writable=False), tree.Bind(cache.root()), tree.Bind(scratch)]
    with tree.entered(root, build, binds, str(CHECKOUT), {"RUNX_CACHE": str(cache.root())}) as (words, environment):
        command.run(words, "./build install", environment=environment)


def _copy(lab: Machine, tree: Path, stamp: str) -> None:
    there = lab.run(["cat", f"/{_STATE}/manifest"]).stdout.decode(errors="surrogateescape").splitlines()
    before = {path: kind for kind, _, path in (line.partition(" ") for line in there)}
    now = dict(_manifest(tree))
    changed = [path for path, kind in now.items() if before.get(path) != kind]
    gone = [path for path in before if path not in now]
    state = tree / _STATE
    state.mkdir(parents=True)
    lab.run(["sh", "-c", f"cat >/{_STATE}/gone"], "\0".join(gone).encode(errors="surrogateescape"), check=True)
    manifest = "".join(f"{kind} {path}\n" for path, kind in now.items())
    (state / "manifest").write_bytes(manifest.encode(errors="surrogateescape"))
    (state / "stamp").write_text(stamp)
    names = tree / "names"
    listed = [*changed, f"{_STATE}/manifest", f"{_STATE}/stamp"]
    names.write_bytes("\0".join(listed).encode(errors="surrogateescape"))
    command.pipe(
        ["tar", "-c", "-C", tree, "--owner=0", "--group=0", "--null", "--verbatim-files-from", "-T", names],
        lab.command(["sh", "-c", _RECEIVE]),
        "the copy of what is installed to dom0",
    )


def _manifest(tree: Path) -> Iterator[tuple[str, str]]:
    """For each file of the tree its path, and a word that changes with its content and mode."""
    for directory, below, names in os.walk(tree):
        for name in names + [name for name in below if os.path.islink(os.path.join(directory, name))]:
            path = Path(directory, name)
            content = os.readlink(path).encode() if path.is_symlink() else path.read_bytes()
            yield str(path.relative_to(tree)), f"{path.lstat().st_mode:o}-{hashlib.sha256(content).hexdigest()}"


def _stamp() -> str:
    """Hash of the sizes, times and modes of all files that are installed, or that make installed files."""
    digest = hashlib.sha256()
    for path in _files():
        status = path.stat()
        digest.update(f"{path}\0{status.st_size}\0{status.st_mtime_ns}\0{status.st_mode}\n".encode(errors="surrogateescape"))
    return digest.hexdigest()


def _files() -> Iterator[Path]:
    for name in _SOURCES:
        top = CHECKOUT / name
        if top.is_file():
            yield top
        for directory, below, names in os.walk(top):
            below[:] = sorted(set(below) - {"__pycache__"})
            yield from (Path(directory, name) for name in sorted(names))
    assets = CHECKOUT / _ASSETS
    if assets.is_dir():
        # Only files directly in it are installed.
        yield from sorted(path for path in assets.iterdir() if path.is_file())
