"""The compiler's cases: tests/cases/CASE/config.json, and what it is compiled with.

`case.toml` beside a configuration says what the case is about and what the host looks like:

    about = "one line"
    [host]                      # optional: what is at a path; anything not named is a directory
    "/etc/hosts" = "file"       # directory, file, socket, fifo, device, missing or unreadable
    "cni0 10.1.0.1" = "missing" # an interface does not have this address; others have all

    [root]                      # optional: the same for the root filesystem, in which anything not named is missing

    [files]                     # optional: CNI files of the host
    "/etc/cni/net.d/a.conf" = '''{ … }'''

    [sandbox]                   # optional: of the pod that the container is of, its state directory and fields of SandboxFacts

    [layers]                    # optional: what the root filesystem is made of, as fields of RootFacts

    [sizes]                     # optional: bytes of the image of a directory; of others it is 5 MiB

A runx.toml beside them is the host's.

A configuration that is refused only as long as something is not supported yet says so: `refused = "hooks"`.
"""

import tomllib
from functools import cached_property
from pathlib import Path

from runx.compiler.host.facts import SandboxFacts, SmallFile
from runx.compiler.host.overlay_layers import RootFacts
from runx.compiler.pipeline import Compilation, Inputs, compile
from runx.errors import RunxError

TESTS = Path(__file__).parent.parent
CASES = TESTS / "cases"
SNAPSHOTS = TESTS / "snapshots"


ALLOW_ALL = bytes.fromhex("06000000 0000ff7f")
"""A filter of one instruction. What libseccomp makes of a profile differs from version to version, so cases are not given it."""


class Case:
    """One case, and the facts of a host made up for it. Every bundle is /bundle, every state root /run/runx."""

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
        """Whether the case is to fail: its name begins with bad-, or `refused` in case.toml says why it does for now."""
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

    def filter(self, profile: object) -> bytes:  # noqa: ARG002
        return ALLOW_ALL

    def root(self, path: str) -> RootFacts:
        """`[layers]` of case.toml: the fields of RootFacts that are not as for a directory."""
        given = {
            name: tuple(value) if isinstance(value, list) else value for name, value in self.settings.get("layers", {}).items()
        }
        return RootFacts(path)._replace(**given)

    def image_bytes(self, path: str, limit: int) -> int:  # noqa: ARG002
        return int(self.settings.get("sizes", {}).get(path, 5 << 20))

    def identity(self, path: str) -> str:  # noqa: ARG002
        return "0123abcd"

    def small_file(self, path: str) -> SmallFile | None:
        """`[small_files]` of case.toml: their text."""
        text = self.settings.get("small_files", {}).get(path)
        return None if text is None else SmallFile(text.encode(), 0o644, 0, 0)

    def size_kib(self, path: str) -> int:  # noqa: ARG002
        return 65536

    def sandbox(self, directory: str) -> SandboxFacts | None:
        given = self.settings.get("sandbox", {})
        if directory != given.get("directory"):
            return None
        sysctl = tuple((name, value) for name, value in given.get("sysctl", ()))
        return SandboxFacts(given.get("hostname"), given.get("domainname"), sysctl)

    def has_program(self, name: str) -> bool:
        return name not in self.settings.get("programs_missing", ())

    def kind(self, path: str) -> str:
        return self.settings.get("host", {}).get(path, "directory")

    def has_address(self, interface: str, address: str) -> bool:
        return self.kind(f"{interface} {address}") != "missing"

    def kind_in_root(self, root: str, path: str) -> str:  # noqa: ARG002
        return self.settings.get("root", {}).get(path, "missing")

    def netconf(self, path: str, root: str) -> bytes:  # noqa: ARG002
        return _file(self.settings.get("files", {}), path)


def all_cases() -> list[Case]:
    return [Case(path.parent) for path in sorted(CASES.glob("*/case.toml"))]


def good_cases() -> list[Case]:
    """Those that compile."""
    return [case for case in all_cases() if not case.refused]


class TextFacts:
    """Facts for a test that brings its configuration as text; every path is a directory unless `kinds` says otherwise."""

    def __init__(self, text: str | bytes, kinds: dict[str, str] | None = None, files: dict[str, str] | None = None) -> None:
        self.raw = text if isinstance(text, bytes) else text.encode()
        self.kinds = kinds or {}
        self.files = files or {}

    def config(self, bundle: str) -> bytes:  # noqa: ARG002
        return self.raw

    def host_config(self) -> None:
        return None

    def machine(self) -> str:
        return "x86_64"

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

    def sandbox(self, directory: str) -> SandboxFacts | None:  # noqa: ARG002
        return None

    def kind(self, path: str) -> str:
        return self.kinds.get(path, "directory")

    def has_address(self, interface: str, address: str) -> bool:
        return self.kind(f"{interface} {address}") != "missing"

    def kind_in_root(self, root: str, path: str) -> str:  # noqa: ARG002
        return self.kinds.get(f"root:{path}", "missing")

    def netconf(self, path: str, root: str) -> bytes:  # noqa: ARG002
        return _file(self.files, path)


def _file(files: dict[str, str], path: str) -> bytes:
    if path not in files:
        raise RunxError(f"{path}: no such file or directory")
    return files[path].encode()
