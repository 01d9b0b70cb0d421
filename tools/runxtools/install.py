"""Installs this checkout in the lab: the tree that `./build install` makes, copied to / of dom0.

dom0 keeps two files of it in /var/lib/runx-lab: `stamp`, what the tree was made from, and `manifest`, the names of its
files, so that an unchanged checkout costs one look and a file that is no longer installed goes away.
"""

import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from runxtools import command

if TYPE_CHECKING:
    from runxtools.lab import Lab

CHECKOUT = Path(__file__).resolve().parent.parent.parent
_SOURCES = ("build", "pyproject.toml", "runx", "grammars", "guest-assets", "docs")
_ASSETS = "out/x86_64"
_RECEIVE = r"""
set -e
cd /var/lib/runx-lab
rm -f stamp
cat >tree.tar
tar -t -f tree.tar | grep -v '/$' | sort >manifest.new
# Anything the tree before this one had and this one has not.
if [ -e manifest ]; then comm -23 manifest manifest.new | (cd / && tr '\n' '\0' | xargs -0 -r rm -f --); fi
tar -x -p --no-same-owner --keep-directory-symlink --no-overwrite-dir -C / -f tree.tar
rm tree.tar
mv manifest.new manifest
printf %s "$1" >stamp
"""


def install(lab: "Lab") -> bool:
    """Brings dom0 up to the checkout. False when it already was. Raises ToolError when `./build install` fails."""
    stamp = _stamp()
    if lab.run(["cat", "/var/lib/runx-lab/stamp"]).stdout.decode(errors="replace") == stamp:
        return False
    tree = lab.directory / "install.tmp"
    shutil.rmtree(tree, ignore_errors=True)
    try:
        # The Python of Debian 12 is dom0's: what the tree says of its interpreter holds there too.
        command.run(
            [
                "env", "-C", CHECKOUT, "PYTHON=/usr/bin/python3",
                "./build", "install", "--prefix", "/usr/local", "--destdir", tree,
            ],
            "./build install",
        )  # fmt: skip
        command.pipe(
            ["tar", "-c", "-C", tree, "--owner=0", "--group=0", "."],
            lab.command(["sh", "-c", _RECEIVE, "install", stamp]),
            "the copy of what is installed to dom0",
        )
    finally:
        shutil.rmtree(tree, ignore_errors=True)
    return True


def _stamp() -> str:
    """Changes when a file that is installed, or that makes one, does."""
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
        # Only what is directly there is installed; below it are the trees it is built in.
        yield from sorted(path for path in assets.iterdir() if path.is_file())
