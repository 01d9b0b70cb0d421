"""Debian packages that a build needs."""

import os
import shutil
from collections.abc import Sequence

from recipes.settings import Settings
from runxtools import packages
from runxtools.errors import ToolError
from runxtools.packages import Package
from runxtools.runner import say

_COMPILER = (
    Package("gcc", "gcc", "the compiler of the build's own helpers"),
    Package("libc6-dev", "/usr/include/stdio.h", "their C library"),
    Package("make", "make", "builds kernel and busybox"),
)
_MUSL = Package("musl-tools", "musl-gcc", "the C library of the guest's programs")


def _cross(settings: Settings) -> tuple[Package, ...]:
    if not settings.cross:
        return ()
    name = (
        f"gcc-{settings.arch.cross.rstrip('-')}" if settings.cross == settings.arch.cross else f"a compiler {settings.cross}gcc"
    )
    return (Package(name, f"{settings.cross}gcc", f"the compiler for {settings.arch.name}"),)


def for_kernel(settings: Settings) -> tuple[Package, ...]:
    """Packages to compile the kernel."""
    return (
        *_COMPILER,
        *_cross(settings),
        Package("bc", "bc", "arithmetic of the kernel's build"),
        Package("bison", "bison", "parser of its configuration"),
        Package("flex", "flex", "scanner of its configuration"),
        Package("perl", "perl", "scripts of its build"),
        Package("xz-utils", "xz", "unpacks the kernel's source"),
        Package("bzip2", "bzip2", "unpacks it where it is Ubuntu's"),
        Package("zstd", "zstd", "compresses the kernel"),
        Package("libelf-dev", "/usr/include/libelf.h", "objtool of the kernel's build"),
    )


def for_init(settings: Settings) -> tuple[Package, ...]:
    """Packages to compile /init."""
    return (*_COMPILER, *_cross(settings), _MUSL)


def for_busybox(settings: Settings) -> tuple[Package, ...]:
    """Packages to compile busybox."""
    return (
        *for_init(settings),
        Package("dpkg-dev", "dpkg-source", "unpacks busybox's source"),
        Package("patch", "patch", "applies Debian's changes to it"),
        Package("bzip2", "bzip2", "unpacks it"),
        Package("xz-utils", "xz", "unpacks it"),
    )


def ensure(settings: Settings, wanted: Sequence[Package]) -> None:
    """Install missing packages, if settings allow it and this is root. Raises ToolError with the command otherwise."""
    unique = {package.name: package for package in wanted}
    needed = packages.missing(list(unique.values()))
    if not needed:
        return
    foreign = [package for package in needed if " " in package.name]
    if foreign:
        raise ToolError(f"{foreign[0].name} is missing", "CROSS_COMPILE is the prefix of the compiler's programs")
    names = " ".join(package.name for package in needed)
    if not settings.install_packages or os.geteuid() != 0 or not shutil.which("apt-get"):
        lines = [f"{package.name}: {package.purpose}" for package in needed]
        command = f"apt-get install --no-install-recommends {names}"
        raise ToolError("packages are missing", "\n  ".join(lines) + f"\nas root: {command}")
    packages.install(needed, lambda text: say(f"packages: {text}"))
