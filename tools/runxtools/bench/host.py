"""tools/bench: runx's own work, with an xl that does next to nothing."""

import ctypes
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from runxtools import cache
from runxtools.bench import compiler
from runxtools.bench.compiler import make_program
from runxtools.bench.figures import ASSETS, Figure
from runxtools.bench.shares import SERVER_LIMIT_MIB
from runxtools.checkout import CHECKOUT
from runxtools.errors import ToolError
from runxtools.testing.bundles import CONFIG

FLOOR = ("/usr/bin/python3", "-I", "-S", "-c", "pass")
"""The command whose time is the floor: the least that a Python program takes."""


class Host:
    """An installed runx on the fake Xen (testing/fakexen.py), with one bundle and one container."""

    def __init__(self, prefix: Path, directory: Path, environment: dict[str, str]) -> None:
        self.runx = f"{prefix}/bin/runx"
        self.root = directory / "state"
        self.bundle = directory / "bundle"
        self._environment = environment
        make_program(self.bundle / "rootfs", json.loads(CONFIG.read_text()))
        shutil.copy(CONFIG, self.bundle / "config.json")
        self._output = os.open(directory / "output", os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        self._null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)

    def command_argv(self, *words: str) -> list[str]:
        return [self.runx, "--root", str(self.root), *words]

    def command(self, *words: str) -> float:
        """Run a command of runx: milliseconds from its start to its end."""
        return self.program(self.command_argv(*words))

    def program(self, argv: Sequence[str]) -> float:
        """Run a program: milliseconds from its start to its end. Raises ToolError when it fails."""
        actions = [(os.POSIX_SPAWN_DUP2, self._null, 0), *((os.POSIX_SPAWN_DUP2, self._output, fd) for fd in (1, 2))]
        begin = time.perf_counter()
        pid = os.posix_spawn(argv[0], list(argv), self._environment, file_actions=actions)
        _, status = os.waitpid(pid, 0)
        end = time.perf_counter()
        if status:
            said = os.pread(self._output, 65536, max(0, os.fstat(self._output).st_size - 2000)).decode(errors="replace")
            raise ToolError(f"{' '.join(argv)} failed: {said}")
        return (end - begin) * 1000

    def pid(self) -> int:
        return int((self.bundle / "pid").read_text())

    def create(self) -> float:
        return self.command("create", "--bundle", str(self.bundle), "--pid-file", str(self.bundle / "pid"), "c")


def measure_commands(host: Host, fake_xl: str, rounds: int) -> list[Figure]:
    """Times of `rounds` lives of a container, each command next to a run of the floor."""
    times: dict[str, list[float]] = {name: [] for name in ("floor", "xl", "create", "state", "start", "kill", "delete")}
    rss: list[float] = []
    pss: list[float] = []
    served: list[float] = []

    def beside_floor(name: str, measure: Callable[[], float]) -> None:
        times["floor"].append(host.program(FLOOR))
        times[name].append(measure())

    for number in range(-1, rounds):
        if number == 0:  # the first round warmed the page cache
            for samples in (*times.values(), rss, pss, served):
                samples.clear()
        beside_floor("create", host.create)
        pid = host.pid()
        rss_kib, pss_kib = memory_kib(pid)
        served.append(memory_kib(server_of(pid))[1] / 1024)
        rss.append(rss_kib / 1024)
        pss.append(pss_kib / 1024)
        beside_floor("state", lambda: host.command("state", "c"))
        beside_floor("start", lambda: host.command("start", "c"))
        beside_floor("xl", lambda: host.program([fake_xl, "unpause", "1"]))
        beside_floor("kill", lambda: host.command("kill", "c", "TERM"))
        host.command("kill", "c", "KILL")
        os.waitpid(pid, 0)
        beside_floor("delete", lambda: host.command("delete", "c"))

    floor = times["floor"]
    return [
        Figure("state", "ms", times["state"], floor, 1.8),
        Figure("start", "ms", times["start"], floor, 1.8),
        Figure("kill TERM, running", "ms", times["kill"], floor, 1.8),
        Figure("create", "ms", times["create"], floor, 20),
        Figure("delete, stopped", "ms", times["delete"], floor, 1.8),
        Figure("the no-cost xl itself", "ms", times["xl"], floor),
        Figure("supervisor, VmRSS", "MiB", rss, limit=13),
        Figure("supervisor, Pss", "MiB", pss),
        Figure("server of its share, Pss", "MiB", served, limit=SERVER_LIMIT_MIB),
    ]


def measure_compiler(host: Host, prefix: Path, directory: Path, rounds: int) -> list[Figure]:
    """Times of `runx plan` as a process, and of the compiler in it."""
    compiler.make_bundle(directory, ASSETS / "podman.json")
    # Fill the cache of seccomp filters, as an earlier container does on a host.
    host.command("create", "--bundle", str(directory), "p")
    host.command("delete", "--force", "p")
    floor, plan, own = compiler.sample(
        lambda: host.program(FLOOR),
        lambda: host.command("plan", "--format", "json", str(directory)),
        lambda: compiler.own_work(FLOOR[0], prefix, directory),
        rounds,
    )
    return [
        Figure("plan of podman's 24 KiB", "ms", plan, floor, 22),
        Figure("the compiler in it, without imports", "ms", own, limit=15),
    ]


def memory_kib(pid: int) -> tuple[int, int]:
    """VmRSS (proc(5), status) and Pss (smaps_rollup) of a process, in KiB."""
    return _kib(f"/proc/{pid}/status", "VmRSS"), _kib(f"/proc/{pid}/smaps_rollup", "Pss")


def server_of(supervisor: int) -> int:
    """Pid of the server of shares, the only child of a supervisor."""
    return int(Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text())


def _kib(path: str, name: str) -> int:
    with open(path, encoding="utf-8") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(f"{name}:"))


def measure_sizes(prefix: Path) -> list[Figure]:
    """Sizes of the guest's files."""
    directory = prefix / "share" / "runx" / os.uname().machine
    kernel, initrd = ((directory / name).stat().st_size for name in ("kernel", "initrd"))
    return [
        Figure("kernel", "MiB", [kernel / 1024**2], limit=3),
        Figure("base initrd", "KiB", [initrd / 1024], limit=400),
    ]


def install() -> Path:
    """Install the checkout with `./build install`: its prefix."""
    home = cache.root() / "bench"
    prefix = home / "installed"
    # A cache of its own: libraries are compiled for one prefix, and a cache keeps those of one.
    environment = os.environ | {"RUNX_CACHE": str(home), "PYTHON": FLOOR[0]}
    result = subprocess.run(
        [sys.executable, "./build", "install", "--prefix", prefix], cwd=CHECKOUT, env=environment, capture_output=True, text=True
    )
    if result.returncode:
        raise ToolError(f"./build install failed: {result.stderr.strip()}")
    return prefix


def measure_host(rounds: int) -> list[Figure]:
    """Every figure that needs neither Xen nor the double."""
    from runxtools.testing.fakexen import FakeXen

    # Like an engine, be the parent of the supervisor after `create` (prctl(2), PR_SET_CHILD_SUBREAPER).
    if ctypes.CDLL(None, use_errno=True).prctl(36, 1, 0, 0, 0):
        raise ToolError(f"prctl: {os.strerror(ctypes.get_errno())}")
    prefix = install()
    with tempfile.TemporaryDirectory(prefix="runx-bench-") as name, FakeXen(Path(name) / "xen") as xen:
        host = Host(prefix, Path(name), xen.environment())
        try:
            figures = measure_commands(host, f"{xen.directory}/bin/xl", rounds)
            figures += measure_compiler(host, prefix, Path(name) / "podman", rounds)
        finally:
            subprocess.run(host.command_argv("delete", "--force", "c"), env=xen.environment())
        return figures + measure_sizes(prefix)
