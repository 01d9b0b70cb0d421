"""The documents: their lines are short, their links lead somewhere, and the glossary is in order."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
DOCUMENTS = sorted(path.relative_to(TOP).as_posix() for path in (*TOP.glob("*.md"), *TOP.glob("docs/**/*.md")))
WIDTH = 100
GENERATED = "docs/support.md"
"""It consists of tables, and tools/runxtools/support_table.py writes it; test_support.py holds it."""
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


def test_the_glossary_is_in_alphabetical_order() -> None:
    parts = re.split(r"^## ", (TOP / "docs/glossary.md").read_text(), flags=re.MULTILINE)[1:]
    assert len(parts) == 2
    for part in parts:
        words = re.findall(r"^- \*\*(.+?)\*\*: ", part, flags=re.MULTILINE)
        assert len(words) == len(re.findall(r"^- ", part, flags=re.MULTILINE)) > 1
        assert words == sorted(words, key=str.casefold)
        assert len({word.casefold() for word in words}) == len(words)
