"""tools/bench: figures that need a hypervisor, measured in the lab."""

import subprocess
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from runxtools.bench.double import measure_network
from runxtools.bench.figures import ASSETS, Figure, lines
from runxtools.bench.roots import measure_files, measure_images, measure_lives
from runxtools.bench.shares import measure_beside_qemu
from runxtools.machine import Machine

THERE = "/var/lib/runx-lab"
"""Directory of the programs in dom0."""
IMAGE_SIZES = (10, 100)
"""MiB."""
KEPT_LIMITS_MIB = {"ram": 16, "disk": 16, "9p": 16}
"""For each carrier of the root, how much memory of a machine of 64 MiB may be kept from the container. By ram, the machine is
larger by the memory of its images."""
DISK_RATES = (
    ("reading 64 MiB", "MB/s", 1e6),
    ("writing 64 MiB", "MB/s", 1e6),
    ("reading 4 KiB at random", "/s", 1),
    ("writing 4 KiB at random", "/s", 1),
)
"""What disks.py measures, in its order, with the unit and its size."""
BOOT_LIMITS = {"ram": 1.25, "disk": 1.3, "9p": None}
"""For each carrier of the root, how long the guest's kernel may have been running when the container's process begins, as a
multiple of the floor."""


def measure_lab(lab: Machine, rounds: int, parts: Sequence[str]) -> list[Figure]:
    """The figures of these PARTS. The lab must be up; programs of bench-assets measure in dom0."""
    for module in ("bundle.py", "consoles.py"):
        lab.put(ASSETS / module, f"{THERE}/{module}")
    return [figure for part in parts for figure in PARTS[part](lab, rounds)]


def _output(lab: Machine, rounds: int) -> list[Figure]:
    return lab_figures(lines(lab, _put(lab, "dom0.py"), rounds))


def _boots(lab: Machine, rounds: int) -> list[Figure]:
    """Uptime of the guest when its process begins, against the same kernel with an init that it executes at once."""
    return boot_figures(_with_program(lab, rounds, "boot.py", "uptime", list(BOOT_LIMITS)))


def _memory(lab: Machine, rounds: int) -> list[Figure]:
    """Memory of the smallest machine that its container does not get."""
    return memory_figures(_with_program(lab, rounds, "memory.py", "touch", list(KEPT_LIMITS_MIB)))


def _network(lab: Machine, rounds: int) -> list[Figure]:
    return measure_network(lab, "lab", _put(lab, "network.py"), 3 * rounds)  # more rounds, as they vary widely


def _lives(lab: Machine, rounds: int) -> list[Figure]:
    return measure_lives(lab, "lab", _put(lab, "roots.py"), rounds)


def _files(lab: Machine, rounds: int) -> list[Figure]:
    return measure_files(lab, "lab", _put(lab, "roots.py"), rounds)


def _disks(lab: Machine, rounds: int) -> list[Figure]:
    """Rates of disks, against disks with pages that blkfront keeps ready for dom0 (compiler/passes/resolve.py, DISKS_CMDLINE)."""
    return disk_figures(_with_program(lab, rounds, "disks.py", "disks", ()))


def _images(lab: Machine, _: int) -> list[Figure]:
    return measure_images(lab, "lab", _put(lab, "roots.py"), IMAGE_SIZES, None)


PARTS: dict[str, Callable[[Machine, int], list[Figure]]] = {
    "output": _output,
    "boot": _boots,
    "memory": _memory,
    "beside-qemu": measure_beside_qemu,
    "network": _network,
    "lives": _lives,
    "files": _files,
    "disks": _disks,
    "images": _images,
}
"""Names of parts and what measures each, in the order of the table."""


def _put(lab: Machine, script: str) -> str:
    """Copy a script of bench-assets into dom0: its path there."""
    lab.put(ASSETS / script, f"{THERE}/{script}")
    return f"{THERE}/{script}"


def _with_program(lab: Machine, rounds: int, script: str, name: str, carriers: Sequence[str]) -> list[dict[str, Any]]:
    """The output of a script of bench-assets for these carriers. It runs NAME.c in guests."""
    program, compiled_there = _put(lab, script), f"{THERE}/{name}"
    with tempfile.TemporaryDirectory() as directory:
        compiled = Path(directory, name)
        subprocess.run(["musl-gcc", "-static", "-Os", "-s", "-o", str(compiled), str(ASSETS / f"{name}.c")], check=True)
        lab.put(compiled, compiled_there)
    return lines(lab, program, rounds, compiled_there, *carriers)


def boot_figures(rounds: Sequence[dict[str, float]]) -> list[Figure]:
    """Figures of the output of boot.py."""
    floor = [round_["floor"] for round_ in rounds]
    what = "lab: kernel to the process, root by"
    return [
        Figure(f"{what} {carrier}, against an init at once", "ms", [round_[carrier] for round_ in rounds], floor, limit)
        for carrier, limit in BOOT_LIMITS.items()
    ]


def memory_figures(rounds: Sequence[dict[str, float]]) -> list[Figure]:
    """Figures of the output of memory.py."""

    def column(name: str) -> list[float]:
        return [round_[name] / 1024 for round_ in rounds]

    what = "lab: memory of 64 MiB that the container does not get, root by"
    return [
        *(Figure(f"{what} {carrier}", "MiB", column(carrier), limit=limit) for carrier, limit in KEPT_LIMITS_MIB.items()),
        Figure("lab: of that, not in MemTotal", "MiB", column("kernel")),
    ]


def disk_figures(rounds: Sequence[dict[str, Sequence[float]]]) -> list[Figure]:
    """Figures of the output of disks.py."""
    figures = []
    for column, (what, unit, scale) in enumerate(DISK_RATES):
        own, ready = ([round_[kind][column] / scale for round_ in rounds] for kind in ("own", "ready"))
        figures.append(Figure(f"lab: {what} by disk, against pages kept ready", unit, own, ready, 0.8, at_least=True))
    return figures


def lab_figures(rounds: Sequence[dict[str, float]]) -> list[Figure]:
    """Figures of the output of dom0.py."""

    def column(name: str, scale: float = 1) -> list[float]:
        return [round_[name] / scale for round_ in rounds]

    return [
        Figure("lab: a container's stdout, against hvc0", "KB/s", column("link", 1000), column("hvc0", 1000), 8, at_least=True),
        Figure("lab: xl create, nothing but kernel and ramdisk", "s", column("xl_create_s")),
        Figure("lab: runx create", "s", column("create_s")),
        Figure("lab: a whole container, create to exit", "s", column("life_s")),
    ]
