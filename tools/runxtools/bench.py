"""tools/bench: what runx costs, in time and memory, against its limits (docs/benchmarks.md).

Times are shown as multiples of a floor measured in the same run, round by round, so that they mean the same on every machine.
"""

import argparse
import ctypes
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from runxtools import bench_compiler, cache
from runxtools.errors import ToolError
from runxtools.lab import Lab
from runxtools.progress import Progress

CHECKOUT = Path(__file__).resolve().parents[2]
ASSETS = CHECKOUT / "tools" / "bench-assets"
ROUNDS = 31
LAB_ROUNDS = 5
DOUBLE_ROUNDS = 7
DOUBLE_SIZE = 64 * 1024 * 1024
"""Bytes."""
LAB_LIMIT_S = 1800
NETWORK_SIZE = {"lab": 4 << 20, "xl-double": 64 << 20}
"""Bytes; some seconds of a vif in the lab."""
FLOOR = ("/usr/bin/python3", "-I", "-S", "-c", "pass")
"""The least that anything written in Python costs."""


class Figure(NamedTuple):
    """One line of the table: what was measured, against what, and how far it may go."""

    what: str
    unit: str
    samples: Sequence[float]
    floor: Sequence[float] = ()
    """Measured in the same run and unit; the limit is then a multiple of its median."""
    limit: float | None = None
    """None: reported only. With a floor a multiple of it, else in `unit`."""
    at_least: bool = False
    """The limit is what must be reached, not what must not be exceeded."""

    @property
    def value(self) -> float:
        return statistics.median(self.samples)

    @property
    def ratio(self) -> float | None:
        """How many times the floor; None without a floor."""
        return self.value / statistics.median(self.floor) if self.floor else None

    @property
    def kept(self) -> bool | None:
        """Whether the limit is kept; None when there is none."""
        if self.limit is None:
            return None
        judged = self.value if self.ratio is None else self.ratio
        return judged >= self.limit if self.at_least else judged <= self.limit

    def cells(self) -> tuple[str, ...]:
        """The columns of the table; `columns` names them."""
        limit = ""
        if self.limit is not None:
            limit = f"{'>=' if self.at_least else '<='} {self.limit:g} {'x' if self.floor else self.unit}"
        return (
            self.what,
            f"{self.value:.1f} {self.unit}",
            f"{statistics.median(self.floor):.1f} {self.unit}" if self.floor else "",
            f"{self.ratio:.1f} x" if self.ratio is not None else "",
            limit,
            {None: "", True: "ok", False: "OVER"}[self.kept],
        )

    def record(self) -> dict[str, Any]:
        """The same for --json."""
        return {
            "what": self.what,
            "unit": self.unit,
            "median": self.value,
            "rounds": len(self.samples),
            "least": min(self.samples),
            "most": max(self.samples),
            "floor": statistics.median(self.floor) if self.floor else None,
            "ratio": self.ratio,
            "limit": self.limit,
            "limit_is": "at least" if self.at_least else "at most",
            "kept": self.kept,
        }


COLUMNS = ("what", "measured", "floor", "ratio", "limit", "")


def table(figures: Sequence[Figure]) -> str:
    """The figures in columns: words to the left, numbers to the right."""
    rows = [COLUMNS, *(figure.cells() for figure in figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    lines = []
    for row in rows:
        numbers = [cell.rjust(width) for cell, width in zip(row[1:-1], widths[1:-1], strict=True)]
        lines.append("  ".join([row[0].ljust(widths[0]), *numbers, row[-1]]).rstrip())
    return "\n".join(lines) + "\n"


def circumstances() -> str:
    """What a reader has to know of the machine to judge the figures."""
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        models = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    processor = models[0] if models else os.uname().machine
    return f"{os.cpu_count()} x {processor}, Linux {os.uname().release}, Python {platform.python_version()}"


# ---- runx's own work, with an xl that costs nothing


class Host:
    """runx as installed, on a Xen of bookkeeping, with one bundle and one container."""

    def __init__(self, prefix: Path, directory: Path, environment: dict[str, str]) -> None:
        self.runx = f"{prefix}/bin/runx"
        self.root = directory / "state"
        self.bundle = directory / "bundle"
        self._environment = environment
        (self.bundle / "rootfs").mkdir(parents=True)
        # What containerd's ctr makes of an image: seven mounts, capabilities, limits, masked paths.
        shutil.copy(CHECKOUT / "tests/cases/ctr-plain/config.json", self.bundle)
        self._output = os.open(directory / "output", os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        self._null = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)

    def verb_argv(self, *words: str) -> list[str]:
        return [self.runx, "--root", str(self.root), *words]

    def verb(self, *words: str) -> float:
        """Run a verb; milliseconds from its start to its end."""
        return self.program(self.verb_argv(*words))

    def program(self, argv: Sequence[str]) -> float:
        """Run a program; milliseconds from its start to its end. Raises ToolError when it fails."""
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
        return self.verb("create", "--bundle", str(self.bundle), "--pid-file", str(self.bundle / "pid"), "c")


def measure_verbs(host: Host, fake_xl: str, rounds: int) -> list[Figure]:
    """A container's life, `rounds` times over, each verb beside a run of the floor."""
    times: dict[str, list[float]] = {name: [] for name in ("floor", "xl", "create", "state", "start", "kill", "delete")}
    rss: list[float] = []
    pss: list[float] = []

    def beside_floor(name: str, measure: Callable[[], float]) -> None:
        times["floor"].append(host.program(FLOOR))
        times[name].append(measure())

    for number in range(-1, rounds):
        if number == 0:  # the first round warmed the page cache
            for samples in (*times.values(), rss, pss):
                samples.clear()
        beside_floor("create", host.create)
        pid = host.pid()
        rss_kib, pss_kib = memory_kib(pid)
        rss.append(rss_kib / 1024)
        pss.append(pss_kib / 1024)
        beside_floor("state", lambda: host.verb("state", "c"))
        beside_floor("start", lambda: host.verb("start", "c"))
        beside_floor("xl", lambda: host.program([fake_xl, "unpause", "1"]))
        beside_floor("kill", lambda: host.verb("kill", "c", "TERM"))
        host.verb("kill", "c", "KILL")
        os.waitpid(pid, 0)
        beside_floor("delete", lambda: host.verb("delete", "c"))

    floor = times["floor"]
    return [
        Figure("state", "ms", times["state"], floor, 3),
        Figure("start", "ms", times["start"], floor, 3),
        Figure("kill TERM, running", "ms", times["kill"], floor, 3),
        Figure("create", "ms", times["create"], floor, 25),
        Figure("delete, stopped", "ms", times["delete"], floor),
        Figure("the no-cost xl itself", "ms", times["xl"], floor),
        Figure("supervisor, VmRSS", "MiB", rss, limit=14),
        Figure("supervisor, Pss", "MiB", pss),
    ]


def measure_compiler(host: Host, prefix: Path, directory: Path, rounds: int) -> list[Figure]:
    """`runx plan`, the process around it included, and the compiler's part of it."""
    bench_compiler.make_bundle(directory, CHECKOUT / "tests/cases/podman-full/config.json")
    # As on any host that has run such a container: its seccomp filter is in the cache.
    host.verb("create", "--bundle", str(directory), "p")
    host.verb("delete", "--force", "p")
    floor, plan, own = bench_compiler.sample(
        lambda: host.program(FLOOR),
        lambda: host.verb("plan", "--format", "json", str(directory)),
        lambda: bench_compiler.own_work(FLOOR[0], prefix, directory),
        rounds,
    )
    return [
        Figure("plan of podman's 24 KiB", "ms", plan, floor, 22),
        Figure("the compiler in it, without imports", "ms", own, limit=15),
    ]


def memory_kib(pid: int) -> tuple[int, int]:
    """VmRSS (proc(5), status) and Pss (smaps_rollup) of a process, in KiB."""
    return _kib(f"/proc/{pid}/status", "VmRSS"), _kib(f"/proc/{pid}/smaps_rollup", "Pss")


def _kib(path: str, name: str) -> int:
    with open(path, encoding="utf-8") as file:
        return next(int(line.split()[1]) for line in file if line.startswith(f"{name}:"))


def measure_sizes(prefix: Path) -> list[Figure]:
    """What every guest boots, as installed."""
    directory = prefix / "share" / "runx" / os.uname().machine
    kernel, initrd = ((directory / name).stat().st_size for name in ("kernel", "initrd"))
    return [
        Figure("kernel", "MiB", [kernel / 1024**2], limit=3),
        Figure("base initrd", "KiB", [initrd / 1024], limit=400),
    ]


def install() -> Path:
    """The checkout, installed as `./build install` does; the prefix."""
    home = cache.root() / "bench"
    prefix = home / "installed"
    # A cache of its own: libraries are compiled for one prefix, and there is room for one in a cache.
    environment = os.environ | {"RUNX_CACHE": str(home), "PYTHON": FLOOR[0]}
    result = subprocess.run(
        [sys.executable, "./build", "install", "--prefix", prefix], cwd=CHECKOUT, env=environment, capture_output=True, text=True
    )
    if result.returncode:
        raise ToolError(f"./build install failed: {result.stderr.strip()}")
    return prefix


def measure_host(rounds: int) -> list[Figure]:
    """Everything that needs no Xen."""
    sys.path.insert(0, str(CHECKOUT / "tests"))
    from fakexen import FakeXen

    # As an engine: the supervisor becomes our child when `create` has ended (prctl(2), PR_SET_CHILD_SUBREAPER).
    if ctypes.CDLL(None, use_errno=True).prctl(36, 1, 0, 0, 0):
        raise ToolError(f"prctl: {os.strerror(ctypes.get_errno())}")
    prefix = install()
    with tempfile.TemporaryDirectory(prefix="runx-bench-") as name, FakeXen(Path(name) / "xen") as xen:
        host = Host(prefix, Path(name), xen.environment())
        try:
            figures = measure_verbs(host, f"{xen.directory}/bin/xl", rounds)
            figures += measure_compiler(host, prefix, Path(name) / "podman", rounds)
        finally:
            subprocess.run(host.verb_argv("delete", "--force", "c"), env=xen.environment())
        return figures + measure_sizes(prefix)


# ---- the console link and a whole container, on namespaces of this machine (docs/double.md)


def measure_double(rounds: int) -> list[Figure]:
    """A container's output and its life, as quick as this machine can have them: its guest's kernel is this one."""
    sys.path[:0] = [str(CHECKOUT / "tests/integration"), str(CHECKOUT / "tests/shared")]
    from bundles import Bundle
    from runxtools.double.host import Double

    lives: list[float] = []
    rates: list[float] = []
    with tempfile.TemporaryDirectory(prefix="runx-bench-") as name, Double() as double:
        bundle = Bundle(double, Path(name))
        for _ in range(rounds):
            begin = time.perf_counter()
            status = bundle.sh("true").returncode
            lives.append((time.perf_counter() - begin) * 1000)
            bundle.write("/bin/dd", "if=/dev/zero", "bs=64k", f"count={DOUBLE_SIZE // 65536}")
            argv = bundle.argv("run", "c")
            null = subprocess.DEVNULL
            with double.popen(argv, stdin=null, stdout=subprocess.PIPE, stderr=null, bufsize=0) as process:
                assert process.stdout is not None
                first = len(process.stdout.read(65536))
                begin = time.perf_counter()
                rest = 0
                while data := process.stdout.read(65536):
                    rest += len(data)
                seconds = time.perf_counter() - begin
            if status or process.returncode or first + rest != DOUBLE_SIZE:
                raise ToolError("a container on xl-double failed: tools/xl-double runx run ...")
            rates.append(rest / seconds / 1e6)
        network = measure_network(double, "xl-double", str(ASSETS / "network.py"), rounds)
    return [
        *network,
        Figure("xl-double: a container's stdout", "MB/s", rates),
        Figure("xl-double: a whole container, runx run to its end", "ms", lives),
    ]


def measure_network(host: Any, name: str, program: str, rounds: int) -> list[Figure]:
    """Rates over an engine's network, against those of a bridge without runx's forwarding (`bench-assets/network.py`)."""
    argv = ["python3", program, str(rounds), str(NETWORK_SIZE[name])]
    lines = host.run(argv, timeout=LAB_LIMIT_S, check=True).stdout.splitlines()
    return network_figures(name, [json.loads(line) for line in lines])


def network_figures(name: str, rounds: Sequence[dict[str, float]]) -> list[Figure]:
    """The lines of the table for what network.py printed, a dict a round."""
    figures = []
    for key, what in (("to", "host to container"), ("between", "container to container")):
        engine, vif = ([round_[f"{way}_{key}"] / 1e6 for round_ in rounds] for way in ("engine", "vif"))
        figures.append(Figure(f"{name}: {what}, engine's network against a bridge", "MB/s", engine, vif, 0.9, at_least=True))
    return figures


# ---- with Xen, in the lab


def measure_lab(lab: Lab, rounds: int) -> list[Figure]:
    """What needs a hypervisor; `bench-assets/dom0.py` measures it in dom0. The lab is up."""
    program = "/var/lib/runx-lab/bench.py"
    lab.put(ASSETS / "dom0.py", program)
    output = lab.run(["python3", program, str(rounds)], timeout=LAB_LIMIT_S, check=True).stdout
    lab.put(ASSETS / "network.py", program)
    network = measure_network(lab, "lab", program, rounds)
    return [*lab_figures([json.loads(line) for line in output.splitlines()]), *network]


def lab_figures(rounds: Sequence[dict[str, float]]) -> list[Figure]:
    """The lines of the table for what dom0.py printed, a dict a round."""

    def column(name: str, scale: float = 1) -> list[float]:
        return [round_[name] / scale for round_ in rounds]

    return [
        Figure("lab: a container's stdout, against hvc0", "KB/s", column("link", 1000), column("hvc0", 1000), 8, at_least=True),
        Figure("lab: xl create, nothing but kernel and ramdisk", "s", column("xl_create_s")),
        Figure("lab: runx create", "s", column("create_s")),
        Figure("lab: a whole container, create to exit", "s", column("life_s")),
    ]


def main() -> int:
    parser = argparse.ArgumentParser(prog="tools/bench", description=__doc__)
    parser.add_argument("--no-lab", action="store_true", help="leave out what needs the Xen lab")
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the figures to FILE as well")
    options = parser.parse_args()
    loads = [os.getloadavg()[0]]
    progress = Progress(2 if options.no_lab else 3)
    with progress.step(f"verbs, {ROUNDS} rounds", about_s=30):
        figures = measure_host(ROUNDS)
    with progress.step(f"on xl-double, {DOUBLE_ROUNDS} rounds", about_s=20):
        figures += measure_double(DOUBLE_ROUNDS)
    if not options.no_lab:
        lab = Lab()
        lab.up()
        with progress.step(f"in the lab, {LAB_ROUNDS} rounds", about_s=240):
            figures += measure_lab(lab, LAB_ROUNDS)
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
    try:
        sys.exit(main())
    except ToolError as error:
        print(f"bench: {error}", file=sys.stderr)
        sys.exit(1)
    except KeyboardInterrupt:
        sys.exit(130)
