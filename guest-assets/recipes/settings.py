"""Settings of a build."""

import os
from dataclasses import dataclass
from pathlib import Path

from runxtools.arches import KIB, Arch, arch_named
from runxtools.checkout import CHECKOUT
from runxtools.errors import ToolError

ASSETS = CHECKOUT / "guest-assets"

INITRD_LIMIT = 400 * KIB


@dataclass(frozen=True)
class Settings:
    """Everything outside the checkout that a build depends on."""

    arch: Arch
    cross: str
    """CROSS_COMPILE: the prefix of the compiler's programs, empty for the machine's own."""
    out: Path
    """The directory of the results: OUT/ARCH/kernel and initrd."""
    kernel_src: Path | None
    """A kernel tree or tarball instead of Debian's."""
    kernel_config: Path | None
    """A fragment whose lines are added to ours, and go before them."""
    busybox: Path | None
    """A ready static busybox instead of ours."""
    jobs: int
    install_packages: bool
    """Whether missing Debian packages are installed."""
    keep_work: bool
    update: bool
    """Download the sources of kernel and busybox again."""

    @property
    def results(self) -> Path:
        """Directory of this architecture's results."""
        return self.out / self.arch.name


def settings_from(values: dict[str, str], *, jobs: int, install_packages: bool, keep_work: bool, update: bool) -> Settings:
    """Settings from NAME=VALUE arguments, else from the environment. Raises ToolError for a bad value."""

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
    return Settings(
        arch=arch,
        cross=value("CROSS_COMPILE") or ("" if arch.native else arch.cross),
        out=Path(value("OUT") or CHECKOUT / "out").absolute(),
        kernel_src=path("KERNEL_SRC"),
        kernel_config=path("KERNEL_CONFIG"),
        busybox=path("busybox"),
        jobs=jobs,
        install_packages=install_packages,
        keep_work=keep_work,
        update=update,
    )
