#!/usr/bin/python3
"""Measure in dom0 for tools/bench: the rate of a container's output, and the time of its life.

    dom0.py ROUNDS

Each round measures a container's standard output over the console link, and then the same bytes from the same kernel through
hvc0 and xenconsoled. This program is the reader, without ssh or an engine. It prints one JSON object a round.
"""

import ctypes
import json
import os
import select
import shutil
import subprocess
import sys
import tarfile
import tempfile
import time

from bundle import make_bundle
from consoles import LIMIT_S, open_console

LIBRARY = "/usr/local/lib/runx"
ASSETS = "/usr/local/share/runx/x86_64"
RUNX = "/usr/local/bin/runx"
IMAGE = "/var/lib/runx-lab/test-image.tar"
LINK_SIZE = 4 * 1024 * 1024
HVC0_SIZE = 256 * 1024
"""Bytes through hvc0: they take xenconsoled about as long as the other size takes the link."""
CHUNK = 65536
ZEROS = bytes(CHUNK)

HVC0_INIT = f"""\
#!/bin/sh
mount -t devtmpfs dev /dev
dd if=/dev/zero of=/dev/hvc0 bs=4096 count={HVC0_SIZE // 4096} 2>/dev/null
poweroff -f
"""
HVC0_CONFIG = """\
name = "{name}"
type = "pv"
kernel = "{assets}/kernel"
ramdisk = "{directory}/initrd"
extra = "console=hvc0 quiet loglevel=1 panic=-1 rdinit=/bench"
memory = 256
on_poweroff = "destroy"
on_reboot = "destroy"
on_crash = "destroy"
"""


class Rate:
    """Bytes a second, from the first to the last byte."""

    def __init__(self) -> None:
        self.size = self.first_size = 0
        self.first = self.last = 0.0

    def count(self, size: int) -> None:
        self.last = time.monotonic()
        if not self.size:
            self.first, self.first_size = self.last, size
        self.size += size

    def value(self, expected: int) -> float:
        if self.size != expected:
            raise SystemExit(f"{self.size} bytes arrived of {expected}")
        return (self.size - self.first_size) / (self.last - self.first)


def read_all(fd: int, rate: Rate, wanted: int | None = None) -> None:
    """Count the NUL bytes until the end, or until there are `wanted`: all bytes but those of kernel messages.

    It must be quick: the reader shares a processor of dom0 with what it measures.
    """
    limit = time.monotonic() + LIMIT_S
    while wanted is None or rate.size < wanted:
        if not select.select([fd], [], [], max(0, limit - time.monotonic()))[0]:
            raise SystemExit(f"nothing arrived any more within {LIMIT_S} s, after {rate.size} bytes")
        try:
            data = os.read(fd, CHUNK)
        except OSError:  # EIO: xenconsoled closed its end
            break
        if not data:
            break
        rate.count(len(data) if data == ZEROS[: len(data)] else data.count(0))


def make_root(directory: str) -> None:
    """Unpack the root filesystem of the test image, whose only layer is a plain tar file."""
    os.mkdir(directory)
    with tarfile.open(IMAGE) as image:

        def member(name: str) -> bytes:
            file = image.extractfile(name)
            assert file is not None
            return file.read()

        def blob(digest: str) -> bytes:
            return member("blobs/" + digest.replace(":", "/"))

        index = json.loads(member("index.json"))
        for layer in json.loads(blob(index["manifests"][0]["digest"]))["layers"]:
            subprocess.run(["tar", "-x", "-C", directory], input=blob(layer["digest"]), check=True)


class Container:
    """One container of its own bundle, driven as an engine does: a context that removes all of it."""

    def __init__(self, directory: str, root: str, args: list[str]) -> None:
        self.bundle = make_bundle(directory, root, args)
        self._state = f"{directory}/state"

    def __enter__(self) -> "Container":
        return self

    def __exit__(self, *_: object) -> None:
        self._runx("delete", "--force", "bench")

    def create(self, stdout: int) -> None:
        self._runx("create", "--bundle", self.bundle, "--pid-file", f"{self.bundle}/pid", "bench", stdout=stdout)
        with open(f"{self.bundle}/pid") as file:
            self.pid = int(file.read())

    def start(self) -> None:
        self._runx("start", "bench")

    def wait(self) -> None:
        """Wait until the supervisor has ended: it is our child, since we are its subreaper."""
        status = os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])
        if status:
            with open(f"{self.bundle}/errors") as file:
                raise SystemExit(f"the container ended with status {status}: {file.read()}")

    def _runx(self, *words: str, stdout: int = subprocess.DEVNULL) -> None:
        with open(f"{self.bundle}/errors", "a+") as errors:
            argv = [RUNX, "--root", self._state, *words]
            if subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=stdout, stderr=errors).returncode:
                errors.seek(0)
                raise SystemExit(f"runx {words[0]} failed: {errors.read()}")


def measure_link(directory: str, root: str) -> float:
    """Rate of a container's standard output, in bytes a second."""
    rate = Rate()
    with Container(directory, root, ["/bin/dd", "if=/dev/zero", "bs=64k", f"count={LINK_SIZE // CHUNK}"]) as container:
        read_end, write_end = os.pipe()
        container.create(write_end)
        os.close(write_end)
        container.start()
        read_all(read_end, rate)
        os.close(read_end)
        container.wait()
    return rate.value(LINK_SIZE)


def measure_life(directory: str, root: str) -> tuple[float, float]:
    """Seconds of `runx create`, and seconds from its start to the end of a container that does nothing."""
    with Container(directory, root, ["/bin/true"]) as container:
        begin = time.monotonic()
        container.create(subprocess.DEVNULL)
        created = time.monotonic()
        container.start()
        container.wait()
        return created - begin, time.monotonic() - begin


def measure_hvc0(directory: str) -> tuple[float, float]:
    """Seconds of a bare `xl create`, and bytes a second that its guest writes to hvc0."""
    name = f"runx-bench-{os.getpid()}"
    with open(f"{directory}/hvc0.cfg", "w") as file:
        file.write(HVC0_CONFIG.format(name=name, assets=ASSETS, directory=directory))
    rate = Rate()
    begin = time.monotonic()
    argv = ["xl", "create", "-p", "-e", "-q", f"{directory}/hvc0.cfg"]
    result = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    created = time.monotonic() - begin
    if result.returncode:
        raise SystemExit(f"xl create failed: {result.stderr}")
    try:
        pty = open_console(name)
        subprocess.run(["xl", "unpause", name], check=True)
        read_all(pty, rate, HVC0_SIZE)
        os.close(pty)
    finally:
        subprocess.run(["xl", "destroy", name], stderr=subprocess.DEVNULL)  # the domain may have ended by itself
    return created, rate.value(HVC0_SIZE)


def make_ramdisk(directory: str) -> None:
    """Append another init to runx's initrd: the kernel unpacks both archives, and rdinit= names this one."""
    sys.path.insert(0, LIBRARY)
    from runx.cpio import OverlayFile, archive

    with open(f"{ASSETS}/initrd", "rb") as file:
        base = file.read()
    with open(f"{directory}/initrd", "wb") as file:
        file.write(base + bytes(-len(base) % 4) + archive([OverlayFile("bench", 0o755, HVC0_INIT.encode())]))


def main() -> None:
    # Like an engine, be the parent of the supervisor (prctl(2), PR_SET_CHILD_SUBREAPER).
    ctypes.CDLL(None).prctl(36, 1, 0, 0, 0)
    directory = tempfile.mkdtemp(prefix="runx-bench-")
    try:
        root = f"{directory}/root"
        make_root(root)
        make_ramdisk(directory)
        for _ in range(int(sys.argv[1])):
            create_s, life_s = measure_life(directory, root)
            link = measure_link(directory, root)
            xl_create_s, hvc0 = measure_hvc0(directory)
            round_ = {"create_s": create_s, "life_s": life_s, "link": link, "xl_create_s": xl_create_s, "hvc0": hvc0}
            print(json.dumps(round_), flush=True)
    finally:
        shutil.rmtree(directory)


main()
