"""Imports of the tools and of the guest's recipes go down, form no circle, and reach no test."""

import sys

import pytest

from layers import circle, faults, imports, modules, room
from runxtools.checkout import CHECKOUT

MODULES = modules(CHECKOUT / "tools", "runxtools") | modules(CHECKOUT / "guest-assets", "recipes")
IMPORTS = {name: imports(path.read_text(), MODULES) for name, path in MODULES.items()}
OF_TESTS = {path.stem for path in (CHECKOUT / "tests").rglob("*.py")} | {"tests", "pytest", "hypothesis"}

FLOORS = (
    ("runxtools.errors", "runxtools.checkout", "runxtools.machine"),
    ("runxtools.arches", "runxtools.cache", "runxtools.command", "runxtools.ociimage", "runxtools.process", "runxtools.progress"),
    ("runxtools.hashes", "runxtools.packages", "runxtools.runner", "runxtools.venv"),
    ("runxtools.apt", "runxtools.installer"),
    ("runxtools.bootstrap",),
    ("runxtools.tree",),
    ("runxtools.ninep",),
    ("runxtools.double", "runxtools.engines", "runxtools.lab", "runxtools.pythons", "runxtools.specification"),
    ("runxtools.testing",),
    ("runxtools.bench", "runxtools.fault_table", "runxtools.plan_schema", "runxtools.support_table"),
    ("runxtools.demo", "runxtools.documents", "runxtools.fuzz", "runxtools.test"),
    ("recipes",),
)
"""The lowest first. Rooms of a floor do not know each other."""


def test_every_module_is_in_a_room() -> None:
    packages = {name for name, path in MODULES.items() if path.name == "__init__.py"}
    assert not [name for name in sorted(MODULES) if name not in packages and not room(name, FLOORS)]


def test_packages_are_empty() -> None:
    assert not [name for name, path in MODULES.items() if path.name == "__init__.py" and path.stat().st_size]


def test_imports_go_down() -> None:
    assert not faults(IMPORTS, FLOORS)


def test_modules_form_no_circle() -> None:
    assert not circle({name: imported & set(MODULES) for name, imported in IMPORTS.items()})


@pytest.mark.parametrize("name", sorted(MODULES))
def test_no_tool_imports_a_test(name: str) -> None:
    assert not {module.split(".")[0] for module in IMPORTS[name]} & OF_TESTS


@pytest.mark.parametrize("name", sorted(MODULES))
def test_tools_need_no_library(name: str) -> None:
    """They run before any virtual environment exists; those that write documents run in it."""
    allowed = {"runx", "runxtools", "recipes"} | ({"pydantic"} if name == "runxtools.plan_schema" else set())
    assert {module.split(".")[0] for module in IMPORTS[name]} <= sys.stdlib_module_names | allowed


@pytest.mark.parametrize("name", sorted(MODULES))
def test_no_tool_reads_a_file_of_the_tests(name: str) -> None:
    assert "tests/cases" not in MODULES[name].read_text()
