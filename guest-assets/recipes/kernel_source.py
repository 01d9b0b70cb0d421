"""The kernel's source: one long-term version on every host, unless settings name another one.

Debian 13 has the package linux-source-6.12. Debian 12 and newer releases get it too: from the machine's own entries of Debian,
with the suite replaced, and checked with their keys. A host without such entries (Ubuntu) gives the newest version that it has
within the range that has been tried.
"""

import hashlib
import json
import platform
import re
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from recipes import pins
from recipes.kconfig import Version
from recipes.settings import Settings
from runxtools import cache
from runxtools.apt import DEBIAN, PrivateApt, source_entries
from runxtools.errors import ToolError
from runxtools.runner import Log, say

SERIES: Version = (6, 12)
"""docs/decisions/0011-linux-6.12.md says why."""
TRIED: tuple[Version, Version] = ((6, 1), (7, 2))
"""The oldest and the newest version whose configuration was checked (docs/guest.md says which were compiled)."""

SUITE = "trixie"
"""The release of Debian that has SERIES."""
_PART = "guest-kernel-source"
_PREFIX = "linux-source-"


def text_of(version: Version) -> str:
    """The version in words: 6.12."""
    return f"{version[0]}.{version[1]}"


PACKAGE = _PREFIX + text_of(SERIES)


class KernelSource:
    """A kernel's source: a tree, or a tarball that is unpacked when needed."""

    def __init__(self, origin: Path) -> None:
        """`origin` is a tree or a tarball. Raises ToolError for a directory of another kind."""
        self.origin = origin
        if origin.is_dir() and not (origin / "Kconfig").exists():
            raise ToolError(f"KERNEL_SRC={origin} is not a kernel source: it has no Kconfig")

    @property
    def identity(self) -> str:
        """Hash that changes with the source."""
        if self.origin.is_file():
            return _sha256(self.origin)
        digest = hashlib.sha256()
        for path in sorted(self.origin.rglob("*")):
            if path.is_file() and ".git" not in path.parts:
                status = path.stat()
                digest.update(f"{path} {status.st_size} {status.st_mtime_ns}\n".encode(errors="surrogateescape"))
        return digest.hexdigest()

    def unpacked(self, work: Path, log: Log) -> Path:
        """The source as a tree. A tarball is unpacked below `work` once."""
        if self.origin.is_dir():
            return self.origin
        tree = work / f"linux-{self.identity[:16]}"
        if not tree.exists():
            say(f"kernel: unpacking {self.origin.name}, about 20 s")
            unfinished = tree.with_suffix(".tmp")
            shutil.rmtree(unfinished, ignore_errors=True)
            unfinished.mkdir(parents=True)
            log.run(["tar", "-x", "-f", self.origin, "--strip-components=1", "-C", unfinished], "unpacking the kernel's source")
            unfinished.rename(tree)
        return tree


def version_of(tree: Path) -> Version:
    """The version of an unpacked source, from its Makefile. Raises ToolError."""
    makefile = tree / "Makefile"
    text = makefile.read_text(errors="replace") if makefile.exists() else ""
    numbers = dict(re.findall(r"^(VERSION|PATCHLEVEL) = (\d+)$", text, re.M))
    if len(numbers) != 2:
        raise ToolError(f"{makefile} names no version of Linux", "KERNEL_SRC=PATH is a kernel's tree or tarball")
    return int(numbers["VERSION"]), int(numbers["PATCHLEVEL"])


def warning(version: Version) -> str | None:
    """What to tell about a version that was not tried; None for one within the range."""
    oldest, newest = TRIED
    if oldest <= version <= newest:
        return None
    return f"Linux {text_of(version)} was not tried: runx is tried with {text_of(oldest)} to {text_of(newest)}"


def find(settings: Settings, installed: Path = Path("/usr/src"), apt: Path = Path("/etc/apt")) -> KernelSource:
    """The source to compile: KERNEL_SRC, else SERIES, else the newest version that the host has within TRIED.

    `installed` is where the host's packages put their sources, `apt` the directory of its package sources. Raises ToolError.
    """
    if settings.kernel_src:
        return KernelSource(settings.kernel_src)
    there = {version: path for path in sorted(installed.glob(f"{_PREFIX}*.tar.*")) if (version := _version_in(path.name))}
    if SERIES in there and not settings.update:
        return KernelSource(there[SERIES])
    log = Log("kernel-source")
    ours = _cached(settings, {"package": PACKAGE}, lambda directory: _fetch(directory, log, debian_entries(apt), _only_series))
    if ours:
        return KernelSource(ours)
    newest = _newest(there)
    theirs = there[newest] if newest else None
    theirs = theirs or _cached(
        settings, {"release": _release()}, lambda directory: _fetch(directory, log, source_entries(apt, kind="deb"), _newest)
    )
    if theirs:
        say(f"kernel: {PACKAGE} cannot be had here (the log: {log.path}); taking {theirs.name}")
        return KernelSource(theirs)
    oldest, newest = map(text_of, TRIED)
    raise ToolError(
        f"no source of the kernel: this machine's package sources have neither {PACKAGE} nor another from {oldest} to {newest}",
        f"the log: {log.path}\n  KERNEL_SRC=PATH takes a tree or a tarball: the file in /usr/src of Debian's package {PACKAGE}, "
        f"or linux-{text_of(SERIES)} of kernel.org",
    )


def debian_entries(apt: Path = Path("/etc/apt")) -> dict[str, str]:
    """The machine's entries for releases of Debian, with SUITE in place of the release; none on other systems."""
    entries: dict[str, str] = {}
    for suffix in ("", "-security"):
        releases = [name + suffix for name in DEBIAN]
        for name, text in source_entries(apt, kind="deb", suites=[SUITE + suffix], releases=releases).items():
            entries[name] = f"{entries[name]}\n{text}" if name in entries else text
    return entries


# ---- downloading


def _release() -> str:
    """The host's system and its version, for a cache key (os-release(5))."""
    try:
        found = platform.freedesktop_os_release()
    except OSError:
        return ""
    return " ".join(found.get(name, "") for name in ("ID", "VERSION_ID", "VERSION_CODENAME"))


class _AbsentError(Exception):
    """The machine's package sources do not have the wanted version, or cannot be reached."""


_Choice = Callable[[Iterable[Version]], Version | None]


def _only_series(versions: Iterable[Version]) -> Version | None:
    return SERIES if SERIES in versions else None


def _newest(versions: Iterable[Version]) -> Version | None:
    """The newest version within TRIED."""
    return max((version for version in versions if warning(version) is None), default=None)


def _version_in(name: str) -> Version | None:
    """The version in the name of a package or of its tarball. Ubuntu's have three numbers."""
    found = re.match(rf"{_PREFIX}(\d+)\.(\d+)(\.\d+)?(\.tar\.\w+)?$", name)
    return (int(found[1]), int(found[2])) if found else None


def _cached(settings: Settings, ingredients: dict[str, str], fill: Callable[[Path], None]) -> Path | None:
    """The tarball in the cache, put there by `fill` if needed; None if that found none."""
    key = cache.key_of({"recipe": "1", **ingredients})
    entry = cache.find(cache.root(), _PART, key)
    if entry and settings.update:
        shutil.rmtree(entry)
        entry = None
    try:
        entry = entry or cache.make(cache.root(), _PART, key, fill)
    except _AbsentError:
        return None
    (tarball,) = entry.iterdir()
    return tarball


def _fetch(directory: Path, log: Log, entries: dict[str, str], choose: _Choice) -> None:
    """Put the tarball of the chosen version into an empty directory. Raises _AbsentError."""
    if not entries or not shutil.which("apt-get"):
        raise _AbsentError
    work = directory / "work"
    work.mkdir()
    apt = PrivateApt(work / "apt", log, entries)
    # `update` fails when one of several repositories lacks the suite. The names tell what was found.
    apt.run("update", cwd=work, check=False)
    names = {version: name for name in apt.names(_PREFIX) if (version := _version_in(name))}
    version = choose(names)
    if version is None:
        raise _AbsentError
    taken = pins.wanted(pins.pin("linux", SUITE) if version == SERIES else None, apt.versions(names[version]))
    say(f"kernel: downloading {names[version]} {taken}, about 150 MB")
    try:
        apt.run("download", f"{names[version]}={taken}", cwd=work)
    except ToolError:
        raise _AbsentError from None
    (package,) = work.glob("*.deb")
    log.run(["dpkg-deb", "-x", package, work / "unpacked"], f"unpacking {names[version]}")
    found = [path for path in (work / "unpacked").rglob(f"{_PREFIX}*.tar.*") if path.is_file() and not path.is_symlink()]
    if len(found) != 1:
        raise ToolError(f"{package.name} has {len(found)} tarballs of the kernel's source", "KERNEL_SRC=PATH takes one")
    found[0].rename(directory / found[0].name)
    shutil.rmtree(work)


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
