"""What a build is of: the architectures we know, and everything that can be set."""

import os
from dataclasses import dataclass
from pathlib import Path

from runxtools.errors import ToolError

CHECKOUT = Path(__file__).resolve().parents[2]
HOST_SCRIPTS = tuple(CHECKOUT / "host-assets" / name for name in ("block", "vif-bridge", "vif-netns"))
"""Hotplug scripts of Xen that lie beside the guest."""
ASSETS = CHECKOUT / "guest-assets"

MIB = 1024 * 1024
KIB = 1024


@dataclass(frozen=True)
class Arch:
    """One architecture of guests, by the name `uname -m` has for it."""

    name: str
    kernel_arch: str
    """Its name in the kernel's tree (make's ARCH)."""
    image: str
    """What the kernel's make has to build, below arch/KERNEL_ARCH/boot."""
    kernel_limit: int
    """The largest kernel that is accepted, in bytes."""
    cross: str
    """Debian's prefix of a cross compiler for it."""
    debian: str
    """Debian's name of it."""
    musl: str
    """The directory of musl in /usr/include and /usr/lib."""
    wheels: str
    """Its name in the platforms of Python's wheels (PEP 600)."""
    elf_machine: int
    """e_machine of elf(5)."""
    files: int
    """How many files a kernel build compiles, for the progress shown, until one has been counted."""
    compile_minutes: float
    """How long it takes one processor of today, in minutes; likewise."""


ARCHES = {
    arch.name: arch
    for arch in (
        Arch(
            "x86_64", "x86_64", "bzImage", 3 * MIB, "x86_64-linux-gnu-", "amd64", "x86_64-linux-musl", "x86_64",
            elf_machine=62, files=1750, compile_minutes=13,
        ),
        Arch(
            "aarch64", "arm64", "Image", 8 * MIB, "aarch64-linux-gnu-", "arm64", "aarch64-linux-musl", "aarch64",
            elf_machine=183, files=1700, compile_minutes=14,
        ),
        Arch(
            "arm", "arm", "zImage", 4 * MIB, "arm-linux-gnueabihf-", "armhf", "arm-linux-musleabihf", "armv7l",
            elf_machine=40, files=1600, compile_minutes=11,
        ),
    )
}  # fmt: skip
_ALIASES = {"amd64": "x86_64", "x86-64": "x86_64", "arm64": "aarch64", "armhf": "arm", "armv7l": "arm", "armv8l": "arm"}
INITRD_LIMIT = 400 * KIB


def arch_named(name: str) -> Arch:
    """The architecture of this name, Debian's and the kernel's names included. Raises ToolError for others."""
    arch = ARCHES.get(_ALIASES.get(name, name))
    if arch is None:
        raise ToolError(f"ARCH={name} is unknown", f"it is one of {', '.join(ARCHES)}")
    return arch


@dataclass(frozen=True)
class Settings:
    """Everything a build depends on that is not in the checkout."""

    arch: Arch
    cross: str
    """CROSS_COMPILE: the prefix of the compiler's programs, empty for the machine's own."""
    out: Path
    """The directory of the results: OUT/ARCH/kernel and initrd."""
    kernel_src: Path | None
    """A kernel tree or tarball instead of Debian's."""
    busybox: Path | None
    """A ready static busybox instead of ours."""
    jobs: int
    install_packages: bool
    """Missing Debian packages may be installed."""
    keep_work: bool
    update: bool
    """Look for a newer source of busybox."""

    @property
    def results(self) -> Path:
        """Where this architecture's results go."""
        return self.out / self.arch.name

    @property
    def native(self) -> bool:
        """The guests are of this machine's architecture."""
        return self.arch is ARCHES.get(_ALIASES.get(os.uname().machine, os.uname().machine))


def settings_from(values: dict[str, str], *, jobs: int, install_packages: bool, keep_work: bool, update: bool) -> Settings:
    """Settings from NAME=VALUE arguments over the environment. Raises ToolError for what makes no sense."""

    def value(name: str) -> str:
        return values.get(name, os.environ.get(name, ""))

    def path(name: str) -> Path | None:
        given = value(name)
        if not given:
            return None
        found = Path(given).expanduser().absolute()
        if not found.exists():
            raise ToolError(f"{name}={given}: there is no such file")
        return found

    arch = arch_named(value("ARCH") or os.uname().machine)
    native = arch_named(os.uname().machine) if os.uname().machine in ARCHES | _ALIASES else None
    return Settings(
        arch=arch,
        cross=value("CROSS_COMPILE") or ("" if arch is native else arch.cross),
        out=Path(value("OUT") or CHECKOUT / "out").absolute(),
        kernel_src=path("KERNEL_SRC"),
        busybox=path("busybox"),
        jobs=jobs,
        install_packages=install_packages,
        keep_work=keep_work,
        update=update,
    )
