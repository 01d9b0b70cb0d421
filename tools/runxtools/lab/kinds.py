"""The kinds of lab: which Debian its dom0 is, and what starts it."""

from typing import NamedTuple

from runxtools.errors import ToolError

_XEN = {"trixie": "4.20", "bookworm": "4.17"}
"""Suite of Debian: version of Xen in the names of its packages."""
SUITES = tuple(_XEN)
DEFAULT_SUITE = "trixie"


class Kind(NamedTuple):
    """A kind of lab. Each has a directory, and so entries of the cache, a lock and a running machine, of its own."""

    suite: str = DEFAULT_SUITE
    systemd: bool = False
    """Whether systemd, udev and Debian's own services start dom0, as on a real host, and not the lab's init alone."""

    @property
    def name(self) -> str:
        """SUITE or SUITE-systemd."""
        return f"{self.suite}-systemd" if self.systemd else self.suite

    @property
    def options(self) -> str:
        """Options of tools/lab for it, with a space after each."""
        return (f"--suite {self.suite} " if self.suite != DEFAULT_SUITE else "") + ("--systemd " if self.systemd else "")

    @property
    def packages(self) -> tuple[str, ...]:
        """Debian packages that only some kinds have, or that are named differently."""
        xen = _XEN[self.suite]
        named = (f"xen-hypervisor-{xen}-amd64", f"xen-utils-{xen}")
        # docker of bookworm is as good, but the tests of docker need one lab alone.
        docker = ("docker.io", "docker-cli", "nftables") if self.suite == "trixie" else ()
        return (*named, *docker, *(("systemd-sysv", "dbus", "lvm2") if self.systemd else ()))


NAMES = tuple(Kind(suite, systemd).name for systemd in (False, True) for suite in SUITES)


def named(name: str) -> Kind:
    """The kind of this name. Raises ToolError for none."""
    for suite in SUITES:
        for kind in (Kind(suite), Kind(suite, systemd=True)):
            if kind.name == name:
                return kind
    raise ToolError(f"no lab is called {name}", f"there are {', '.join(NAMES)}")
