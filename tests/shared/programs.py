"""Programs for containers."""

import subprocess
from pathlib import Path


def compiled(name: str, directory: Path) -> Path:
    """Compile a static program from a source beside this file."""
    flags = ["-O2", "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-static"]
    subprocess.run(["gcc", *flags, "-o", directory / name, Path(__file__).with_name(f"{name}.c")], check=True)
    return directory / name
