"""guest-assets/sources.toml: the versions of the kernel's and busybox's sources that runx was last tried with.

A build takes these where Debian's archive has them, and says so where it has not: an archive keeps the newest version alone.
`tools/sources` tells what Debian has now.
"""

import tomllib
from typing import NamedTuple

from recipes.settings import ASSETS
from runxtools.errors import ToolError

_FILE = ASSETS / "sources.toml"


class Pin(NamedTuple):
    """One version of a source."""

    version: str
    """Of the Debian package."""
    sha256: str
    """Of the kernel's tarball in it, or of the description (.dsc) of a source package."""


def pin(name: str, suite: str) -> Pin | None:
    """The version of a source for a release of Debian; None for a release without one."""
    found = tomllib.loads(_FILE.read_text()).get(name, {}).get(suite)
    return Pin(found["version"], found["sha256"]) if found else None


def wanted(known: Pin | None, versions: list[str]) -> str:
    """Of the versions that an archive has, the newest first, the one to take; "" to leave that to apt."""
    if known and known.version in versions:
        return known.version
    return versions[0] if versions else ""


def remark(what: str, known: Pin | None, version: str, sha256: str) -> str:
    """What to tell of a source that was found; "" for the one that is pinned.

    version: "" if it is not known. Raises ToolError for a source that has the pinned version and other content.
    """
    if known is None or sha256 == known.sha256:
        return ""
    if version == known.version:
        hint = "the archive, or guest-assets/sources.toml, was changed"
        raise ToolError(f"{what}: version {version} has the hash {sha256}, not {known.sha256}", hint)
    taken = f"its source is {version}" if version else "its source is another one"
    return f"{what}: {taken}, not {known.version} of guest-assets/sources.toml"
