"""The documents: their lines are short, their links lead somewhere, and the glossary is in order."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from test_imports import COMPILER, EXECUTOR

from runx.compiler.host.config import SETTINGS, HostConfig, Setting, read_host_config

TOP = Path(__file__).parents[2]
DOCUMENTS = sorted(path.relative_to(TOP).as_posix() for path in (*TOP.glob("*.md"), *TOP.glob("docs/**/*.md")))
WIDTH = 100
GENERATED = "docs/support.md"
"""It consists of tables, and tools/runxtools/support_table.py writes it; test_support.py holds it."""
BARE = re.compile(r"(?<!-m )\bpytest (-\S+ )*tests/")
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
SECTION = re.compile(r'docs/([\w.-]+\.md), "([^"]+)"')
"""How sources and documents name a section: docs/executor.md, "States"."""


def prose(text: str) -> Iterator[tuple[int, str]]:
    """Number and text of the lines that are not in a code block: fenced, or indented by four after an empty line or a heading.
    Paragraphs of a definition (`:   text`) are indented too, and are prose."""
    fenced = code = definition = False
    before = ""
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith("```"):
            fenced = not fenced
        indented = line.startswith("    ")
        code = indented and not definition and (code or not before or before.startswith("#"))
        if line and not indented:
            definition = line.startswith(":   ")
        if not (fenced or code):
            yield number, line
        before = line


def heading_texts(name: str) -> list[str]:
    lines = (line for _, line in prose((TOP / name).read_text()))
    return [line.lstrip("#").strip() for line in lines if re.match(r"#{1,6} ", line)]


def anchors(name: str) -> set[str]:
    """The anchors of a document's headings, as GitHub makes them."""
    found: set[str] = set()
    for text in heading_texts(name):
        anchor = re.sub(r"[^\w\- ]", "", text.lower()).replace(" ", "-")
        repeated = sum(re.fullmatch(re.escape(anchor) + r"(-\d+)?", each) is not None for each in found)
        found.add(f"{anchor}-{repeated}" if repeated else anchor)
    return found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("a\nb", ["a", "b"]),
        ("# A\n    code\nb", ["# A", "b"]),
        ("a\n\n    code\n\n    code\nb", ["a", "", "", "b"]),
        ("a\n    goes on", ["a", "    goes on"]),
        ("```\ncode\n```\nb", ["```", "b"]),
        ("term\n:   text\n\n    more text\n\n# A\n    code", ["term", ":   text", "", "    more text", "", "# A"]),
    ],
)
def test_what_is_prose(text: str, expected: list[str]) -> None:
    assert [line for _, line in prose(text)] == expected


@pytest.mark.parametrize("name", DOCUMENTS)
def test_lines_are_short(name: str) -> None:
    """But for rows of tables, and a link or path that is too long alone."""
    long = []
    for number, line in enumerate((TOP / name).read_text().splitlines(), 1):
        words = re.sub(r"^\s*([-*]|\d+\.) ", "", line).split()
        if len(line) > WIDTH and not line.startswith("|") and len(words) > 1:
            long.append(f"{name}:{number}: {len(line)} characters")
    assert not long


def test_the_generated_document_consists_of_tables() -> None:
    lines = [line for line in (TOP / GENERATED).read_text().splitlines() if line and not line.startswith("#")]
    assert sum(line.startswith("|") for line in lines) > 0.95 * len(lines)


@pytest.mark.parametrize("name", DOCUMENTS)
def test_links_lead_somewhere(name: str) -> None:
    broken = []
    for number, line in prose((TOP / name).read_text()):
        for target in LINK.findall(line):
            if re.match(r"[a-z]+:", target):
                continue
            path, _, anchor = target.partition("#")
            file = (TOP / name).parent / path if path else TOP / name
            if not file.exists() or (anchor and anchor not in anchors(file.resolve().relative_to(TOP).as_posix())):
                broken.append(f"{name}:{number}: {target}")
    assert not broken


def test_sections_that_are_named_exist() -> None:
    names = [TOP / name for name in DOCUMENTS]
    for folder in ("runx", "guest-assets", "host-assets", "tools", "tests"):
        names += [path for suffix in ("py", "c", "h") for path in (TOP / folder).rglob(f"*.{suffix}")]
    missing, seen = [], 0
    for path in names:
        for document, section in SECTION.findall(path.read_text()):
            seen += 1
            if path != Path(__file__) and section not in heading_texts(f"docs/{document}"):
                missing.append(f"{path.relative_to(TOP)}: docs/{document} has no section {section!r}")
    assert seen and not missing


NAMING = ("docs/architecture.md", "docs/executor.md", "docs/pipeline.md")
"""They name files of the code without the folders above them."""
CODE = sorted(
    path.relative_to(TOP).as_posix() for folder in ("runx", "tools", "guest-assets") for path in (TOP / folder).rglob("*")
)


def files_of(name: str) -> list[str]:
    """The files of the code that a document may mean by a name, `oci/mounts.py` or `mounts.py`."""
    return [path for path in CODE if f"/{path}".endswith(f"/{name}")]


@pytest.mark.parametrize("name", NAMING)
def test_files_named_without_a_folder_exist(name: str) -> None:
    named = set(re.findall(r"`([\w./-]+\.(?:py|c))`", (TOP / name).read_text()))
    gone = [file for file in named if not file.startswith("tests/") and not files_of(file)]
    assert named and not gone


def rows_below(heading: str) -> list[list[str]]:
    """The cells of the table of that section of docs/architecture.md, without its header."""
    section = (TOP / "docs/architecture.md").read_text().split(f"\n{heading}\n")[1].split("\n#")[0]
    lines = [line.strip("|") for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.split("|")] for line in lines[2:]]


@pytest.mark.parametrize(("heading", "floors"), [("### The executor", EXECUTOR), ("### The compiler", COMPILER)])
def test_the_floors_are_those_that_imports_are_held_to(heading: str, floors: tuple[tuple[str, ...], ...]) -> None:
    said = [set(re.findall(r"`([\w.]+)`", row[0])) for row in rows_below(heading)]
    assert said == [{room.removeprefix("runx.") for room in rooms} for rooms in reversed(floors)]


@pytest.mark.parametrize("heading", ["## A walk: `ro` of a bind mount", "## A walk: SIGTERM"])
def test_a_walk_enters_each_file_once(heading: str) -> None:
    rows = rows_below(heading)
    files = [row[1].strip("`") for row in rows]
    assert [row[0] for row in rows] == [str(number) for number in range(1, len(rows) + 1)]
    assert len(set(files)) == len(files) <= 12 and set(files) <= set(CODE)


@pytest.mark.parametrize("setting", SETTINGS, ids=lambda setting: setting.key)
def test_a_default_and_an_example_are_told_apart(setting: Setting) -> None:
    page = (TOP / "docs/man/runx.toml.5.md").read_text().split(f"### [{setting.section}]\n")[1].split("\n#")[0]
    found = re.search(rf"^\*\*{setting.name}\*\* = \*(.*)\* \((default|example; .+)\)$", page, re.MULTILINE)
    assert found
    if "…" not in found[1]:
        written = f"[{setting.section}]\n{setting.name} = {found[1]}\n"
        same = getattr(read_host_config(("runx.toml", written.encode())), setting.field) == getattr(HostConfig(), setting.field)
        assert same == (found[2] == "default")


def test_tests_are_run_by_their_own_interpreter() -> None:
    """A pytest of the machine does not have what the tests need."""
    texts = [TOP / name for name in DOCUMENTS] + [*(TOP / "tests").rglob("*.py"), *(TOP / "tools").rglob("*.py")]
    other = [f"{path.relative_to(TOP)}: {line}" for path in texts for line in path.read_text().splitlines() if BARE.search(line)]
    assert not other


def test_the_glossary_is_in_alphabetical_order() -> None:
    parts = re.split(r"^## ", (TOP / "docs/glossary.md").read_text(), flags=re.MULTILINE)[1:]
    assert len(parts) == 2
    for part in parts:
        words = re.findall(r"^- \*\*(.+?)\*\*: ", part, flags=re.MULTILINE)
        assert len(words) == len(re.findall(r"^- ", part, flags=re.MULTILINE)) > 1
        assert words == sorted(words, key=str.casefold)
        assert len({word.casefold() for word in words}) == len(words)
