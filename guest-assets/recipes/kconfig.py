"""Kconfig files: read our fragments, and check that the configuration made of them agrees.

A fragment is a kconfig file. One line more is possible: it holds for some versions of the source alone, if it ends with
`# before 6.10` or `# since 6.12`.
"""

import re
from collections.abc import Sequence
from pathlib import Path

from runxtools.errors import ToolError

_SET = re.compile(r"(CONFIG_\w+)=(.+)")
_UNSET = re.compile(r"# (CONFIG_\w+) is not set")
_VERSIONS = re.compile(r"(.*?)\s+# (before|since) (\d+)\.(\d+)")
Version = tuple[int, int]
"""Version and patch level of a kernel: (6, 12)."""


def parse(text: str, where: str) -> dict[str, str]:
    """Value of each symbol, "n" for one that is not set. Raises ToolError for any other line, except a comment."""
    values: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), 1):
        line = line.strip()
        found = _SET.fullmatch(line)
        if found:
            values[found[1]] = found[2]
        elif found := _UNSET.fullmatch(line):
            values[found[1]] = "n"
        elif line and not line.startswith("#"):
            raise ToolError(f"{where}:{number}: {line!r} is not a line of a configuration")
    return values


def read_fragments(paths: Sequence[Path], version: Version = (0, 0)) -> dict[str, str]:
    """Values of all fragments for a source of this version.

    Raises ToolError for a symbol that one sets twice, or two set to different values.
    """
    merged: dict[str, str] = {}
    for path in paths:
        seen: set[str] = set()
        for number, line in enumerate(path.read_text().splitlines(), 1):
            for name, value in parse(_of_version(line, version), f"{path}:{number}").items():
                if name in seen or merged.get(name, value) != value:
                    raise ToolError(f"{path}:{number}: {name} is set twice")
                seen.add(name)
                merged[name] = value
    return merged


def lines_of(paths: Sequence[Path]) -> str:
    """All lines of the fragments that set something, for a cache key. They do not depend on the version of the source."""
    lines = [line.strip() for path in paths for line in path.read_text().splitlines()]
    return "".join(f"{line}\n" for line in lines if _SET.match(line) or _UNSET.match(line))


def _of_version(line: str, version: Version) -> str:
    """The line without its versions; "" if it does not hold for `version`."""
    found = _VERSIONS.fullmatch(line.strip())
    if not found:
        return line
    limit = (int(found[3]), int(found[4]))
    return found[1] if (version < limit) == (found[2] == "before") else ""


def text_of(values: dict[str, str]) -> str:
    """A configuration file with these values, sorted."""
    return "".join(f"{name}={value}\n" if value != "n" else f"# {name} is not set\n" for name, value in sorted(values.items()))


def check(wanted: dict[str, str], made: Path, what: str) -> None:
    """Raise ToolError that names every wanted value which the configuration in `made` lacks."""
    got = parse(made.read_text(), str(made))
    missed = [f"{name}={value} became {got.get(name, 'n')}" for name, value in wanted.items() if got.get(name, "n") != value]
    if missed:
        raise ToolError(
            f"{what}: {len(missed)} lines of our configuration had no effect",
            "\n  ".join(missed) + "\nthe symbol is gone, or depends on another one, in this source or with this compiler",
        )
