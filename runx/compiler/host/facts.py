"""The compiler's questions about the host. Tests give compile() facts of their own, so that a case reads the same everywhere."""

from typing import Any, Literal, NamedTuple, Protocol

from runx.compiler.host.overlay_layers import RootFacts
from runx.errors import RunxError

Kind = Literal["directory", "file", "socket", "fifo", "device", "missing", "unreadable"]


class NoFilters(Exception):
    """This host cannot make seccomp filters. The text is the reason.

    is_elsewhere: the container may be for another host, which can.
    """

    is_elsewhere = False


class NoAnswer(Exception):
    """This host does not tell what was asked. The text is the reason."""


class FilterError(Exception):
    """libseccomp cannot compile this profile. The text is the reason. `place`: of the fault in the profile."""

    def __init__(self, message: str, place: tuple[str | int, ...] = ()) -> None:
        super().__init__(message)
        self.place = place


SMALL = 64 * 1024
"""Bytes: the largest file that may travel in the ramdisk."""


class SmallFile(NamedTuple):
    content: bytes
    mode: int
    """The permission bits."""
    uid: int
    gid: int


class SandboxFacts(NamedTuple):
    """The settings in the sandbox of a pod for the pod's containers. plan.Guest explains the fields."""

    hostname: str | None = None
    domainname: str | None = None
    sysctl: tuple[tuple[str, str], ...] = ()
    is_machine: bool = False
    """The pod is one virtual machine, which the sandbox has."""


class KernelFiles(NamedTuple):
    """How a file or directory of the host has to do with the host's kernel (linux/kernel_files.py)."""

    type: str = ""
    """Of its file system, such as `proc`, if it is one of the kernel's."""
    is_whole: bool = False
    """Whether it is all of that file system."""
    below: tuple[str, ...] = ()
    """The mount points of such file systems below it."""


class Facts(Protocol):
    """The compiler's questions about the host."""

    def config(self, bundle: str) -> bytes:
        """The bytes of the bundle's config.json, at most SIZE_LIMIT + 1. Raises RunxError if there is none."""

    def kind(self, path: str) -> Kind:
        """The kind of the file at `path`, with symbolic links followed."""

    def kernel_files(self, path: str) -> KernelFiles:
        """What of the host's kernel is at `path`, with symbolic links followed, and below it."""

    def has_address(self, interface: str, address: str) -> bool:
        """Whether an interface of the host has this IP address."""

    def mac_owner(self, mac: str) -> str:
        """The directory of the container that has this MAC address, one of runx's; "" if none has."""

    def netconf(self, path: str, root: str, directories: tuple[str, ...]) -> bytes:
        """The bytes of the CNI file at `path`, at most SIZE_LIMIT + 1. A file that others may have written describes no network.

        Raises RunxError if the file cannot be read, is below `root`, the container's root filesystem, is below none of the
        directories (policy.networks of runx.toml), or if another user than root may exchange it.
        """

    def kind_in_root(self, root: str, path: str) -> Kind:
        """The kind of the file at `path` in the root filesystem `root`. Symbolic links are followed, and never leave it."""

    def root(self, path: str) -> RootFacts:
        """The parts of a root filesystem. Raises RunxError if it cannot be examined."""

    def image_bytes(self, path: str, limit: int) -> int:
        """The most bytes of an EROFS image of the tree at `path`; some number above `limit` if it is larger. Raises RunxError if
        the tree cannot be examined."""

    def identity(self, path: str) -> str:
        """A text that changes when another directory is at `path`; "" if the host cannot tell."""

    def has_program(self, name: str) -> bool:
        """Whether the host has a program of this name."""

    def small_file(self, path: str) -> SmallFile | None:
        """The content of a file of at most SMALL bytes; None if it is larger, or cannot be read."""

    def size_kib(self, path: str) -> int:
        """The size in KiB of the file system at `path`; 0 if it is unknown."""

    def has_huge_pages(self, path: str) -> bool:
        """Whether `path` is on a hugetlbfs."""

    def sandbox(self, directory: str) -> SandboxFacts | None:
        """The sandbox of a pod whose state is in `directory` (docs/executor.md); None if there is none."""

    def host_config(self) -> tuple[str, bytes] | None:
        """Path and bytes of the host's runx.toml; None if there is none."""

    def machine(self) -> str:
        """The architecture of its guests, as `./build` names it."""

    def virt_caps(self) -> frozenset[str]:
        """The words of `xl info` for what its hardware and Xen offer guests (xl(1), virt_caps). Raises NoAnswer."""

    def filter(self, profile: dict[str, Any]) -> bytes:
        """The program, an array of struct sock_filter, that the host's libseccomp makes of a seccomp profile for its guests.

        Raises NoFilters, or FilterError if the profile is wrong.
        """


def not_a_network(path: str, directories: tuple[str, ...]) -> RunxError:
    """The error for a CNI file in a directory that is not on the host's list."""
    return RunxError(
        f"{path} is in no directory of policy.networks ({', '.join(directories) or 'none'})",
        "the host's administrator puts it into one of them, or adds its directory to networks in [policy] of /etc/runx/runx.toml",
        "RX704",
    )


def bridge_directory(name: str) -> str:
    """The directory that exists if the host has a bridge of this name (Linux, Documentation/ABI/testing/sysfs-class-net)."""
    return f"/sys/class/net/{name}/bridge"
