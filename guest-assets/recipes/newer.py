"""`tools/sources`: which versions of the guest's sources runx was tried with, and which Debian has now."""

import argparse
import tempfile
from collections.abc import Sequence
from pathlib import Path

from recipes import kernel_source, pins
from runxtools.apt import PrivateApt, machine_release, source_entries
from runxtools.command import main_of
from runxtools.runner import Log

_DESCRIPTION = """\
Tells for the sources of the guest's kernel and busybox which version guest-assets/sources.toml has, and which is the newest one
in this machine's package sources. It changes nothing, and ends with 0 whatever it finds.
"""


def line(what: str, suite: str, known: pins.Pin | None, versions: Sequence[str]) -> str:
    """What is told of one source. versions: those that Debian has, the newest first."""
    tried = known.version if known else "no version"
    if not versions:
        found = "the package sources have none"
    elif known and versions[0] == known.version:
        found = "the newest"
    elif known and known.version not in versions:
        found = f"Debian has {versions[0]}, and this one no more"
    else:
        found = f"Debian has {versions[0]}"
    return f"{what} ({suite or 'no Debian'}): {tried}; {found}"


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="tools/sources", description=_DESCRIPTION, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="runx-sources-") as place:
        top, log = Path(place), Log("sources")
        kernel = _versions(top / "kernel", log, kernel_source.debian_entries(), kernel_source.PACKAGE, source=False)
        print(line("linux", kernel_source.SUITE, pins.pin("linux", kernel_source.SUITE), kernel))
        release = machine_release()
        busybox = _versions(top / "busybox", log, source_entries(), "busybox", source=True)
        print(line("busybox", release, pins.pin("busybox", release), busybox))
    return 0


def _versions(directory: Path, log: Log, entries: dict[str, str], name: str, *, source: bool) -> list[str]:
    if not entries:
        return []
    directory.mkdir()
    apt = PrivateApt(directory / "apt", log, entries)
    apt.run("update", cwd=directory, check=False)  # one of several repositories may lack the suite
    return apt.versions(name, source=source)


if __name__ == "__main__":
    main_of("sources", main)
