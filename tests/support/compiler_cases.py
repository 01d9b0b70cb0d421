"""Cases of the compiler: tests/cases/CASE/config.json, and the host for which it is compiled.

`case.toml` beside a configuration describes the case and its host:

    about = "one line"
    [host]                      # optional: the kind of a path; other paths are directories
    "/etc/hosts" = "file"       # directory, file, socket, fifo, device, missing or unreadable
    "cni0 10.1.0.1" = "missing" # the interface lacks this address; others have all

    [root]                      # optional: the same for the root filesystem; other paths are missing

    [files]                     # optional: CNI files of the host
    "/etc/cni/net.d/a.conf" = '''{ … }'''

    [kernel_mounts]             # optional: mount points of the host, and the types of their file systems
    "/proc" = "proc"

    [sandbox]                   # optional: state directory of the container's pod, and fields of SandboxFacts

    [layers]                    # optional: layers of the root filesystem, as fields of RootFacts

    virt_caps = "pv hvm hap"    # optional: what xl says of the hardware (default: pv)

    [sizes]                     # optional: bytes of the image of a directory (default: 5 MiB)

A runx.toml beside them is that of the host.

A configuration that is refused only because something is not supported yet has a line such as `refused = "hooks"`.
"""

import os
import tomllib
from functools import cached_property
from pathlib import Path
from typing import ClassVar

from runx.compiler.host.facts import KernelFiles, SandboxFacts, SmallFile, not_a_network
from runx.compiler.host.overlay_layers import RootFacts
from runx.compiler.pipeline import Compilation, Inputs, compile
from runx.errors import RunxError

TESTS = Path(__file__).parent.parent
CASES = TESTS / "cases"
SNAPSHOTS = TESTS / "snapshots"


ALLOW_ALL = bytes.fromhex("06000000 0000ff7f")
"""A filter of one instruction, for all cases: the filters of libseccomp differ between its versions."""


class Case:
    """One case, and the facts of its host. The bundle is /bundle, the state root /run/runx."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.settings = tomllib.loads((directory / "case.toml").read_text())

    def __repr__(self) -> str:
        return self.directory.name

    @cached_property
    def about(self) -> str:
        return str(self.settings["about"])

    @property
    def refused(self) -> bool:
        """Whether the case must fail: its name begins with bad-, or case.toml has `refused`."""
        return self.directory.name.startswith("bad-") or "refused" in self.settings

    def compile(self) -> Compilation:
        return compile(
            Inputs("/bundle", container_id=self.directory.name, state_root="/run/runx", assets="/usr/share/runx", facts=self)
        )

    def config(self, bundle: str) -> bytes:
        assert bundle == "/bundle"
        return (self.directory / "config.json").read_bytes()

    def host_config(self) -> tuple[str, bytes] | None:
        file = self.directory / "runx.toml"
        return ("runx.toml", file.read_bytes()) if file.exists() else None

    def machine(self) -> str:
        return "x86_64"

    def virt_caps(self) -> frozenset[str]:
        """`virt_caps` of case.toml; PV guests alone without it."""
        return frozenset(self.settings.get("virt_caps", "pv").split())

    def filter(self, profile: object) -> bytes:  # noqa: ARG002
        return ALLOW_ALL

    def root(self, path: str) -> RootFacts:
        """Facts of a directory, with the fields of `[layers]` in case.toml."""
        given = {
            name: tuple(value) if isinstance(value, list) else value for name, value in self.settings.get("layers", {}).items()
        }
        return RootFacts(path)._replace(**given)

    def image_bytes(self, path: str, limit: int) -> int:  # noqa: ARG002
        return int(self.settings.get("sizes", {}).get(path, 5 << 20))

    def identity(self, path: str) -> str:  # noqa: ARG002
        return "0123abcd"

    def small_file(self, path: str) -> SmallFile | None:
        """A file of `[small_files]` in case.toml."""
        text = self.settings.get("small_files", {}).get(path)
        return None if text is None else SmallFile(text.encode(), 0o644, 0, 0)

    def size_kib(self, path: str) -> int:  # noqa: ARG002
        return 65536

    def has_huge_pages(self, path: str) -> bool:
        return path == "/dev/hugepages"

    def sandbox(self, directory: str) -> SandboxFacts | None:
        given = self.settings.get("sandbox", {})
        if directory != given.get("directory"):
            return None
        sysctl = tuple((name, value) for name, value in given.get("sysctl", ()))
        return SandboxFacts(given.get("hostname"), given.get("domainname"), sysctl, given.get("is_machine", False))

    def has_program(self, name: str) -> bool:
        return name not in self.settings.get("programs_missing", ())

    def kind(self, path: str) -> str:
        return self.settings.get("host", {}).get(path, "directory")

    def kernel_files(self, path: str) -> KernelFiles:
        return _kernel_files(self.settings.get("kernel_mounts", {}), path)

    def has_address(self, interface: str, address: str) -> bool:
        return self.kind(f"{interface} {address}") != "missing"

    def mac_owner(self, mac: str) -> str:  # noqa: ARG002
        return ""

    def kind_in_root(self, root: str, path: str) -> str:  # noqa: ARG002
        return self.settings.get("root", {}).get(path, "missing")

    def netconf(self, path: str, root: str, directories: tuple[str, ...]) -> bytes:  # noqa: ARG002
        return _network(self.settings.get("files", {}), path, directories)


def all_cases() -> list[Case]:
    return [Case(path.parent) for path in sorted(CASES.glob("*/case.toml"))]


def good_cases() -> list[Case]:
    """The cases that compile."""
    return [case for case in all_cases() if not case.refused]


class TextFacts:
    """Facts for a configuration given as text. Every path is a directory, except those in `kinds`."""

    def __init__(self, text: str | bytes, kinds: dict[str, str] | None = None, files: dict[str, str] | None = None) -> None:
        self.raw = text if isinstance(text, bytes) else text.encode()
        self.kinds = kinds or {}
        self.files = files or {}
        self.kernel_mounts: dict[str, str] = {}

    def config(self, bundle: str) -> bytes:  # noqa: ARG002
        return self.raw

    def host_config(self) -> None:
        return None

    def machine(self) -> str:
        return "x86_64"

    def virt_caps(self) -> frozenset[str]:
        return frozenset(("pv",))

    def filter(self, profile: object) -> bytes:  # noqa: ARG002
        return ALLOW_ALL

    def root(self, path: str) -> RootFacts:
        return RootFacts(path)

    def image_bytes(self, path: str, limit: int) -> int:  # noqa: ARG002
        return 5 << 20

    def identity(self, path: str) -> str:  # noqa: ARG002
        return "0123abcd"

    def has_program(self, name: str) -> bool:  # noqa: ARG002
        return True

    def small_file(self, path: str) -> SmallFile | None:  # noqa: ARG002
        return None

    def size_kib(self, path: str) -> int:  # noqa: ARG002
        return 65536

    def has_huge_pages(self, path: str) -> bool:
        return path == "/dev/hugepages"

    def sandbox(self, directory: str) -> SandboxFacts | None:  # noqa: ARG002
        return None

    def kind(self, path: str) -> str:
        return self.kinds.get(path, "directory")

    def kernel_files(self, path: str) -> KernelFiles:
        return _kernel_files(self.kernel_mounts, path)

    def has_address(self, interface: str, address: str) -> bool:
        return self.kind(f"{interface} {address}") != "missing"

    mac_owners: ClassVar[dict[str, str]] = {}

    def mac_owner(self, mac: str) -> str:
        return self.mac_owners.get(mac, "")

    def kind_in_root(self, root: str, path: str) -> str:  # noqa: ARG002
        return self.kinds.get(f"root:{path}", "missing")

    def netconf(self, path: str, root: str, directories: tuple[str, ...]) -> bytes:  # noqa: ARG002
        return _network(self.files, path, directories)


def _kernel_files(mounts: dict[str, str], path: str) -> KernelFiles:
    covering = [point for point in mounts if f"{path}/".startswith(f"{point}/")]
    below = tuple(point for point in mounts if point.startswith(f"{path.rstrip('/')}/"))
    return KernelFiles(mounts[max(covering, key=len)] if covering else "", path in mounts, below)


def _network(files: dict[str, str], path: str, directories: tuple[str, ...]) -> bytes:
    if os.path.dirname(path) not in directories:
        raise not_a_network(path, directories)
    if path not in files:
        raise RunxError(f"{path}: no such file or directory", fault_id="RX502")
    return files[path].encode()
