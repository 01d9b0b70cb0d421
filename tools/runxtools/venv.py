"""The virtual environment that tests, linters and benchmarks run in, kept in the cache."""

import platform
import sys
from pathlib import Path

from runxtools import cache
from runxtools.checkout import CHECKOUT
from runxtools.command import main_of, run

_REQUIREMENTS = CHECKOUT / "requirements-dev.txt"


def key() -> str:
    """Key of the environment: changes with the requirements and the interpreter."""
    return cache.key_of({"requirements": _REQUIREMENTS.read_bytes(), "python": f"{sys.executable} {platform.python_version()}"})


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
        run([directory / "bin" / "python", "-m", "pip", "install", "--quiet", "--no-input", "-r", _REQUIREMENTS], "pip install")

    with cache.locked(cache.root() / "venv.lock"):
        entry = cache.find(cache.root(), "venv", key()) or cache.make(cache.root(), "venv", key(), fill)
    return entry / "bin" / "python"


def main() -> int:
    """Print the path of the environment's python, for tools/python."""
    print(find() or make())
    return 0


if __name__ == "__main__":
    main_of("venv", main)
