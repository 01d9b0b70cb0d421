"""pydantic and lark are imported without the modules that the compiler does not use, and do the same."""

import importlib
import re
import subprocess
import sys
import sysconfig
import tomllib
from pathlib import Path

import pytest

from runx.compiler import slim_imports
from runxtools import venv

ROOT = Path(__file__).parents[3]
CASE = ROOT / "tests" / "cases" / "podman-full"


LIBRARIES = sysconfig.get_path("purelib")


@pytest.fixture(scope="module", params=["pinned", "newest"])
def libraries(request: pytest.FixtureRequest) -> str:
    """Where pydantic and lark are: those of requirements-dev.txt, and the newest ones that there are."""
    return LIBRARIES if request.param == "pinned" else str(venv.newest_libraries())


def isolated(script: str, *arguments: str, libraries: str = LIBRARIES) -> str:
    """What a script prints that starts as runx does, with nothing imported before."""
    paths = [str(ROOT), str(ROOT / "tests"), str(ROOT / "tests" / "unit"), libraries]
    argv = [sys.executable, "-I", "-S", "-c", f"import sys; sys.path[:0] = {paths!r}\n{script}", *arguments]
    done = subprocess.run(argv, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_libraries_are_those_of_the_project() -> None:
    needed = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    assert sorted(re.split("[<>=]", text)[0] for text in needed) == sorted(venv.RUN_TIME)


def test_what_is_not_used_is_not_loaded(libraries: str) -> None:
    loaded = isolated("import runx.compiler.pipeline\nprint(*sys.modules)", libraries=libraries).split()
    assert "pydantic.main" in loaded and "lark.lark" in loaded
    # The compiler itself uses two of them, and pydantic one when the first device of the plan is made.
    assert {*slim_imports.PYDANTIC, *slim_imports.LARK} & set(loaded) <= {"hashlib", "ipaddress", "pydantic.json_schema"}


def test_a_plan_made_without_them_is_the_same(libraries: str) -> None:
    script = (
        "from runx.compiler.host.host_facts import HostFacts\nfrom runx.compiler.pipeline import Inputs, compile\n"
        "class Facts(HostFacts):\n"
        "    def kind(self, path): return 'directory'\n"
        "    def host_config(self): return None\n"
        "inputs = Inputs(sys.argv[1], container_id='c', state_root='/run/runx', assets='/a', facts=Facts())\n"
        "sys.stdout.write(compile(inputs).artifacts.plan_json)"
    )
    everything = f"import {', '.join((*slim_imports.PYDANTIC, *slim_imports.LARK))}\n"
    plan = isolated(script, str(CASE), libraries=libraries)
    assert plan == isolated(everything + script, str(CASE), libraries=libraries) == isolated(script, str(CASE))


def test_a_name_of_a_stand_in_that_is_called_is_the_real_one() -> None:
    script = (
        "from runx.compiler import slim_imports\n"
        "with slim_imports.without(('fractions',)):\n"
        "    import fractions as stood_in\n"
        "    from fractions import Fraction\n"
        "assert not hasattr(stood_in, '__path__') and {Fraction: 1}[stood_in.Fraction] == 1\n"
        "import fractions\n"
        "assert fractions is not stood_in and Fraction is not fractions.Fraction\n"
        "print(Fraction(1, 2) + fractions.Fraction(1, 2))"
    )
    assert isolated(script) == "1\n"


def test_one_that_is_called_early_makes_way_for_its_module() -> None:
    with slim_imports.without(("os", "no_such_module")):
        imported = importlib.import_module("os")
        missing = importlib.import_module("no_such_module")

        assert imported is sys.modules["os"] and imported.path
        assert missing.Name is missing.Name
        with pytest.raises(ImportError):
            missing.Name()
    assert "no_such_module" not in sys.modules
