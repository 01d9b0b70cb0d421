"""`./build --check-reproducible`: whether the results are the same bytes when all is made once more.

The second build begins with nothing but downloaded sources: a copy of the checkout at another path, with other dates, an empty
cache, and a caller with another umask and time zone (https://reproducible-builds.org/docs/commandments/). It uses this machine's
compiler, which the manifest names: another compiler makes other bytes.
"""

import hashlib
import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

from recipes import manifest
from recipes.settings import Settings
from runxtools import cache
from runxtools.checkout import CHECKOUT
from runxtools.errors import ToolError
from runxtools.runner import say

TARGETS = {
    "all": ("initrd", "kernel", "kernel.config"),
    "kernel": ("kernel", "kernel.config"),
    "initrd": ("initrd",),
}
"""The results of each target, which are compared."""
_SOURCES = ("guest-busybox-source-*", "guest-kernel-source-*", "guest-hashes.json")
"""What the cache has of them, beside what was made."""
_LEFT_OUT = (".*", "out", "__pycache__", "tests", "docs")
_DATE = 10**9


def check(settings: Settings, targets: Sequence[str]) -> None:
    """Build targets anew, and compare the results with those that are there.

    Raises ToolError with what differs. The second build stays then, to be compared.
    """
    place = cache.root() / "guest-again"
    shutil.rmtree(place, ignore_errors=True)
    checkout = place / "a-checkout-at-a-longer-path-than-the-first-one-is-likely-to-have" / "checkout"
    shutil.copytree(CHECKOUT, checkout, ignore=shutil.ignore_patterns(*_LEFT_OUT), symlinks=True, copy_function=shutil.copy)
    for path in (checkout, *checkout.rglob("*")):
        os.utime(path, (_DATE, _DATE), follow_symlinks=False)
    (place / "cache").mkdir()
    for pattern in _SOURCES:
        for source in cache.root().glob(pattern):
            (place / "cache" / source.name).symlink_to(source)
    argv = [checkout / "build", f"--jobs={settings.jobs}", "--no-install", *_words(settings), f"OUT={place / 'out'}"]
    say(f"making {', '.join(targets)} once more, in {place}")
    environment = {**os.environ, "RUNX_CACHE": str(place / "cache"), "TZ": "Pacific/Kiritimati", "LC_ALL": "C"}
    done = subprocess.run([*argv, *targets], env=environment, umask=0o077, check=False)
    if done.returncode:
        raise ToolError(f"the second build ended with status {done.returncode}", f"it is in {place}")
    names = sorted({name for target in targets for name in TARGETS[target]})
    again = place / "out" / settings.arch.name
    if all((settings.results / name).exists() == (again / name).exists() for name in ("initrd", "kernel")):
        names.append(manifest.NAME)  # else the first one describes more
    differing = [text for name in names if (text := difference(settings.results / name, again / name))]
    if differing:
        raise ToolError("two builds differ: " + "; ".join(differing), f"diffoscope {settings.results} {again} shows what differs")
    shutil.rmtree(place)
    for name in names:
        say(f"{name}: two builds made the same bytes, sha256 {_sha256(settings.results / name)}")


def _words(settings: Settings) -> list[str]:
    """The settings as arguments: paths are absolute, and an argument is before the environment's."""
    paths = {"KERNEL_SRC": settings.kernel_src, "KERNEL_CONFIG": settings.kernel_config, "busybox": settings.busybox}
    given = [f"{name}={path}" for name, path in paths.items() if path]
    return [f"ARCH={settings.arch.name}", f"CROSS_COMPILE={settings.cross}", *given]


def difference(one: Path, other: Path) -> str:
    """In which byte two files differ first, in words; "" if they do not."""
    data, again = one.read_bytes(), other.read_bytes()
    if data == again:
        return ""
    at = next((at for at, (a, b) in enumerate(zip(data, again, strict=False)) if a != b), min(len(data), len(again)))
    return f"{one.name} from byte {at} on ({len(data)} and {len(again)} bytes)"


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
