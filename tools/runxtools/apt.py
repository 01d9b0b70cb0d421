"""apt-get(8) with a private configuration: for source packages, other architectures, and other suites."""

import re
import subprocess
from collections.abc import Sequence
from pathlib import Path

from runxtools.runner import Log, environment

_APT = Path("/etc/apt")
DEBIAN = ("bookworm", "trixie", "forky", "duke", "oldstable", "stable", "testing", "unstable", "sid")
"""Names of Debian's releases with Python 3.11 or newer. An archive that has one of them has the others too."""


def source_entries(
    directory: Path = _APT, *, kind: str = "deb-src", suites: Sequence[str] = (), releases: Sequence[str] = DEBIAN
) -> dict[str, str]:
    """The binary sources of `directory` as entries of `kind` (deb or deb-src): files of a sources.list.d, by name.

    Reads both formats of sources.list(5); disabled entries stay disabled. With `suites`, these replace the suites of entries for
    one of `releases`, and other entries are left out.
    """
    files: dict[str, str] = {}
    for path in (directory / "sources.list", *sorted((directory / "sources.list.d").glob("*.list"))):
        if path.is_file():
            lines = [_line(line.strip(), kind, suites, releases) for line in path.read_text().splitlines()]
            files[path.name] = "".join(lines)
    for path in sorted((directory / "sources.list.d").glob("*.sources")):
        stanzas = re.split(r"\n(?:[ \t]*\n)+", path.read_text().strip())
        files[path.name] = "\n\n".join(filter(None, (_stanza(text, kind, suites, releases) for text in stanzas)))
    return {name: text.rstrip("\n") + "\n" for name, text in files.items() if text}


def _line(line: str, kind: str, suites: Sequence[str], releases: Sequence[str]) -> str:
    """The entry `line` (one-line format) as wanted; "" to leave it out."""
    found = re.match(r"deb(\s+(?:\[[^]]*\]\s+)?\S+\s+)(\S+)(.*)", line)
    if not found:
        return ""
    before, suite, after = found.groups()
    if not suites:
        return f"{kind}{before}{suite}{after}\n"
    return "".join(f"{kind}{before}{name}{after}\n" for name in suites if suite in releases)


def _stanza(stanza: str, kind: str, suites: Sequence[str], releases: Sequence[str]) -> str:
    """The entry `stanza` (deb822 format) as wanted; "" to leave it out."""
    stanza = "\n".join(line for line in stanza.splitlines() if not line.startswith("#"))
    types = re.search(r"^Types:(.*)$", stanza, re.M | re.I)
    if not types or "deb" not in types[1].split():
        return ""
    if re.search(r"^Enabled:\s*(no|false|off|0|without|disable)\s*$", stanza, re.M | re.I):
        return ""
    stanza = stanza.replace(types[0], f"Types: {kind}")
    named = re.search(r"^Suites:(.*)$", stanza, re.M | re.I)
    if not suites:
        return stanza
    if not named or not set(releases) & set(named[1].split()):
        return ""
    return stanza.replace(named[0], f"Suites: {' '.join(suites)}")


class PrivateApt:
    """apt-get with the machine's keys and proxy settings, and with its lists and downloads in one directory."""

    def __init__(
        self, directory: Path, log: Log, sources: dict[str, str], architectures: Sequence[str] = (), preferences: str = ""
    ) -> None:
        """`preferences` is the text of an apt_preferences(5) file, used in place of the machine's."""
        self._log = log
        parts = directory / "sources.list.d"
        for needed in (parts, directory / "lists" / "partial", directory / "cache" / "archives" / "partial"):
            needed.mkdir(parents=True, exist_ok=True)
        for name, text in sources.items():
            (parts / name).write_text(text)
        (directory / "status").touch()
        settings = {
            "Dir::Etc::SourceList": "/dev/null",
            "Dir::Etc::SourceParts": str(parts),
            "Dir::State::Lists": str(directory / "lists"),
            "Dir::State::Status": str(directory / "status"),  # nothing is installed: a candidate is always one to download
            "Dir::Cache": str(directory / "cache"),
            "APT::Sandbox::User": "root",  # the download user cannot enter a directory of root's
        }
        if preferences:
            (directory / "preferences").write_text(preferences)
            settings["Dir::Etc::Preferences"] = str(directory / "preferences")
        lines = [f'{name} "{value}";' for name, value in settings.items()]
        if architectures:
            lines += ["#clear APT::Architectures;", *(f'APT::Architectures:: "{name}";' for name in architectures)]
        (directory / "apt.conf").write_text("\n".join(lines) + "\n")
        self._environment = {"APT_CONFIG": str(directory / "apt.conf")}

    def run(self, *arguments: str, cwd: Path, check: bool = True) -> None:
        """Run apt-get. Raises ToolError when it fails, unless `check` is false."""
        self._log.run(["apt-get", "-q", *arguments], f"apt-get {arguments[0]}", cwd=cwd, env=self._environment, check=check)

    def names(self, prefix: str) -> list[str]:
        """Names of all packages that begin with `prefix`, after `update`."""
        argv = ["apt-cache", "pkgnames", prefix]
        done = subprocess.run(argv, env=environment(self._environment), capture_output=True, text=True, check=False)
        return done.stdout.split()
