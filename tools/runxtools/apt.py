"""apt-get(8) with a private configuration: for source packages, other architectures, and other suites."""

import os
import platform
import re
import subprocess
from collections.abc import Callable, Sequence
from functools import cmp_to_key
from pathlib import Path

from runxtools.command import run
from runxtools.errors import ToolError
from runxtools.runner import Log, environment

_APT = Path("/etc/apt")
DEBIAN = ("bookworm", "trixie", "forky", "duke", "oldstable", "stable", "testing", "unstable", "sid")
"""Names of Debian's releases with Python 3.11 or newer. An archive that has one of them has the others too."""
_ROLLING = ("sid", "unstable", "testing", "forky")
"""Suites that have no -updates or -security of interest, and whose index on a mirror may be older than apt accepts."""

_Choice = Callable[[Sequence[str]], Sequence[str]] | None
"""Maps an entry's suites to the wanted ones; no suites leave the entry out. None keeps all."""


def source_entries(
    directory: Path = _APT, *, kind: str = "deb-src", suites: Sequence[str] = (), releases: Sequence[str] = DEBIAN
) -> dict[str, str]:
    """The binary sources of `directory` as entries of `kind` (deb or deb-src): files of a sources.list.d, by name.

    Reads both formats of sources.list(5); disabled entries stay disabled. With `suites`, these replace the suites of entries for
    one of `releases`, and other entries are left out.
    """
    return _entries(directory, kind, (lambda old: suites if set(releases) & set(old) else ()) if suites else None)


def suite_entries(suite: str, directory: Path = _APT, *, release: Sequence[str] = ()) -> dict[str, str]:
    """The binary sources of `directory` for another suite of Debian: files of a sources.list.d, by name.

    The names of Debian's `release` (default: `machine_names`) are replaced by `suite`, in RELEASE-updates and RELEASE-security
    too. Its code name is the first. The others are only looked for if no entry has it: other archives have a `stable` as well.
    For the release itself nothing is replaced and nothing left out; for other suites, entries that do not name the release are.
    Raises ToolError when no entry is left.
    """
    names = release or machine_names()
    if not names:
        raise ToolError("this machine is no Debian of a known release", f"what is for {suite} is made of Debian packages")
    for known in (names[:1], names):
        found = _entries(directory, "deb", None if suite == names[0] else _replace(known, suite))
        if found:
            return found
    raise ToolError(
        f"the package sources in {directory} do not name this machine's release, {' or '.join(names)}",
        f"what is for {suite} is made of Debian packages",
    )


def _replace(names: Sequence[str], suite: str) -> _Choice:
    """Replace a release with these names by `suite`, and leave out all other suites."""

    def choose(old: Sequence[str]) -> Sequence[str]:
        parts = [word.removeprefix(name) for word in old for name in names if word == name or word.startswith(f"{name}-")]
        return list(dict.fromkeys(suite + part for part in parts if not part or suite not in _ROLLING))

    return choose


def settings(suite: str) -> list[str]:
    """This machine's apt settings for fetching packages of `suite` (proxies, passwords, checks), as lines of apt.conf(5)."""
    lines = run(["apt-config", "dump"]).splitlines()
    fetching = [line for line in lines if line.startswith("Acquire::") and not line.startswith("Acquire::IndexTargets")]
    netrc = [
        f'Dir::Etc::{name} "{path}";'
        for name, path in (("netrc", _APT / "auth.conf"), ("netrcparts", _APT / "auth.conf.d"))
        if os.path.exists(path)
    ]
    return fetching + netrc + (['Acquire::Check-Valid-Until "false";'] if suite in _ROLLING else [])


def machine_release() -> str:
    """Code name of this machine's release of Debian; "" for none."""
    return next(iter(machine_names()), "")


def machine_names() -> Sequence[str]:
    """Names that package sources may have for this machine's release of Debian, its code name first; none for other systems."""
    found = platform.freedesktop_os_release()
    name = found.get("VERSION_CODENAME", "")
    if name not in DEBIAN:
        return ()
    # testing and unstable have the code name of the next release, and no number.
    return (name, "stable", "oldstable") if "VERSION_ID" in found else (name, "testing", "unstable", "sid")


def _entries(directory: Path, kind: str, choose: _Choice) -> dict[str, str]:
    files: dict[str, str] = {}
    for path in (directory / "sources.list", *sorted((directory / "sources.list.d").glob("*.list"))):
        if path.is_file():
            files[path.name] = "".join(_line(line.strip(), kind, choose) for line in path.read_text().splitlines())
    for path in sorted((directory / "sources.list.d").glob("*.sources")):
        stanzas = re.split(r"\n(?:[ \t]*\n)+", path.read_text().strip())
        files[path.name] = "\n\n".join(filter(None, (_stanza(text, kind, choose) for text in stanzas)))
    return {name: text.rstrip("\n") + "\n" for name, text in files.items() if text}


def _line(line: str, kind: str, choose: _Choice) -> str:
    """The entry `line` (one-line format) as wanted; "" to leave it out."""
    found = re.match(r"deb(\s+(?:\[[^]]*\]\s+)?\S+\s+)(\S+)(.*)", line)
    if not found:
        return ""
    before, suite, after = found.groups()
    return "".join(f"{kind}{before}{name}{after}\n" for name in (choose([suite]) if choose else [suite]))


def _stanza(stanza: str, kind: str, choose: _Choice) -> str:
    """The entry `stanza` (deb822 format) as wanted; "" to leave it out."""
    stanza = "\n".join(line for line in stanza.splitlines() if not line.startswith("#"))
    types = re.search(r"^Types:(.*)$", stanza, re.M | re.I)
    if not types or "deb" not in types[1].split():
        return ""
    if re.search(r"^Enabled:\s*(no|false|off|0|without|disable)\s*$", stanza, re.M | re.I):
        return ""
    stanza = stanza.replace(types[0], f"Types: {kind}")
    if not choose:
        return stanza
    named = re.search(r"^Suites:(.*)$", stanza, re.M | re.I)
    chosen = choose(named[1].split()) if named else ()
    return stanza.replace(named[0], f"Suites: {' '.join(chosen)}") if named and chosen else ""


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

    def versions(self, name: str, *, source: bool = False) -> list[str]:
        """Versions of a package, or with `source` of a source package, the newest first, after `update`."""
        argv = ["apt-cache", *(("showsrc", "--only-source") if source else ("show", "--all-versions")), name]
        done = subprocess.run(argv, env=environment(self._environment), capture_output=True, text=True, check=False)
        return newest_first(re.findall(r"^Version: (\S+)$", done.stdout, re.M))


def newest_first(versions: Sequence[str]) -> list[str]:
    """Versions of Debian in their order (deb-version(7)), each once."""

    def compare(one: str, other: str) -> int:
        later = subprocess.run(["dpkg", "--compare-versions", one, "gt", other], check=False).returncode == 0
        return -1 if later else int(one != other)

    return sorted(dict.fromkeys(versions), key=cmp_to_key(compare))
