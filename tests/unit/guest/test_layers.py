"""The guest's C code is built in floors: a file includes headers of its own room and of lower floors, and never in a circle.

A module is a source and its header. docs/guest.md, "Rooms", describes the floors.
"""

import re
from pathlib import Path

import pytest

from guestbox import CHECKOUT, INIT_SOURCES

TOP = "."
"""The room of the files that are in no folder."""
FLOORS: tuple[frozenset[str], ...] = (
    frozenset({"common"}),
    frozenset({"inroot", "applets", "layer"}),
    frozenset({"child"}),
    frozenset({"pid1"}),
    frozenset({TOP}),
)
"""The rooms on each floor, the lowest first. Rooms of one floor do not know each other."""


def includes(path: Path) -> list[str]:
    """Headers of the tree that a file includes, in either form. `-I guest-assets/init` finds them in <> too; a header of the
    system is in none of the rooms."""
    found = re.findall(r'^\s*#\s*include\s*(?:"([^"]*)"|<([^>]*)>)', path.read_text(), re.MULTILINE)
    return [quoted or angled for quoted, angled in found if quoted or ("/" in angled and floor_of(room_of(angled)) is not None)]


def module_of(name: str) -> str:
    return name.rsplit(".", 1)[0]


def room_of(name: str) -> str:
    return str(Path(name).parent)


def floor_of(room: str) -> int | None:
    return next((floor for floor, rooms in enumerate(FLOORS) if room in rooms), None)


def faults(root: Path) -> list[str]:
    """Every rule that an include of the tree breaks, and every circle of modules."""
    files = {str(path.relative_to(root)): path for path in sorted(root.rglob("*.[ch]"))}
    found = [f"{name}: no floor for the room {room_of(name)}" for name in files if floor_of(room_of(name)) is None]
    needs: dict[str, set[str]] = {module_of(name): set() for name in files}
    for name, path in files.items():
        for header in includes(path):
            if header not in files:
                found.append(f"{name}: there is no {header} below the top")
                continue
            above, below = floor_of(room_of(name)), floor_of(room_of(header))
            if room_of(name) != room_of(header) and above is not None and below is not None and above <= below:
                found.append(f"{name}: {header} is not on a lower floor")
            if module_of(name) != module_of(header):
                needs[module_of(name)].add(module_of(header))
        header = f"{module_of(name)}.h"
        if name.endswith(".c") and header in files and includes(path)[:1] != [header]:
            found.append(f"{name}: its own header is not its first include")
    return found + [f"circle: {' -> '.join(circle)}" for circle in circles(needs)]


def circles(needs: dict[str, set[str]]) -> list[list[str]]:
    """The circles that a walk from every module meets, each from its first module to that again; none when there are none."""
    found: list[list[str]] = []
    done: set[str] = set()

    def walk(module: str, way: list[str]) -> None:
        if module in way:
            circle = way[way.index(module) :]
            first = circle.index(min(circle))
            found.append([*circle[first:], *circle[: first + 1]])
        elif module not in done:
            for other in sorted(needs[module]):
                walk(other, [*way, module])
            done.add(module)

    for module in sorted(needs):
        walk(module, [])
    return found


def test_the_guest_keeps_its_floors() -> None:
    assert faults(INIT_SOURCES) == []


def test_every_room_is_on_one_floor() -> None:
    rooms = [room for rooms in FLOORS for room in rooms]
    assert len(rooms) == len(set(rooms))
    assert set(rooms) == {room_of(str(path.relative_to(INIT_SOURCES))) for path in INIT_SOURCES.rglob("*.[ch]")}


def rows_of_the_document(columns: int) -> list[list[str]]:
    """The rows of the table of so many columns in docs/guest.md, "Rooms"."""
    text = (CHECKOUT / "docs/guest.md").read_text()
    section = re.search(r"^## Rooms\n(.*?)^## ", text, re.DOTALL | re.MULTILINE)
    assert section
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in section[1].splitlines() if line.startswith("| `")]
    return [row for row in rows if len(row) == columns]


def test_the_document_has_the_floors() -> None:
    said = {room.strip("`/"): set(re.findall(r"`(\w+)/`", lower)) for room, _, lower in rows_of_the_document(3)}
    assert said == {
        "main.c" if room == TOP else room: {lower for rooms in FLOORS[:floor] for lower in rooms}
        for floor, rooms in enumerate(FLOORS)
        for room in rooms
    }


def test_the_document_names_every_module() -> None:
    said = sorted(module.strip("`") for module, _ in rows_of_the_document(2))
    assert said == sorted({module_of(str(path.relative_to(INIT_SOURCES))) for path in INIT_SOURCES.rglob("*.[ch]")})


@pytest.mark.parametrize(
    ("changes", "fault"),
    [
        ({}, None),
        ({"pid1/log.h": "child/process.h"}, None),
        ({"common/text.h": "child/process.h"}, "common/text.h: child/process.h is not on a lower floor"),
        ({"child/process.c": "pid1/log.h"}, "child/process.c: pid1/log.h is not on a lower floor"),
        ({"child/process.c": "<pid1/log.h>"}, "child/process.c: pid1/log.h is not on a lower floor"),
        ({"child/process.c": "<sys/wait.h>"}, None),
        ({"child/process.c": "inroot/path.h"}, None),
        ({"inroot/path.c": "child/process.h"}, "inroot/path.c: child/process.h is not on a lower floor"),
        ({"pid1/log.c": "log.h"}, "pid1/log.c: there is no log.h below the top"),
        ({"attic/new.c": "common/text.h"}, "attic/new.c: no floor for the room attic"),
        ({"common/text.c": "common/common.h"}, "common/text.c: its own header is not its first include"),
        # Within one room, by headers alone, by sources alone, and over three modules.
        ({"pid1/log.h": "pid1/link.h", "pid1/link.h": "pid1/log.h"}, "circle: pid1/link -> pid1/log -> pid1/link"),
        ({"pid1/log.c": "pid1/link.h", "pid1/link.c": "pid1/log.h"}, "circle: pid1/link -> pid1/log -> pid1/link"),
        (
            {"pid1/log.c": "pid1/link.h", "pid1/link.h": "pid1/end.h", "pid1/end.c": "pid1/log.h"},
            "circle: pid1/end -> pid1/log -> pid1/link -> pid1/end",
        ),
    ],
)
def test_a_broken_rule_is_seen(tmp_path: Path, changes: dict[str, str], fault: str | None) -> None:
    modules = ("common/common", "common/text", "child/process", "inroot/path", "pid1/log", "pid1/link", "pid1/end")
    for module in modules:
        for name, text in ((f"{module}.h", ""), (f"{module}.c", f'#include "{module}.h"\n#include <stdio.h>\n')):
            (tmp_path / name).parent.mkdir(exist_ok=True)
            (tmp_path / name).write_text(text)
    (tmp_path / "main.c").write_text('#include "pid1/log.h"\n#include "inroot/path.h"\n')
    assert faults(tmp_path) == []
    for name, header in changes.items():
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        own = "" if "first include" in (fault or "") or not path.exists() else path.read_text()
        written = header if header.startswith("<") else f'"{header}"'
        path.write_text(f"{own}#include {written}\n")
    assert faults(tmp_path) == ([] if fault is None else [fault])
