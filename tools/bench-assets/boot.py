#!/usr/bin/python3
"""Measure in dom0 for tools/bench: how long a guest's kernel has been running when the container's process begins.

    boot.py ROUNDS PROGRAM CARRIER...

PROGRAM is uptime.c, compiled. The floor is the container's kernel, with its settings, if PROGRAM is its init: the kernel executes
it at once. It prints one JSON object a round, in milliseconds.
"""

import json
import os
import re
import subprocess
import sys
import tempfile

from bundle import RUNX, bundle_of, output_of
from consoles import open_console, read_until

LIBRARY = "/usr/local/lib/runx"
ASSETS = "/usr/local/share/runx/x86_64"
KEPT = ("type", "kernel", "extra", "memory", "vcpus")
"""Settings of the container's domain that the floor's has too."""


def of_kernel(config: str, name: str) -> float:
    """The floor. Its guest prints to hvc0 and powers off."""
    subprocess.run(["xl", "create", "-p", "-e", "-q", config], stdin=subprocess.DEVNULL, check=True)
    try:
        pty = open_console(name)
        subprocess.run(["xl", "unpause", name], check=True)
        return float(read_until(pty, r"uptime ([0-9.]+)\r?\n")[1])
    finally:
        subprocess.run(["xl", "destroy", name], stderr=subprocess.DEVNULL)  # the domain may have ended by itself


def floor_config(directory: str, bundle: str, name: str, program: str) -> str:
    """Write the configuration of the floor's domain: its path."""
    sys.path.insert(0, LIBRARY)
    from runx.cpio import OverlayFile, archive

    # By disk, as a machine with 9p shares clears memory when it is allocated, which takes time.
    argv = [RUNX, "plan", "--root-carrier", "disk", bundle, "-o", f"{directory}/plan"]
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
    with open(f"{directory}/plan/domain.cfg") as file:
        lines = [line for line in file if line.partition(" ")[0] in KEPT]
    lines = [re.sub('"$', ' rdinit=/bench"', line) if line.startswith("extra ") else line for line in lines]
    with open(f"{ASSETS}/initrd", "rb") as base, open(program, "rb") as code, open(f"{directory}/initrd", "wb") as file:
        file.write(base.read() + archive([OverlayFile("bench", 0o755, code.read())]))
    lines += [f'name = "{name}"\n', f'ramdisk = "{directory}/initrd"\n']
    lines += [f'on_{event} = "destroy"\n' for event in ("poweroff", "reboot", "crash")]
    with open(f"{directory}/floor.cfg", "w") as file:
        file.writelines(lines)
    return file.name


def main(rounds: int, program: str, carriers: list[str]) -> None:
    # Not in /tmp, which may be in memory: root filesystems are on a disk.
    with tempfile.TemporaryDirectory(prefix="runx-bench-", dir="/var/tmp") as directory:
        bundle = bundle_of(directory, program)
        name = f"runx-bench-{os.getpid()}"
        config = floor_config(directory, bundle, name, program)
        for number in range(-1, rounds):
            round_ = {"floor": of_kernel(config, name)}
            round_ |= {carrier: float(output_of(directory, bundle, carrier)) for carrier in carriers}
            if number >= 0:  # the first round made the images
                print(json.dumps(round_), flush=True)


main(int(sys.argv[1]), sys.argv[2], sys.argv[3:])
