#!/usr/bin/python3
"""Measure in dom0 for tools/bench: the memory that a machine of 64 MiB, the smallest, keeps from its container.

    memory.py ROUNDS PROGRAM CARRIER...

PROGRAM is touch.c, compiled. It prints one JSON object a round, in KiB: for each carrier of the root what the container does not
get, beside images of the root in memory, and as `kernel` what is not in MemTotal by the last one.
"""

import json
import sys
import tempfile

from bundle import bundle_of, output_of

MACHINE_KIB = 64 * 1024
LIMIT = 2**20
"""A container's memory limit that gives it such a machine."""


def of_container(directory: str, bundle: str, carrier: str) -> tuple[int, int]:
    """What the container does not get, and what is not in MemTotal."""
    usable, total = map(int, output_of(directory, bundle, carrier).split())
    return MACHINE_KIB - usable, MACHINE_KIB - total


def main(rounds: int, program: str, carriers: list[str]) -> None:
    # Not in /tmp, which may be in memory: root filesystems are on a disk.
    with tempfile.TemporaryDirectory(prefix="runx-bench-", dir="/var/tmp") as directory:
        bundle = bundle_of(directory, program, memory_limit=LIMIT)
        for _ in range(rounds):
            round_: dict[str, int] = {}
            for carrier in carriers:
                round_[carrier], round_["kernel"] = of_container(directory, bundle, carrier)
            print(json.dumps(round_), flush=True)


main(int(sys.argv[1]), sys.argv[2], sys.argv[3:])
