"""What the compiler may ask about the host. Tests give compile() facts of their own, so that a case reads the same everywhere."""

from typing import Any, Literal, NamedTuple, Protocol

from runx.compiler.host.overlay_layers import RootFacts

Kind = Literal["directory", "file", "socket", "fifo", "device", "missing", "unreadable"]


class NoFilters(Exception):
    """This host cannot make seccomp filters; the text says why."""


class FilterError(Exception):
    """libseccomp cannot make this profile a program; the text says why."""


SMALL = 64 * 1024
"""Bytes of a file that may travel in the ramdisk."""


class SmallFile(NamedTuple):
    content: bytes
    mode: int
    """Permissions alone."""
    uid: int
    gid: int


class SandboxFacts(NamedTuple):
    """What the sandbox of a pod has for the pod's containers; plan.Guest explains the fields."""

    hostname: str | None = None
    domainname: str | None = None
    sysctl: tuple[tuple[str, str], ...] = ()


class Facts(Protocol):
    """What the compiler may ask about the host."""

    def config(self, bundle: str) -> bytes:
        """The bytes of the bundle's config.json, one more than SIZE_LIMIT at most. Raises RunxError when there is none."""

    def kind(self, path: str) -> Kind:
        """What is at `path`, symbolic links followed."""

    def has_address(self, interface: str, address: str) -> bool:
        """Whether an interface of the host has this IP address."""

    def netconf(self, path: str, root: str) -> bytes:
        """The bytes of the CNI file at `path`, one more than SIZE_LIMIT at most. Raises RunxError when it cannot be read, or is
        below `root`, the container's root filesystem: what an image brings must not choose the host's networks."""

    def kind_in_root(self, root: str, path: str) -> Kind:
        """What is at `path` of the root filesystem `root`; symbolic links are followed and stay in it."""

    def root(self, path: str) -> RootFacts:
        """What a root filesystem is made of. Raises RunxError when it cannot be looked at."""

    def image_bytes(self, path: str, limit: int) -> int:
        """How many bytes an EROFS image of the tree at `path` can have; some number above `limit` for a larger one. Raises
        RunxError when it cannot be looked at."""

    def identity(self, path: str) -> str:
        """What changes when the directory at `path` is another one; "" when the host cannot tell."""

    def has_program(self, name: str) -> bool:
        """Is there a program of this name?"""

    def small_file(self, path: str) -> SmallFile | None:
        """What is in a file of at most SMALL bytes; None for a larger one, and for what cannot be read."""

    def size_kib(self, path: str) -> int:
        """How large the file system is that `path` is in; 0 when that cannot be said."""

    def sandbox(self, directory: str) -> SandboxFacts | None:
        """What is kept of the sandbox of a pod in `directory` (docs/executor.md); None when there is none."""

    def host_config(self) -> tuple[str, bytes] | None:
        """Path and bytes of the host's runx.toml; None when there is none."""

    def machine(self) -> str:
        """The architecture of its guests, as `./build` names it."""

    def filter(self, profile: dict[str, Any]) -> bytes:
        """The program, an array of struct sock_filter, that the host's libseccomp makes of a seccomp profile for its guests.

        Raises NoFilters, or FilterError when the profile is at fault.
        """


def bridge_directory(name: str) -> str:
    """What exists when the host has a bridge of this name (Linux, Documentation/ABI/testing/sysfs-class-net)."""
    return f"/sys/class/net/{name}/bridge"
