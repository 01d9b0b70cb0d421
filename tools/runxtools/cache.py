"""A cache of results that take long to make. The key of a result is a hash of its ingredients.

An entry is a directory `PART-KEY` of $RUNX_CACHE (default ~/.cache/runx). It is made under a temporary name and renamed at the
end, so an existing entry is complete. Making an entry removes entries of the same part that were not used for a day: several
checkouts may share the cache.
"""

import fcntl
import hashlib
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

_KEPT_S = 24 * 3600


def root() -> Path:
    """The cache's directory."""
    configured = os.environ.get("RUNX_CACHE")
    return Path(configured).absolute() if configured else Path.home() / ".cache" / "runx"


def key_of(ingredients: Mapping[str, str | bytes]) -> str:
    """Key of these ingredients: 16 hexadecimal digits that change with any of them."""
    digest = hashlib.sha256()
    for name in sorted(ingredients):
        value = ingredients[name]
        data = value.encode() if isinstance(value, str) else value
        digest.update(f"{name} {len(data)}\n".encode() + data + b"\n")
    return digest.hexdigest()[:16]


def find(directory: Path, part: str, key: str) -> Path | None:
    """The entry, or None when it does not exist."""
    entry = directory / f"{part}-{key}"
    try:
        with suppress(PermissionError):
            os.utime(entry)
    except FileNotFoundError:
        return None  # or removed by another process just now
    return entry if entry.is_dir() else None


def make(directory: Path, part: str, key: str, fill: Callable[[Path], None]) -> Path:
    """Make an entry: `fill` gets an empty directory, which becomes the entry. The caller must hold a lock."""
    directory.mkdir(parents=True, exist_ok=True)
    entry = directory / f"{part}-{key}"
    unfinished = directory / f"{part}.tmp"
    if unfinished.exists():  # left by a process that was killed
        shutil.rmtree(unfinished)
    unfinished.mkdir()
    try:
        fill(unfinished)
        unfinished.rename(entry)
    except BaseException:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    for other in directory.glob(f"{part}-*"):
        if other != entry and other.stat().st_mtime < time.time() - _KEPT_S:
            shutil.rmtree(other)
    return entry


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock file during the context; print a line while another process holds it. Its end releases the lock."""
    path.parent.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"waiting for another process that holds {path}", file=sys.stderr, flush=True)
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
