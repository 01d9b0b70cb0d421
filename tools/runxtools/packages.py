"""Debian packages that tools need on this machine, installed with its own apt configuration."""

import contextlib
import fcntl
import glob
import os
import shutil
from collections.abc import Callable, Sequence
from typing import NamedTuple

from runxtools.command import PATH, run
from runxtools.errors import ToolError


class Package(NamedTuple):
    """A Debian package; what shows that it is installed, a program or a pattern of a file's absolute path; and its purpose."""

    name: str
    program: str
    purpose: str


XEN_LIBRARY = "^libxenmisc4"
"""Expression of apt-get(8) for the package of xl's parser: its name ends with Xen's version, and on Ubuntu with t64 too."""


LOCK_TIMEOUT_S = 600
LOCK_OPTION = f"DPkg::Lock::Timeout={LOCK_TIMEOUT_S}"
"""Option of apt-get(8): it waits for another one, such as the machine's own updates, in place of failing at once."""
_LOCK = "/var/lib/dpkg/lock-frontend"


def _is_locked() -> bool:
    """Whether another program holds dpkg's lock (fcntl(2))."""
    with contextlib.suppress(FileNotFoundError), open(_LOCK, "rb+") as file:
        try:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            return True
    return False


def missing(packages: Sequence[Package]) -> list[Package]:
    """The packages that are not installed."""

    def there(program: str) -> bool:
        return bool(glob.glob(program)) if program.startswith("/") else shutil.which(program, path=PATH) is not None

    return [package for package in packages if not there(package.program)]


def install(packages: Sequence[Package], note: Callable[[str], None]) -> None:
    """Install the packages with apt-get, without those that they recommend. `note` gets a line for each of them.

    Raises ToolError when the caller is not root or apt-get fails.
    """
    if not packages:
        return
    names = [package.name for package in packages]
    require_root(f"Debian packages are missing: {' '.join(names)}")
    for package in packages:
        note(f"installing {package.name}: {package.purpose}")
    if _is_locked():
        note(f"another apt or dpkg is at work: waiting for its end, {LOCK_TIMEOUT_S // 60} minutes at most")
    apt_get = ["env", "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C.UTF-8", "apt-get", "-o", LOCK_OPTION]
    wanted = [*apt_get, "install", "-y", "--no-install-recommends", *names]
    try:
        run(wanted, "apt-get install")
    except ToolError:
        # The package lists may be missing or old, which only a failure shows.
        run([*apt_get, "update"], "apt-get update")
        run(wanted, "apt-get install")


def require_root(reason: str) -> None:
    """Raise ToolError with `reason` unless this is root."""
    if os.geteuid() != 0:
        raise ToolError(f"{reason}, and this is not root", "run it as root (sudo)")
