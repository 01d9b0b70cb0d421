"""Imports go forward only: frontends know no backends, backends know the plan alone, the executor does not know the compiler."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in (ROOT / "runx").rglob("*.py")
}


def imports(name: str) -> set[str]:
    """Every module that `name` imports, wherever in it; of `from package import x` the package and, if it is one, the module."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(MODULES[name].read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{name}: relative imports hide where things come from"
            module = node.module or ""
            found |= {module, *(f"{module}.{alias.name}" for alias in node.names if f"{module}.{alias.name}" in MODULES)}
    return found


def below(prefix: str) -> list[str]:
    return sorted(name for name in MODULES if name == prefix or name.startswith(prefix + "."))


def own(name: str) -> set[str]:
    return {module for module in imports(name) if module.split(".")[0] == "runx"}


@pytest.mark.parametrize("name", below("runx.compiler.frontends"))
def test_frontends_look_neither_back_nor_ahead(name: str) -> None:
    allowed = (
        "runx.compiler.frontends",
        "runx.compiler.diagnostics",
        "runx.compiler.source",
        "runx.compiler.grammar",
        "runx.compiler.plan",
        "runx.errors",
    )
    assert not [module for module in own(name) if not module.startswith(allowed)]


@pytest.mark.parametrize("name", below("runx.compiler.backends"))
def test_backends_read_the_plan_alone(name: str) -> None:
    allowed = ("runx.compiler.backends", "runx.compiler.plan", "runx.cpio", "runx.errors")
    assert not [module for module in own(name) if not module.startswith(allowed)]


@pytest.mark.parametrize("name", below("runx.compiler"))
def test_the_compiler_knows_no_executor(name: str) -> None:
    assert not [module for module in own(name) if module.startswith(("runx.exec", "runx.cli"))]


@pytest.mark.parametrize("name", below("runx.exec"))
def test_only_create_and_update_compile(name: str) -> None:
    compiles = [module for module in own(name) if module.startswith("runx.compiler")]
    assert not compiles or name in ("runx.exec.commands.create", "runx.exec.commands.update")


@pytest.mark.parametrize("name", sorted(MODULES))
def test_heavy_libraries_stay_where_they_belong(name: str) -> None:
    homes = {
        "pydantic": ("runx.compiler.plan",),
        "lark": ("runx.compiler.grammar", "runx.compiler.frontends"),
        "rich": ("runx.cli.plan_text",),
    }
    for module in imports(name):
        home = homes.get(module.split(".")[0])
        assert not home or name.startswith(home), f"{name} imports {module}"


@pytest.mark.parametrize("name", below("runx.compiler"))
def test_only_facts_look_at_the_host(name: str) -> None:
    looking = imports(name) & {"os", "os.path", "pathlib", "subprocess", "shutil", "glob", "socket", "platform"}
    # A filter is made by this host's libseccomp: filters.py finds it, and is called by facts.py alone, as addresses.py is.
    homes = {
        f"runx.compiler.{module}"
        for module in ("addresses", "facts", "filters", "grammar", "lean", "root_facts", "seccomp", "tree_size")
    }
    assert not looking or name in homes


def test_a_fast_verb_loads_next_to_nothing_of_the_standard_library() -> None:
    """Each module more is a millisecond of the nine or so that Python itself takes."""
    script = (
        "import os, sys; sys.path.insert(0, sys.argv[1]); before = set(sys.modules)\n"
        "from runx.cli import main\n"
        "from runx.exec.commands import delete, kill, start, state\n"
        "print(*sorted(name for name in set(sys.modules) - before if not name.startswith('runx')))"
    )
    done = subprocess.run([sys.executable, "-I", "-S", "-c", script, str(ROOT)], capture_output=True, text=True, check=True)
    assert set(done.stdout.split()) <= {"_socket", "select"}
