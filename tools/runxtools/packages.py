"""Debian packages a tool needs on this machine, installed from the machine's own apt configuration."""

import os
import shutil
from collections.abc import Callable, Sequence
from typing import NamedTuple

from runxtools.command import PATH, run
from runxtools.errors import ToolError


class Package(NamedTuple):
    """A Debian package, a program (or the absolute path of a file) of it that tells whether it is installed, and its purpose."""

    name: str
    program: str
    purpose: str


def missing(packages: Sequence[Package]) -> list[Package]:
    """Those of the packages whose program is not there."""

    def there(program: str) -> bool:
        return os.path.exists(program) if program.startswith("/") else shutil.which(program, path=PATH) is not None

    return [package for package in packages if not there(package.program)]


def install(packages: Sequence[Package], note: Callable[[str], None]) -> None:
    """Installs the packages with apt-get and without what they merely recommend. Says through `note` which and why.

    Raises ToolError when the caller is not root or apt-get fails.
    """
    if not packages:
        return
    names = [package.name for package in packages]
    require_root(f"Debian packages are missing: {' '.join(names)}")
    for package in packages:
        note(f"installing {package.name}: {package.purpose}")
    apt_get = ["env", "DEBIAN_FRONTEND=noninteractive", "LC_ALL=C.UTF-8", "apt-get"]
    wanted = [*apt_get, "install", "-y", "--no-install-recommends", *names]
    try:
        run(wanted, "apt-get install")
    except ToolError:
        # On a fresh machine there are no package lists yet, or they are old: only a failure tells.
        run([*apt_get, "update"], "apt-get update")
        run(wanted, "apt-get install")


def require_root(reason: str) -> None:
    """Raises ToolError with `reason` unless we are root."""
    if os.geteuid() != 0:
        raise ToolError(f"{reason}, and this is not root", "run it as root (sudo)")
