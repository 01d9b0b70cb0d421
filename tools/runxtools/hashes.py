"""Write the hashes of the libraries' files into requirements.txt and requirements-dev.txt, after a version there was changed.

    tools/python -m runxtools.hashes

pip chooses the files, as it would on each kind of machine that runx and its tests are installed on. It downloads what it needs
to look at, and installs nothing.
"""

import json
import re
import sys
import tempfile
from collections.abc import Iterable
from pathlib import Path

from runxtools.checkout import CHECKOUT
from runxtools.command import main_of, run

RUN_TIME = CHECKOUT / "requirements.txt"
"""What runx itself needs."""
FOR_TESTS = CHECKOUT / "requirements-dev.txt"
"""What the tests and linters need besides."""
_PYTHONS = ("3.11", "3.12", "3.13", "3.14")
_MACHINES = {RUN_TIME: ("x86_64", "aarch64", "armv7l"), FOR_TESTS: ("x86_64", "aarch64")}
_GLIBC = (*(f"2_{minor}" for minor in range(41, 4, -1)), "2014", "2010", "1")
"""What wheels for Linux may be named after (PEP 600), the newest first, as pip prefers them."""
_PIN = re.compile(r"([\w.-]+)==([\w.]+)")


def pins(path: Path) -> dict[str, str]:
    """The version of each library in a file of requirements."""
    return {found[1]: found[2] for line in path.read_text().splitlines() if (found := _PIN.match(line))}


def pin_lines(versions: dict[str, str], hashes: dict[str, set[str]]) -> Iterable[str]:
    """The lines of a file of requirements (pip, "Secure installs")."""
    for name, version in versions.items():
        words = [f"{name}=={version}", *(f"--hash=sha256:{value}" for value in sorted(hashes[_normal(name)]))]
        yield " \\\n    ".join(words) + "\n"


def _normal(name: str) -> str:
    """A name as the index compares it (PEP 503)."""
    return re.sub(r"[-_.]+", "-", name).lower()


def _chosen(versions: dict[str, str], python: str, machine: str) -> dict[str, str]:
    """The hash of the file that pip takes of each library. Raises ToolError with pip's words if there is none."""
    with tempfile.TemporaryDirectory(prefix="runx-hashes-") as place:
        report = Path(place, "report.json")
        platforms = [f"--platform=manylinux{'' if glibc in ('2014', '2010', '1') else '_'}{glibc}_{machine}" for glibc in _GLIBC]
        run([
            sys.executable, "-m", "pip", "install", "--quiet", "--no-input", "--dry-run", "--ignore-installed", "--no-deps",
            "--only-binary=:all:", f"--target={place}/none", f"--python-version={python}", "--implementation=cp", *platforms,
            f"--report={report}", *(f"{name}=={version}" for name, version in versions.items()),
        ], "pip install --dry-run")  # fmt: skip
        files = json.loads(report.read_text())["install"]
    return {_normal(file["metadata"]["name"]): file["download_info"]["archive_info"]["hashes"]["sha256"] for file in files}


def main() -> int:
    for path, machines in _MACHINES.items():
        versions = pins(path)
        hashes: dict[str, set[str]] = {_normal(name): set() for name in versions}
        for python in _PYTHONS:
            for machine in machines:
                print(f"{path.name}: Python {python}, {machine}", flush=True)
                for name, value in _chosen(versions, python, machine).items():
                    hashes[name].add(value)
        comments = [f"{line}\n" for line in path.read_text().splitlines() if line.startswith(("#", "-r "))]
        path.write_text("".join((*comments, *pin_lines(versions, hashes))))
    return 0


if __name__ == "__main__":
    main_of("hashes", main)
