"""Functions that a reader can call without counting: what travels together is one object."""

import ast
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
LIMIT = 7
SOURCES = sorted(path for folder in ("runx", "tools/runxtools") for path in (ROOT / folder).rglob("*.py"))


def parameters(function: ast.FunctionDef | ast.AsyncFunctionDef) -> list[str]:
    """The names a caller may give; `self` and `cls` are not among them."""
    given = function.args
    names = [argument.arg for argument in (*given.posonlyargs, *given.args, *given.kwonlyargs)]
    return [name for name in names if name not in ("self", "cls")]


@pytest.mark.parametrize("path", SOURCES, ids=[str(path.relative_to(ROOT)) for path in SOURCES])
def test_few_parameters(path: Path) -> None:
    functions = [
        node for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    many = [f"{node.lineno}: {node.name}" for node in functions if len(parameters(node)) > LIMIT]
    assert not many, f"more than {LIMIT} parameters"


def test_they_are_counted() -> None:
    (function,) = ast.parse("class C:\n def f(self, a, /, b, *c, d=1, **e): pass").body[0].body  # type: ignore[attr-defined]
    assert parameters(function) == ["a", "b", "d"]
