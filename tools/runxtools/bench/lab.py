"""tools/bench: figures that need a hypervisor, measured in the lab."""

import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from runxtools.bench.double import measure_network
from runxtools.bench.figures import ASSETS, Figure, lines
from runxtools.bench.roots import measure_files, measure_images, measure_lives
from runxtools.bench.shares import measure_beside_qemu
from runxtools.machine import Machine

IMAGE_SIZES = (10, 100)
"""MiB."""
KEPT_LIMITS_MIB = {"disk": 16, "9p": 16}
"""For each carrier of the root, how much memory of a machine of 64 MiB may be kept from the container."""
BOOT_LIMITS = {"ram": 1.25, "disk": 1.3, "9p": None}
"""For each carrier of the root, how long the guest's kernel may have been running when the container's process begins, as a
multiple of the floor."""


def measure_lab(lab: Machine, rounds: int) -> list[Figure]:
    """Every figure of the lab, which must be up; programs of bench-assets measure in dom0."""
    program = "/var/lib/runx-lab/bench.py"
    lab.put(ASSETS / "bundle.py", "/var/lib/runx-lab/bundle.py")
    lab.put(ASSETS / "consoles.py", "/var/lib/runx-lab/consoles.py")
    lab.put(ASSETS / "dom0.py", program)
    links = lines(lab, program, rounds)
    lab.put(ASSETS / "network.py", program)
    boots = [*measure_boots(lab, rounds), *measure_memory(lab, rounds)]
    network = measure_network(lab, "lab", program, 3 * rounds)  # more rounds, as they vary widely
    lab.put(ASSETS / "roots.py", program)
    roots = [
        *measure_lives(lab, "lab", program, rounds),
        *measure_files(lab, "lab", program, rounds),
        *measure_images(lab, "lab", program, IMAGE_SIZES, None),
    ]
    return [*lab_figures(links), *boots, *measure_beside_qemu(lab, rounds), *network, *roots]


def measure_boots(lab: Machine, rounds: int) -> list[Figure]:
    """Uptime of the guest when its process begins, against the same kernel with an init that it executes at once."""
    return boot_figures(_with_program(lab, rounds, "boot.py", "uptime", list(BOOT_LIMITS)))


def measure_memory(lab: Machine, rounds: int) -> list[Figure]:
    """Memory of the smallest machine that its container does not get."""
    return memory_figures(_with_program(lab, rounds, "memory.py", "touch", list(KEPT_LIMITS_MIB)))


def _with_program(lab: Machine, rounds: int, script: str, name: str, carriers: Sequence[str]) -> list[dict[str, float]]:
    """The output of a script of bench-assets for these carriers. It runs NAME.c in guests."""
    program, compiled_there = f"/var/lib/runx-lab/{script}", f"/var/lib/runx-lab/{name}"
    lab.put(ASSETS / script, program)
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
