"""Make docs/support.md, which `make docs` writes.

The page is runx/compiler/model/settings.py for readers. Tests compare that table with the specification and with what the
compiler really does.
"""

import sys
from collections.abc import Iterable, Iterator

from runx.compiler.model.settings import CHANGES, FATES, SETTINGS, WHY_UNCHANGEABLE, Setting, path_of

_GROUPS = ("process", "mounts", "hooks", "linux.resources", "linux.seccomp", "linux", "vm", "")
"""Headings of the page; a field is below the first one that begins its path."""


def page() -> str:
    """The text of docs/support.md."""
    return "\n".join(_lines()) + "\n"


def _lines() -> Iterator[str]:
    yield from (
        "<!-- Written by `make docs`. -->",
        "# What becomes of every field of config.json",
        "",
        "These are the fields of the OCI runtime specification 1.3, for users of runx. `[]` is any entry of",
        "an array. A field below one that is not carried shares its fate, and has no row.",
        "",
    )
    yield from _table(("fate", "meaning"), FATES.items())
    yield from (
        "",
        "A property that the specification does not have is ignored, and the plan lists it.",
        "`runx features` prints mount options and the like.",
    )
    rows = sorted(SETTINGS)
    for group in ("", *_GROUPS[:-1]):
        yield from ("", f"## {group or 'config.json'}", "")
        yield from _table(("field", "fate", ""), (_cells(row) for row in rows if _group(row.path) == group))
    yield from ("", "## With a ramdisk of the container's own", "")
    yield from _table(("ignored, as the ramdisk decides",), ((f"`{row.path}`",) for row in rows if not row.own_ramdisk))
    yield from ("", "## In the sandbox of a pod", "")
    yield from _table(("ignored, as there is no virtual machine",), ((f"`{row.path}`",) for row in rows if not row.sandbox))
    yield from ("", "## runx update", "")
    yield from _table(("field", "a running container"), _updates(rows))


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> Iterator[str]:
    yield f"| {' | '.join(head)} |"
    yield "|" + "---|" * len(head)
    yield from (f"| {' | '.join(row)} |" for row in rows)


def _cells(row: Setting) -> tuple[str, str, str]:
    return f"`{row.path}`", row.fate, f"{row.how}; {row.hint}" if row.hint else row.how


def _updates(rows: Iterable[Setting]) -> Iterator[tuple[str, str]]:
    for row in rows:
        reason = WHY_UNCHANGEABLE.get(path_of(row)[2:]) if row.path.startswith("linux.resources.") else None
        if row.update == CHANGES or reason:
            yield f"`{row.path}`", "changed" if row.update == CHANGES else f"refused: {reason}"


def _group(path: str) -> str:
    return next(group for group in _GROUPS if not group or path == group or path.startswith((f"{group}.", f"{group}[")))


if __name__ == "__main__":
    sys.stdout.write(page())
