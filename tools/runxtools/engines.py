"""The tests on tools/xl-double with the engines and the Python of another Debian, in a tree of it (docs/engines.md)."""

import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from runxtools import cache, tree
from runxtools.checkout import CHECKOUT
from runxtools.tree import Bind

SUITES = ("bookworm", "trixie", "sid")
"""Suites of Debian (12, 13, unstable) whose engines the tests are made for."""
ENGINES = ("containerd", "docker.io", "podman", "runc", "crun", "conmon", "netavark", "buildah", "python3")
"""Packages whose versions a result is of."""
_OF_SUITE = {
    "bookworm": ("libxenmisc4.17",),
    "trixie": ("libxenmisc4.20", "docker-cli", "netavark", "aardvark-dns"),
    "sid": ("libxenmisc4.20", "docker-cli", "netavark", "aardvark-dns"),
}
"""What the suites do not have in common. podman of bookworm uses CNI as long as netavark is not there."""
_PACKAGES = (
    "containerd", "docker.io", "podman", "runc", "crun", "conmon", "catatonit", "buildah",
    "containernetworking-plugins", "iptables", "nftables", "dnsmasq-base", "iproute2", "iputils-ping", "bridge-utils",
    "erofs-utils", "e2fsprogs", "qemu-utils", "xenstore-utils", "busybox-static", "sqlite3", "cpio", "kmod", "procps", "strace",
    "util-linux", "bsdutils", "gcc", "libc6-dev", "make", "git", "ca-certificates", "python3", "python3-venv",
)  # fmt: skip


def other(release: str) -> str:
    """The suite whose engines every run of the tests has in a tree, on a machine of this release, which has its own."""
    return "bookworm" if release == "trixie" else "trixie"


class Tree:
    """A tree of a suite, with the engines and all else that the tests on tools/xl-double need."""

    def __init__(self, suite: str) -> None:
        """Make the tree if needed, some minutes the first time. Raises ToolError."""
        self.suite = suite
        self._root = tree.make(suite, (*_PACKAGES, *_OF_SUITE[suite]))

    def versions(self) -> str:
        """The engines' versions, as `NAME VERSION, …`, without the revisions of Debian."""
        words = ["dpkg-query", "--show", "--showformat", "${Package} ${source:Upstream-Version}\n", *ENGINES]
        said = tree.call(self._root, words, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL).stdout.decode()
        found = dict(line.split() for line in said.splitlines() if len(line.split()) == 2)
        return ", ".join(f"{name} {found[name].partition('+')[0].partition('~')[0]}" for name in ENGINES if name in found)

    def call(self, argv: Sequence[str | Path], environment: Mapping[str, str] | None = None) -> int:
        """Run a command in the tree, in the directory of this checkout: its exit status.

        It sees the checkout and the cache as they are. Its /tmp is a directory of this machine that is removed at the end: on the
        tree's own file system, an overlay, engines could not make overlays.
        """
        cache.root().mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="runx-engines-") as scratch:
            os.chmod(scratch, 0o1777)
            binds = (Bind(Path(scratch), Path("/tmp")), Bind(CHECKOUT), Bind(cache.root()))
            wanted = {"RUNX_CACHE": str(cache.root()), "PYTHONDONTWRITEBYTECODE": "1", **(environment or {})}
            return tree.call(self._root, argv, binds, str(CHECKOUT), wanted).returncode
