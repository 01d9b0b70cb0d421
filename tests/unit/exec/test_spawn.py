"""Who starts programs: spawn.py, and the modules that docs/executor.md names."""

import re
from pathlib import Path

ROOT = Path(__file__).parents[3]
_STARTS = re.compile(r"\bos\.(posix_spawnp?|exec[lv]p?e?|system|popen|spawn\w+)\(|\bsubprocess\b")


def test_all_that_start_programs_are_named() -> None:
    package = ROOT / "runx/exec"
    starting = {str(path.relative_to(package)) for path in package.rglob("*.py") if _STARTS.search(_code(path))}
    section = (ROOT / "docs/executor.md").read_text().partition("\n## Programs\n")[2].partition("\n## ")[0]
    assert starting == {"spawn.py", *re.findall(r"^\| `([a-z/_]+\.py)` \|", section, re.MULTILINE)}


def test_nothing_else_of_runx_starts_programs() -> None:
    others = [path for path in (ROOT / "runx").rglob("*.py") if ROOT / "runx/exec" not in path.parents]
    assert not [path for path in others if _STARTS.search(_code(path))]


def _code(path: Path) -> str:
    return "".join(line for line in path.read_text().splitlines(keepends=True) if line.startswith((" ", "import", "from")))
