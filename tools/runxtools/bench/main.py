"""tools/bench: measure time and memory that runx takes, and compare them with limits (docs/benchmarks.md).

Times are multiples of a floor that is measured in the same rounds, so that they mean the same on every machine.
"""

import argparse
import json
import os
import sys
from pathlib import Path

from runxtools.bench.double import measure_double
from runxtools.bench.figures import Figure, circumstances, table
from runxtools.bench.floods import measure_floods
from runxtools.bench.host import measure_host
from runxtools.bench.lab import PARTS, measure_lab
from runxtools.bench.shares import measure_shares
from runxtools.command import main_of
from runxtools.lab.kinds import SUITES, Kind
from runxtools.lab.lab import Lab
from runxtools.progress import Progress

ROUNDS = 31
LAB_ROUNDS = 5
DOUBLE_ROUNDS = 7
SHARE_ROUNDS = 7
FLOOD_ROUNDS = 3
SUITE = "bookworm"
"""The server of shares is measured against QEMU's, which is older there and can still serve."""
HERE = ("commands", "shares", "floods", "double")
"""Parts that need no lab."""


def main() -> int:
    parser = argparse.ArgumentParser(prog="tools/bench", description=__doc__)
    parser.add_argument("--no-lab", action="store_true", help="leave out figures of the Xen lab")
    parser.add_argument("--only", metavar="PART", nargs="+", choices=(*HERE, *PARTS), help=f"of {', '.join((*HERE, *PARTS))}")
    parser.add_argument("--suite", choices=SUITES, default=SUITE, help="the Debian of the lab's dom0; default: %(default)s")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the figures to FILE as well")
    options = parser.parse_args()
    loads = [os.getloadavg()[0]]
    here, in_lab = ([part for part in names if part in (options.only or names)] for names in (HERE, tuple(PARTS)))
    if options.no_lab:
        in_lab = []
    progress = Progress(len(here) + bool(in_lab))
    figures: list[Figure] = []
    if "commands" in here:
        with progress.step(f"commands, {ROUNDS} rounds", about_s=30):
            figures += measure_host(ROUNDS)
    if "shares" in here:
        with progress.step(f"server of shares, {SHARE_ROUNDS} rounds", about_s=20):
            figures += measure_shares(SHARE_ROUNDS)
    if "floods" in here:
        with progress.step(f"floods, {FLOOD_ROUNDS} rounds", about_s=40):
            figures += measure_floods(FLOOD_ROUNDS)
    if "double" in here:
        with progress.step(f"on xl-double, {DOUBLE_ROUNDS} rounds", about_s=20):
            figures += measure_double(DOUBLE_ROUNDS)
    if in_lab:
        lab = Lab(Kind(options.suite))
        lab.up()
        with progress.step(f"in the lab, {LAB_ROUNDS} rounds", about_s=240 * len(in_lab) // len(PARTS)):
            figures += measure_lab(lab, LAB_ROUNDS, in_lab)
    loads.append(os.getloadavg()[0])
    where = f"{circumstances()}; load {loads[0]:.1f} before, {loads[-1]:.1f} after"
    if options.json:
        record = {"circumstances": where, "figures": [figure.record() for figure in figures]}
        options.json.write_text(json.dumps(record, indent=2) + "\n")
    print(f"{table(figures)}\nMedians. {where}")
    over = [figure.what for figure in figures if figure.kept is False]
    if over:
        print(f"bench: over the limit: {', '.join(over)}", file=sys.stderr)
    return 1 if over else 0


if __name__ == "__main__":
    main_of("bench", main)
