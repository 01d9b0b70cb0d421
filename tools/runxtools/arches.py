"""The architectures of guests."""

import os
from dataclasses import dataclass

from runxtools.errors import ToolError

KIB = 1024
MIB = 1024 * KIB


@dataclass(frozen=True)
class Arch:
    """One architecture of guests; `name` is that of `uname -m`."""

    name: str
    kernel_arch: str
    """Its name in the kernel's tree (make's ARCH)."""
    image: str
    """Target of the kernel's make: a file below arch/KERNEL_ARCH/boot."""
    kernel_limit: int
    """Largest size of a kernel, in bytes."""
    cross: str
    """Debian's prefix of a cross compiler for it."""
    debian: str
    """Debian's name of it."""
    musl: str
    """Directory of musl in /usr/include and /usr/lib."""
    wheels: str
    """Its name in the platforms of Python's wheels (PEP 600)."""
    elf_machine: int
    """e_machine of elf(5)."""
    files: int
    """Number of files that a kernel build compiles, to show progress."""
    compile_minutes: float
    """Minutes that a kernel build takes on one processor of today, to show progress."""

    @property
    def native(self) -> bool:
        """Whether this machine has this architecture."""
        machine = os.uname().machine
        return self.name == _ALIASES.get(machine, machine)


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


def arch_named(name: str) -> Arch:
    """The architecture of a name: ours, Debian's or the kernel's. Raises ToolError for any other name."""
    arch = ARCHES.get(_ALIASES.get(name, name))
    if arch is None:
        raise ToolError(f"ARCH={name} is unknown", f"it is one of {', '.join(ARCHES)}")
    return arch
