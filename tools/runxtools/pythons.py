"""The unit tests with another version of Python: that of another Debian, in a tree of it (docs/trees.md), or any interpreter.

The guest comes from this machine: `./build initrd` has made it before.
"""

import os
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from runxtools import cache, tree
from runxtools.checkout import CHECKOUT

SUITES = {"3.11": "bookworm", "3.13": "trixie", "3.14": "sid"}
"""The suites of Debian with each version."""
_PACKAGES = (
    "busybox-static", "ca-certificates", "codespell", "cpio", "dnsmasq-base", "e2fsprogs", "erofs-utils", "gcc", "git",
    "iproute2", "iptables", "libc6-dev", "libseccomp2", "make", "musl-tools", "procps", "python3", "python3-pip", "python3-venv",
    "qemu-utils", "shellcheck", "strace", "util-linux",
)  # fmt: skip
"""What the unit tests use of a machine."""


def test(version: str, words: Sequence[str]) -> int:
    """Run the unit tests with a version of SUITES, or the interpreter at a path: pytest's exit status.

    words: more arguments for pytest. Raises ToolError if there is no such tree.
    """
    pytest = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/unit", *words]
    if "/" in version:
        made = subprocess.run([version, "-m", "runxtools.venv"], cwd=CHECKOUT / "tools", stdout=subprocess.PIPE, text=True)
        return made.returncode or subprocess.run([made.stdout.strip(), *pytest], cwd=CHECKOUT).returncode
    root = tree.make(SUITES[version], _PACKAGES)
    # The tree is below an overlay, on which the tests could not make overlays of their own.
    with tempfile.TemporaryDirectory(prefix="runx-") as scratch:
        binds = [tree.Bind(CHECKOUT), tree.Bind(cache.root()), tree.Bind(Path(scratch))]
        environment = {"RUNX_CACHE": str(cache.root()), "PYTHONDONTWRITEBYTECODE": "1", "TMPDIR": scratch}
        return tree.call(root, ["tools/python", *pytest], binds, str(CHECKOUT), environment).returncode


def version_or_path(text: str) -> str:
    """The value of `--python`. Raises ValueError."""
    if text not in SUITES and not ("/" in text and os.access(Path(text), os.X_OK)):
        raise ValueError
    return text
