#!/usr/bin/python3
"""Measure for tools/bench: what a process costs that `runx exec` starts, and what its output is worth.

    sessions.py ROUNDS SIZE     a JSON object a round: milliseconds of `exec` (of true), `state` and `process` (busybox true of
                                this machine), and bytes a second of `session` and `container`, for outputs of SIZE bytes

The host must allow exec (runx.toml, policy.exec).
"""

import json
import os
import subprocess
import sys
import tempfile
import time

from bundle import RUNX, make_bundle, make_root

BLOCK = 65536


def milliseconds(argv: list[str]) -> float:
    begin = time.perf_counter()
    if subprocess.call(argv, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL):
        raise SystemExit(f"{' '.join(argv)} failed")
    return (time.perf_counter() - begin) * 1000


def rate(argv: list[str], size: int) -> float:
    """Bytes a second that a program prints, from the first ones on. Raises SystemExit unless they are `size`."""
    with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        first = len(process.stdout.read(BLOCK))
        begin = time.perf_counter()
        rest = 0
        while data := process.stdout.read(BLOCK):
            rest += len(data)
        seconds = time.perf_counter() - begin
    if process.returncode or first + rest != size:
        raise SystemExit(f"{' '.join(argv)} ended with status {process.returncode} after {first + rest} bytes")
    return rest / seconds


def main(rounds: int, size: int) -> None:
    with tempfile.TemporaryDirectory(prefix="runx-bench-") as directory:
        make_root(f"{directory}/root")
        runx = [RUNX, "--root", f"{directory}/state"]
        write = ["/bin/busybox", "dd", "if=/dev/zero", f"bs={BLOCK}", f"count={size // BLOCK}"]
        mounts = [{"destination": "/dev", "type": "tmpfs", "source": "tmpfs"}]
        waits = make_bundle(directory, f"{directory}/root", ["/bin/busybox", "sleep", "10000"], mounts=mounts)
        writes = make_bundle(directory, f"{directory}/root", write, mounts=mounts)
        subprocess.run([*runx, "run", "--detach", "--bundle", waits, "c"], check=True, stdin=subprocess.DEVNULL)
        try:
            for number in range(-1, rounds):
                round_ = {
                    "process": milliseconds(["/bin/busybox", "true"]),
                    "state": milliseconds([*runx, "state", "c"]),
                    "exec": milliseconds([*runx, "exec", "c", "/bin/busybox", "true"]),
                    "container": rate([*runx, "run", "--bundle", writes, "w"], size),
                    "session": rate([*runx, "exec", "c", *write], size),
                }
                if number >= 0:  # the first round warmed the page cache
                    print(json.dumps(round_), flush=True)
        finally:
            subprocess.call([*runx, "delete", "--force", "c"])


os.environ["PATH"] = "/usr/local/bin:" + os.environ["PATH"]
main(int(sys.argv[1]), int(sys.argv[2]))
