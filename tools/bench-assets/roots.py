#!/usr/bin/python3
"""Measure for tools/bench: the time of root filesystems by each carrier, and of file operations in them.

    roots.py images ROUNDS MIB...         seconds of `create` for a root of MIB, without its image and with it; and until the
                                          domain exists, without it
    roots.py lives ROUNDS CARRIER...      seconds from `create` to the first output, for a root of 10 MiB that has an image
    roots.py files ROUNDS FILES           seconds to list, make and read FILES files: on the disks that runx makes of a root,
                                          and on a plain ext4 on the same devices

It prints one JSON object a round.
"""

import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from itertools import pairwise

from bundle import make_bundle, make_root

RUNX = "/usr/local/bin/runx"
FILE_SIZE = 21 * 1024
"""Bytes of a file: as in a usual image, which has 12,000 files in 252 MB."""
APPLETS = ("sh", "echo", "ls", "cat", "find", "mkdir", "rm", "true")
_BLOCK = os.urandom(1 << 20)

# Runs in the guest. /proc/uptime counts hundredths of a second.
FILES = """
now() { read -r seconds _ < /proc/uptime; echo "$seconds"; }
rm -rf /new
now; ls -lR /data > /dev/null
now; i=0; mkdir /new; while [ $i -lt COUNT ]; do echo $i > /new/$i; i=$((i + 1)); done
now; find /data -type f -exec cat {} + > /dev/null
now
"""


@contextmanager
def root(directory: str, name: str, size: int, files: int = 0) -> Iterator[str]:
    """Mount a root filesystem as engines do, an overlay of a layer with busybox and `size` bytes: the mount point."""
    parts = ("snapshots/1/fs", "snapshots/2/fs", "snapshots/2/work", "top")
    lower, upper, work, top = (f"{directory}/{name}/{part}" for part in parts)
    make_root(lower, *APPLETS)
    for path in (f"{lower}/data", upper, work, top):
        os.makedirs(path)
    count = files or max(1, size // FILE_SIZE)
    for number in range(count):
        folder = f"{lower}/data/{number // 100}"
        os.makedirs(folder, exist_ok=True)
        at = number * 7919 % (len(_BLOCK) - FILE_SIZE)
        with open(f"{folder}/{number}", "wb") as file:
            file.write(_BLOCK[at : at + (1024 if files else FILE_SIZE)])
    options = f"lowerdir={lower},upperdir={upper},workdir={work}"
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, top], check=True)
    try:
        yield top
    finally:
        # Of a container that a failure left.
        subprocess.run([RUNX, "--root", f"{directory}/state", "delete", "--force", "bench"])
        subprocess.run(["umount", top], check=True)
        shutil.rmtree(f"{directory}/{name}")


class Container:
    """Make a bundle of the root: runx's command line for it."""

    def __init__(self, directory: str, top: str, script: str, **more: object) -> None:
        self.bundle = make_bundle(directory, top, ["/bin/sh", "-c", script], **more)
        self._argv = [RUNX, "--root", f"{directory}/state"]

    def run(self, *options: str) -> tuple[float, str]:
        """Seconds until the container's first output, and all of its output."""
        argv = [*self._argv, "run", "--bundle", self.bundle, *options, "bench"]
        begin = time.perf_counter()
        with subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, bufsize=0) as process:
            assert process.stdout is not None
            try:
                first = process.stdout.read(1)
                seconds = time.perf_counter() - begin
                text = first + process.stdout.read()
            except BaseException:  # after SIGTERM, nothing waits for it
                process.kill()
                raise
        if process.returncode:
            raise SystemExit(f"a container ended with status {process.returncode}")
        return seconds, text.decode()

    def create(self, *options: str) -> tuple[float, float]:
        """Seconds of `create`, and until the domain exists; the container is deleted again."""
        begin = time.perf_counter()
        with open(f"{self.bundle}/output", "w+") as output:  # not a pipe: it would stay open in the supervisor
            argv = [*self._argv, "create", "--bundle", self.bundle, *options, "bench"]
            status = subprocess.call(argv, stdin=subprocess.DEVNULL, stdout=output, stderr=output)
            seconds = time.perf_counter() - begin
            if status:
                output.seek(0)
                raise SystemExit(f"runx create failed: {output.read()}")
        while "\ndomid=-1\n" in self._record():
            time.sleep(0.01)
        made = time.perf_counter() - begin
        subprocess.run([*self._argv, "delete", "--force", "bench"], check=True)
        return seconds, made

    def _record(self) -> str:
        with open(f"{self._argv[2]}/bench/record", encoding="utf-8") as file:
            text = file.read()
        if "\nstatus=created\n" not in text:
            raise SystemExit("a container has ended before its start")
        return text


def forget_image(top: str) -> None:
    """Make runx take the layer for another one: it identifies layers by their time of change too (docs/roots.md)."""
    os.chmod(os.path.join(os.path.dirname(top), "snapshots/1/fs"), 0o755)


def images(directory: str, rounds: int, sizes: list[int]) -> None:
    for mib in sizes:
        with root(directory, "root", mib << 20) as top:
            container = Container(directory, top, "true")
            container.create("--root-carrier", "disk")  # fills the page cache
            for _ in range(rounds):
                forget_image(top)
                cold, made = container.create("--root-carrier", "disk")
                warm, _ = container.create("--root-carrier", "disk")
                print(json.dumps({"mib": mib, "cold": cold, "made": made, "warm": warm}), flush=True)


def lives(directory: str, rounds: int, carriers: list[str]) -> None:
    with ExitStack() as roots:
        # A root for each carrier: files that a container writes over 9p would slow down the others.
        tops = {carrier: roots.enter_context(root(directory, carrier, 10 << 20)) for carrier in carriers}
        containers = {carrier: Container(directory, top, "echo here") for carrier, top in tops.items()}
        for number in range(-1, rounds):
            round_ = {carrier: container.run("--root-carrier", carrier)[0] for carrier, container in containers.items()}
            if number >= 0:  # the first round made the image
                print(json.dumps(round_), flush=True)


def files(directory: str, rounds: int, count: int) -> None:
    names = ("list", "make", "read")
    script = FILES.replace("COUNT", str(count))
    with root(directory, "root", 0, count) as top:
        image = f"{directory}/root.img"
        os.mkdir(f"{directory}/empty")
        for _ in range(rounds):
            subprocess.run(["mke2fs", "-q", "-F", "-t", "ext4", "-d", top, image, "256M"], check=True, stdout=subprocess.DEVNULL)
            plain = {"image": {"path": image, "format": "raw"}}
            containers = {
                "disk": Container(directory, top, script),
                "ext4": Container(directory, f"{directory}/empty", script, vm=plain),
            }
            round_ = {}
            for kind, container in containers.items():
                times = [float(line) for line in container.run()[1].split()]
                round_ |= {f"{kind} {name}": after - before for name, (before, after) in zip(names, pairwise(times), strict=True)}
            print(json.dumps(round_), flush=True)


def main(what: str, rounds: int, *words: str) -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # as an exception, to clean up
    # Not in /tmp, which may be in memory: layers of engines are on a disk.
    with tempfile.TemporaryDirectory(prefix="runx-bench-", dir="/var/tmp") as directory:
        if what == "images":
            images(directory, rounds, [int(word) for word in words])
        elif what == "lives":
            lives(directory, rounds, list(words))
        else:
            files(directory, rounds, int(words[0]))


main(sys.argv[1], int(sys.argv[2]), *sys.argv[3:])
