"""The virtual environment that tests, linters and benchmarks run in, kept in the cache."""

import datetime
import platform
import sys
from pathlib import Path

from runxtools import cache
from runxtools.checkout import CHECKOUT
from runxtools.command import main_of, run

_REQUIREMENTS = CHECKOUT / "requirements-dev.txt"
"""It names requirements.txt, too. Both have a hash of each file that pip may take."""
RUN_TIME = ("lark", "pydantic", "rich")
"""The libraries that runx itself imports, as in pyproject.toml."""


def key() -> str:
    """Key of the environment: changes with the requirements and the interpreter."""
    requirements = _REQUIREMENTS.read_bytes() + (CHECKOUT / "requirements.txt").read_bytes()
    return cache.key_of({"requirements": requirements, "python": f"{sys.executable} {platform.python_version()}"})


def find() -> Path | None:
    """Python of the environment that this process runs in, else of the one in the cache; None when there is none."""
    if sys.prefix != sys.base_prefix:
        return Path(sys.executable)
    entry = cache.find(cache.root(), "venv", key())
    return entry / "bin" / "python" if entry else None


def make() -> Path:
    """Make the environment if needed: its python. Raises ToolError with pip's message."""

    def fill(directory: Path) -> None:
        run([sys.executable, "-m", "venv", directory], "python3 -m venv")
        words = ("-m", "pip", "install", "--quiet", "--no-input", "--require-hashes", "--only-binary=:all:", "-r", _REQUIREMENTS)
        run([directory / "bin" / "python", *words], "pip install")

    with cache.locked(cache.root() / "venv.lock"):
        entry = cache.find(cache.root(), "venv", key()) or cache.make(cache.root(), "venv", key(), fill)
    return entry / "bin" / "python"


def newest_libraries() -> Path:
    """A directory with the newest release of each library that runx needs at run time, at most a week old, for sys.path. Raises
    ToolError with pip's message."""
    week = datetime.date.today().strftime("%G-%V")

    def fill(directory: Path) -> None:
        words = ("-m", "pip", "install", "--quiet", "--no-input", "--upgrade", "--target")
        run([make(), *words, directory / "site", *RUN_TIME], "pip install")

    with cache.locked(cache.root() / "newest.lock"):
        key = cache.key_of({"week": week, "python": f"{sys.executable} {platform.python_version()}"})
        return (cache.find(cache.root(), "newest", key) or cache.make(cache.root(), "newest", key, fill)) / "site"


def main() -> int:
    """Print the path of the environment's python, for tools/python."""
    print(find() or make())
    return 0


if __name__ == "__main__":
    main_of("venv", main)
