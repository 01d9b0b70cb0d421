"""The promises of docs/security.md: each names the tests that hold it, and these tests exist and are run."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

TOP = Path(__file__).parents[2]
DOCUMENT = (TOP / "docs/security.md").read_text()
_REFERENCE = re.compile(r"`((?:tests/[\w./-]+)?(?:::\w+)?)`")


def rows(heading: str) -> list[list[str]]:
    """The rows of the table in a section, without its head."""
    section = DOCUMENT.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


PROMISES = rows("What is promised")


def references(text: str) -> list[str]:
    """The tests in a text: `tests/a.py::test_b`; one with `::` alone is of the file before it."""
    found: list[str] = []
    for reference in _REFERENCE.findall(text):
        if reference.startswith("::"):
            found.append(found[-1].partition("::")[0] + reference)
        elif reference:
            found.append(reference)
    return found


@cache
def functions(path: Path) -> dict[str, ast.FunctionDef]:
    return {node.name: node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef)}


@cache
def collected() -> str:
    """All modules that pytest collects, as one text: those of tests/shared are imported by some."""
    return "\n".join(
        path.read_text() for folder in ("unit", "integration", "lab") for path in (TOP / "tests" / folder).rglob("*.py")
    )


def fault(reference: str) -> str:
    """What is wrong with a reference; "" for a test that exists and is run."""
    name, _, function = reference.partition("::")
    path = TOP / name
    if not path.exists():
        return f"{name} does not exist"
    if name.startswith("tests/cases/"):
        return "" if (path / "case.toml").exists() else f"{name} is no case"
    if path.is_dir():
        return ""
    if path.parent.name == "shared" and not re.search(rf"^from {path.stem} import (\*|\()?", collected(), re.M):
        return f"nothing imports {name}"
    if not function:
        return ""
    found = functions(path).get(function)
    if not found or not function.startswith("test_"):
        return f"{name} has no test {function}"
    marks = [ast.unparse(decorator) for decorator in found.decorator_list]
    return f"{reference} is not run" if any(re.fullmatch(r"pytest\.mark\.(skip|xfail)\b.*", mark) for mark in marks) else ""


def test_promises_are_numbered() -> None:
    assert [row[0] for row in PROMISES] == [f"P{number}" for number in range(1, len(PROMISES) + 1)]
    assert len(PROMISES) > 20


@pytest.mark.parametrize("row", PROMISES, ids=[row[0] for row in PROMISES])
def test_a_promise_is_held_by_tests_that_exist(row: list[str]) -> None:
    _, against, promise, held_by = row
    assert against and promise
    held = references(held_by)
    assert held and not [text for text in map(fault, held) if text]
    assert all("::" in reference or reference.startswith("tests/cases/") for reference in held), "name the function"
    assert re.sub(_REFERENCE, "", held_by).split() == [], "nothing but tests"


def test_everybody_of_the_actors_is_promised_something() -> None:
    against = " ".join(row[1] for row in PROMISES)
    missing = [
        row[0] for row in rows("Actors") if row[0].removesuffix(" on a bridge").removesuffix(" without rights") not in against
    ]
    assert len(rows("Actors")) >= 5 and not missing


def test_all_other_tests_that_the_document_names_exist() -> None:
    named = references(DOCUMENT)
    assert len(named) > 60 and not [text for text in map(fault, named) if text]


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("tests/unit/test_nothing.py", "tests/unit/test_nothing.py does not exist"),
        ("tests/unit/test_security_promises.py::test_nothing", "tests/unit/test_security_promises.py has no test test_nothing"),
        ("tests/unit/test_security_promises.py::fault", "tests/unit/test_security_promises.py has no test fault"),
        ("tests/cases/nothing", "tests/cases/nothing does not exist"),
        ("tests/shared/cri.py", ""),
    ],
)
def test_what_is_wrong_with_a_reference(reference: str, expected: str) -> None:
    assert fault(reference) == expected


def test_references_of_one_file() -> None:
    text = "`tests/a.py::test_a` `::test_b` `tests/c.py` and `code`"
    assert references(text) == ["tests/a.py::test_a", "tests/a.py::test_b", "tests/c.py"]
