"""Imports between modules, and the rule that they go down: from rooms on higher floors to rooms on lower ones.

A room is a module or a package. `floors` lists the rooms of each floor, the lowest floor first.
"""

import ast
from collections.abc import Iterable, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path


def modules(directory: Path, package: str) -> dict[str, Path]:
    """Paths of the modules of a package in `directory`, by name."""
    return {
        ".".join(path.relative_to(directory).with_suffix("").parts).removesuffix(".__init__"): path
        for path in (directory / package).rglob("*.py")
    }


def imports(source: str, modules: Iterable[str]) -> set[str]:
    """Modules that a source imports anywhere in it; for `from package import x` the module x, if it is one."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{node.lineno}: relative imports hide where things come from"
            module = node.module or ""
            found |= {name if (name := f"{module}.{alias.name}") in modules else module for alias in node.names}
    return found


def room(module: str, floors: tuple[tuple[str, ...], ...]) -> tuple[int, str] | None:
    """Floor and room of a module; None when it is in none of them."""
    for number, rooms in enumerate(floors):
        for one in rooms:
            if module == one or module.startswith(one + "."):
                return number, one
    return None


def faults(graph: Mapping[str, set[str]], floors: tuple[tuple[str, ...], ...]) -> list[str]:
    """Imports that do not go down, in words."""
    found = []
    for name, imported in sorted(graph.items()):
        here = room(name, floors)
        for module in sorted(imported):
            there = room(module, floors)
            if here and there and here != there and there[0] >= here[0]:
                found.append(f"{name} imports {module}")
    return found


def circle(graph: Mapping[str, set[str]]) -> list[str]:
    """The modules of a circle of imports, the first once more at the end; empty when there is none."""
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        return list(error.args[1])
    return []
