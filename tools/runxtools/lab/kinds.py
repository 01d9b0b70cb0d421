"""The kinds of lab: which Debian its dom0 is, and what starts it."""

from typing import NamedTuple

from runxtools.errors import ToolError

_XEN = {"trixie": "4.20", "bookworm": "4.17"}
"""Suite of Debian: version of Xen in the names of its packages."""
SUITES = tuple(_XEN)
DEFAULT_SUITE = "trixie"


class Kind(NamedTuple):
    """A kind of lab. Each has a directory, and so entries of the cache and a lock, of its own."""

    suite: str = DEFAULT_SUITE
    systemd: bool = False
    """Whether systemd, udev and Debian's own services start dom0, as on a real host, and not the lab's init alone."""

    number: int = 0
    """Which of several labs: 0, or from 1 on those that share tests. Each has a running machine of its own."""

    @property
    def cpus(self) -> int:
        """Processors of the machine. Two labs of one processor do more than twice the work of one lab of two: emulated
        processors wait for one another."""
        return 1 if self.number else 2

    @property
    def name(self) -> str:
        """SUITE or SUITE-systemd, without the number."""
        return f"{self.suite}-systemd" if self.systemd else self.suite

    @property
    def full_name(self) -> str:
        """The name, with the number unless that is 0."""
        return f"{self.name} {self.number}" if self.number else self.name

    @property
    def options(self) -> str:
        """Options of tools/lab for it, with a space after each."""
        suite = f"--suite {self.suite} " if self.suite != DEFAULT_SUITE else ""
        number = f"--number {self.number} " if self.number else ""
        return suite + ("--systemd " if self.systemd else "") + number

    def parts(self, count: int) -> "tuple[Kind, ...]":
        """The labs that share tests among `count` processes."""
        return tuple(self._replace(number=number) for number in range(1, count + 1)) if count > 1 else (self,)

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
