"""Sources of the kernel and of busybox: Debian's packages, unless settings name others."""

import hashlib
import json
import shutil
from pathlib import Path

from recipes.settings import Settings
from runxtools import cache
from runxtools.apt import PrivateApt, source_entries
from runxtools.errors import ToolError
from runxtools.runner import Log, say

KERNEL_PACKAGE = "linux-source-6.1"
KERNEL_TARBALL = Path(f"/usr/src/{KERNEL_PACKAGE}.tar.xz")


def busybox_source(settings: Settings) -> Path:
    """Directory of Debian's source package of busybox, downloaded into the cache."""
    key = cache.key_of({"recipe": "1"})
    entry = cache.find(cache.root(), "guest-busybox-source", key)
    if entry and not settings.update:
        return entry
    if entry:
        shutil.rmtree(entry)

    def fill(directory: Path) -> None:
        say("busybox: downloading Debian's source package")
        log = Log("busybox-source")
        sources = source_entries()
        if not sources:
            raise ToolError("no package sources in /etc/apt", "busybox=PATH uses a static busybox of your own")
        apt = PrivateApt(directory / "apt", log, sources)
        # `update` fails for a repository without source packages. The download tells whether busybox was found.
        apt.run("update", cwd=directory, check=False)
        apt.run("source", "--download-only", "busybox", cwd=directory)
        shutil.rmtree(directory / "apt")
        if len(list(directory.glob("busybox_*.dsc"))) != 1:
            raise ToolError("apt-get source downloaded no busybox", f"the log: {log.path}")

    return cache.make(cache.root(), "guest-busybox-source", key, fill)


# ---- the kernel


def _sha256(path: Path) -> str:
    """The file's hash. It is cached while size, time and inode are the same: hashing a kernel's tarball takes a second."""
    memory = cache.root() / "guest-hashes.json"
    status = path.stat()
    mark = f"{status.st_size} {status.st_mtime_ns} {status.st_ino}"
    try:
        known = json.loads(memory.read_text())
    except (OSError, ValueError):
        known = {}
    if known.get(str(path), [None])[0] == mark:
        return str(known[str(path)][1])
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    known[str(path)] = [mark, digest]
    memory.parent.mkdir(parents=True, exist_ok=True)
    temporary = memory.with_suffix(".tmp")
    temporary.write_text(json.dumps(known))
    temporary.replace(memory)
    return digest


class KernelSource:
    """A kernel's source: a tree, or a tarball that is unpacked when needed."""

    def __init__(self, settings: Settings) -> None:
        self._origin = settings.kernel_src or KERNEL_TARBALL
        if not self._origin.exists():
            raise ToolError(f"{self._origin} is missing", f"apt-get install {KERNEL_PACKAGE}, or KERNEL_SRC=PATH")
        if self._origin.is_dir() and not (self._origin / "Kconfig").exists():
            raise ToolError(f"KERNEL_SRC={self._origin} is not a kernel source: it has no Kconfig")

    @property
    def identity(self) -> str:
        """Hash that changes with the source."""
        if self._origin.is_file():
            return _sha256(self._origin)
        digest = hashlib.sha256()
        for path in sorted(self._origin.rglob("*")):
            if path.is_file() and ".git" not in path.parts:
                status = path.stat()
                digest.update(f"{path} {status.st_size} {status.st_mtime_ns}\n".encode(errors="surrogateescape"))
        return digest.hexdigest()

    def unpacked(self, work: Path, log: Log) -> Path:
        """The source as a tree. A tarball is unpacked below `work` once."""
        if self._origin.is_dir():
            return self._origin
        tree = work / f"linux-{self.identity[:16]}"
        if not tree.exists():
            say(f"kernel: unpacking {self._origin.name}, about 20 s")
            unfinished = tree.with_suffix(".tmp")
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir(parents=True)
            log.run(["tar", "-x", "-f", self._origin, "--strip-components=1", "-C", unfinished], "unpacking the kernel's source")
            unfinished.rename(tree)
        return tree
