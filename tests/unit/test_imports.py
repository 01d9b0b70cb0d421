"""Imports go down only: a room imports rooms on lower floors, never one beside or above it, and modules form no circle."""

import subprocess
import sys
from pathlib import Path

import pytest

from layers import circle, faults, imports, modules, room

ROOT = Path(__file__).parents[2]
MODULES = modules(ROOT, "runx")

COMPILER = (
    ("runx.errors",),
    ("runx.log", "runx.paths", "runx.cpio", "runx.collector", "runx.shell"),
    ("runx.linux",),
    ("runx.compiler.diagnostics", "runx.compiler.slim_imports"),
    ("runx.compiler.source", "runx.compiler.grammar"),
    ("runx.compiler.model",),
    ("runx.compiler.host", "runx.compiler.frontends", "runx.compiler.backends"),
    ("runx.compiler.passes",),
    ("runx.compiler.pipeline",),
)
"""The compiler's floors, the lowest first. Rooms of a floor do not know each other."""
EXECUTOR = (
    *COMPILER[:3],
    ("runx.exec.spawn", "runx.exec.plan_json", "runx.exec.confinement", "runx.exec.host_view"),
    ("runx.exec.ninep",),
    ("runx.exec.container", "runx.exec.storage"),
    ("runx.exec.xen",),
    ("runx.exec.console", "runx.exec.network"),
    ("runx.exec.supervisor",),
    ("runx.exec.commands",),
    ("runx.cli",),
    ("runx.__main__",),
)
COMPILING = ("runx.exec.commands.create", "runx.exec.commands.update")
"""Of the executor only they know the compiler."""


IMPORTS = {name: imports(path.read_text(), MODULES) for name, path in MODULES.items()}


def below(prefix: str) -> list[str]:
    return sorted(name for name in MODULES if name == prefix or name.startswith(prefix + "."))


def own(name: str) -> set[str]:
    return {module for module in IMPORTS[name] if module.split(".")[0] == "runx"}


def test_every_module_is_in_a_room() -> None:
    packages = {name for name in MODULES if MODULES[name].name == "__init__.py"}
    homeless = [
        name for name in sorted(MODULES) if name not in packages and not room(name, EXECUTOR) and not room(name, COMPILER)
    ]
    assert not homeless


def test_packages_are_empty() -> None:
    """What is in one is loaded by each of its modules, and counts for a fast command."""
    full = [name for name in MODULES if MODULES[name].name == "__init__.py" and MODULES[name].stat().st_size]
    assert full == ["runx"], "which has the version"


@pytest.mark.parametrize("floors", [COMPILER, EXECUTOR], ids=["compiler", "executor"])
def test_imports_go_down(floors: tuple[tuple[str, ...], ...]) -> None:
    assert not faults(IMPORTS, floors)


def test_modules_form_no_circle() -> None:
    assert not circle({name: own(name) for name in MODULES})


def test_both_rules_find_what_they_are_for() -> None:
    up = {"runx.linux.netns": {"runx.exec.spawn"}, "runx.exec.spawn": {"runx.linux.netns"}}
    beside = {"runx.exec.console.ring": {"runx.exec.network.dns"}}
    assert faults(up, EXECUTOR) == ["runx.linux.netns imports runx.exec.spawn"]
    assert faults(beside, EXECUTOR) == ["runx.exec.console.ring imports runx.exec.network.dns"]
    assert set(circle(up)) == set(up)
    assert imports("def late():\n    from runx.exec import spawn, nothing", {"runx.exec.spawn"}) == {
        "runx.exec.spawn",
        "runx.exec",
    }


@pytest.mark.parametrize("name", below("runx.linux"))
def test_wrappers_of_the_kernel_know_nothing_of_containers(name: str) -> None:
    assert not [module for module in own(name) if not module.startswith(("runx.linux", "runx.errors", "runx.paths"))]


@pytest.mark.parametrize("name", below("runx.compiler"))
def test_the_compiler_knows_no_executor(name: str) -> None:
    assert not [module for module in own(name) if module.startswith(("runx.exec", "runx.cli"))]


@pytest.mark.parametrize("name", below("runx.exec"))
def test_only_create_and_update_compile(name: str) -> None:
    compiles = [module for module in own(name) if module.startswith("runx.compiler")]
    assert not compiles or name in COMPILING


@pytest.mark.parametrize("name", below("runx.compiler.backends"))
def test_backends_read_the_plan_alone(name: str) -> None:
    tables = ("runx.linux.process_words", "runx.errors")
    allowed = ("runx.compiler.backends", "runx.compiler.model.plan", "runx.cpio", "runx.shell", *tables)
    assert not [module for module in own(name) if not module.startswith(allowed)]


@pytest.mark.parametrize("name", sorted(MODULES))
def test_heavy_libraries_stay_where_they_belong(name: str) -> None:
    homes = {
        "pydantic": ("runx.compiler.model.plan",),
        "lark": ("runx.compiler.grammar", "runx.compiler.frontends"),
        "rich": ("runx.cli.plan_text",),
    }
    for module in IMPORTS[name]:
        home = homes.get(module.split(".")[0])
        assert not home or name.startswith(home), f"{name} imports {module}"


@pytest.mark.parametrize("name", below("runx.compiler"))
def test_only_the_room_of_the_host_looks_at_the_host(name: str) -> None:
    looking = IMPORTS[name] & {"os", "os.path", "pathlib", "subprocess", "shutil", "glob", "socket", "platform"}
    homes = ("runx.compiler.host", "runx.compiler.grammar", "runx.compiler.slim_imports")
    assert not looking or name.startswith(homes)


def test_a_fast_command_loads_next_to_nothing_of_the_standard_library() -> None:
    """Each module more is a millisecond of the nine or so that Python itself takes."""
    script = (
        "import os, sys; sys.path.insert(0, sys.argv[1]); before = set(sys.modules)\n"
        "from runx.cli import main\n"
        "from runx.exec.commands import delete, kill, start, state\n"
        "print(*sorted(name for name in set(sys.modules) - before if not name.startswith('runx')))"
    )
    done = subprocess.run([sys.executable, "-I", "-S", "-c", script, str(ROOT)], capture_output=True, text=True, check=True)
    # Python itself has loaded io before version 3.14.
    assert set(done.stdout.split()) <= {"_socket", "io", "select"}
