#!/usr/bin/python3
"""Measure in dom0 for tools/bench: rates of a root filesystem by disk, as they are and with pages that blkfront keeps ready.

    disks.py ROUNDS PROGRAM

PROGRAM is disks.c, compiled. It prints one JSON object a round: for `own`, and for `ready`, bytes a second of reading and writing
in a row, and reads and writes of 4 KiB a second.
"""

import json
import os
import sys
import tempfile

from bundle import bundle_of, output_of

SIZE = 64 * 1024 * 1024
"""Bytes of the file that is read."""
READY = "xen_blkfront.feature_persistent=1"


def main(rounds: int, program: str) -> None:
    # Not in /tmp, which may be in memory: root filesystems are on a disk.
    with tempfile.TemporaryDirectory(prefix="runx-bench-", dir="/var/tmp") as directory:
        bundles = {}
        for kind, parameters in (("own", []), ("ready", [READY])):
            os.mkdir(f"{directory}/{kind}")
            bundles[kind] = bundle_of(f"{directory}/{kind}", program, vm={"kernel": {"parameters": parameters}})
            with open(f"{directory}/{kind}/root/big", "wb") as file:
                file.write(os.urandom(SIZE))
        for _ in range(rounds):
            texts = {kind: output_of(f"{directory}/{kind}", bundle, "disk") for kind, bundle in bundles.items()}
            print(json.dumps({kind: [float(word) for word in text.split()] for kind, text in texts.items()}), flush=True)


main(int(sys.argv[1]), sys.argv[2])
