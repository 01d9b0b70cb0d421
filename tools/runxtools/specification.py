"""The JSON schemas of the OCI runtime specification, with which tests compare runx.

A Debian package has them. Debian 12's is of version 1.0, so this one comes from newer suites: version 1.3, which runx knows, or
a newer version if they have no 1.3.
"""

import re
import shutil
from pathlib import Path

from runxtools import cache
from runxtools.apt import PrivateApt, source_entries
from runxtools.errors import ToolError
from runxtools.runner import Log

KNOWN = (1, 3)
_PACKAGE = "golang-github-opencontainers-specs-dev"
_SUITES = ("sid", "experimental")
_PART = "runtime-spec"
_PREFER = f"""
Package: {_PACKAGE}
Pin: version {KNOWN[0]}.{KNOWN[1]}.*
Pin-Priority: 1001
"""


def find() -> Path | None:
    """Directory of the schemas and of `version`, or None when it has not been made."""
    return cache.find(cache.root(), _PART, _key())


def make() -> Path:
    """Download the package and unpack its schemas: their directory. Raises ToolError when it cannot be had."""
    with cache.locked(cache.root() / f"{_PART}.lock"):
        return find() or cache.make(cache.root(), _PART, _key(), _fill)


def version(directory: Path) -> tuple[int, int]:
    """Major and minor version of the specification in `directory`."""
    major, minor, _ = (directory / "version").read_text().split(".", 2)
    return int(major), int(minor)


def _key() -> str:
    return cache.key_of({"recipe": "1", "prefer": _PREFER})


def _fill(directory: Path) -> None:
    log = Log(_PART)
    apt = PrivateApt(directory / "apt", log, source_entries(kind="deb", suites=_SUITES), preferences=_PREFER)
    # `update` fails for a repository without these suites. The download tells whether the package was found.
    apt.run("update", cwd=directory, check=False)
    apt.run("download", _PACKAGE, cwd=directory)
    (package,) = directory.glob("*.deb")
    log.run(["dpkg-deb", "-x", package, directory / "unpacked"], f"unpacking {_PACKAGE}")
    source = directory / "unpacked/usr/share/gocode/src/github.com/opencontainers/runtime-spec"
    numbers = dict(re.findall(r"Version(\w+) = (\d+)", (source / "specs-go/version.go").read_text()))
    (directory / "version").write_text(f"{numbers['Major']}.{numbers['Minor']}.{numbers['Patch']}\n")
    for schema in (source / "schema").glob("*.json"):
        shutil.copyfile(schema, directory / schema.name)
    for leftover in (directory / "apt", directory / "unpacked"):
        shutil.rmtree(leftover)
    package.unlink()
    if version(directory) < KNOWN:
        found = (directory / "version").read_text().strip()
        raise ToolError(f"Debian's newest {_PACKAGE} has version {found}", f"tests need {KNOWN[0]}.{KNOWN[1]}")
