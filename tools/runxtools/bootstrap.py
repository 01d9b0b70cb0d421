"""Make a Debian root by mmdebstrap, from this machine's own package sources."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

from runxtools import apt
from runxtools.command import run
from runxtools.packages import Package

HOST_PACKAGES = (Package("mmdebstrap", "mmdebstrap", "makes Debian roots"),)
_OF_THE_MACHINE = ("apt/sources.list", "apt/sources.list.d/*", "apt/apt.conf.d/99mmdebstrap", "apt/auth.conf", "resolv.conf")
"""Files below /etc that mmdebstrap leaves in a root, which have this machine's settings."""


def ingredients(suite: str) -> dict[str, str | bytes]:
    """What a root of this suite depends on beside its packages and options, for the key of a cache."""
    return {
        "mmdebstrap": run(["mmdebstrap", "--version"]),
        "recipe": Path(__file__).read_bytes(),
        **{f"source {name}": text for name, text in apt.suite_entries(suite).items()},
    }


def make(suite: str, packages: Sequence[str], target: Path, left_out: Sequence[str], options: Sequence[str] = ()) -> None:
    """Make a minimal Debian with these packages by mmdebstrap, from this machine's package sources for `suite`.

    `target` is a directory or, ending in .tar, an archive. `left_out` are patterns of paths that are not unpacked. None of the
    machine's sources and settings stay in it. Raises ToolError.
    """
    with tempfile.TemporaryDirectory(prefix="runx-sources-") as place:
        sources = []
        for name, text in apt.suite_entries(suite).items():
            sources.append(Path(place, name))
            sources[-1].touch(mode=0o600)  # an address may hold a password
            sources[-1].write_text(text)
        run([
            "mmdebstrap", "--variant=minbase", "--mode=root", f"--format={'tar' if target.suffix == '.tar' else 'directory'}",
            *([f"--include={','.join(packages)}"] if packages else []),
            *(f"--dpkgopt=path-exclude={pattern}" for pattern in left_out),
            *(f"--aptopt={setting}" for setting in apt.settings(suite)),
            *options,
            *(f'--customize-hook=rm -f "$1"/etc/{name}' for name in _OF_THE_MACHINE),
            suite, target, *sources,
        ])  # fmt: skip
