"""tools/bench: figures that need a hypervisor, measured in the lab."""

import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from runxtools.bench.double import measure_network
from runxtools.bench.figures import ASSETS, Figure, lines
from runxtools.bench.roots import measure_files, measure_images, measure_lives
from runxtools.machine import Machine

IMAGE_SIZES = (10, 100)
"""MiB."""
KEPT_LIMIT_MIB = 16
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
    boots = measure_boots(lab, rounds)
    network = measure_network(lab, "lab", program, 3 * rounds)  # more rounds, as they vary widely
    lab.put(ASSETS / "roots.py", program)
    roots = [
        *measure_lives(lab, "lab", program, rounds),
        *measure_files(lab, "lab", program, rounds),
        *measure_images(lab, "lab", program, IMAGE_SIZES, None),
    ]
    return [*lab_figures(links), *boots, *network, *roots]


def measure_boots(lab: Machine, rounds: int) -> list[Figure]:
    """Uptime of the guest when its process begins, against the same kernel with an init that it executes at once."""
    program, uptime = "/var/lib/runx-lab/boot.py", "/var/lib/runx-lab/uptime"
    lab.put(ASSETS / "boot.py", program)
    with tempfile.TemporaryDirectory() as directory:
        compiled = Path(directory, "uptime")
        subprocess.run(["musl-gcc", "-static", "-Os", "-s", "-o", str(compiled), str(ASSETS / "uptime.c")], check=True)
        lab.put(compiled, uptime)
    return boot_figures(lines(lab, program, rounds, uptime, *BOOT_LIMITS))


def boot_figures(rounds: Sequence[dict[str, float]]) -> list[Figure]:
    """Figures of the output of boot.py."""
    floor = [round_["floor"] for round_ in rounds]
    what = "lab: kernel to the process, root by"
    return [
        Figure(f"{what} {carrier}, against an init at once", "ms", [round_[carrier] for round_ in rounds], floor, limit)
        for carrier, limit in BOOT_LIMITS.items()
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
        Figure("lab: memory of 64 MiB that a container does not get", "MiB", column("kept_kib", 1024), limit=KEPT_LIMIT_MIB),
        Figure("lab: of that, before the first program (MemTotal)", "MiB", column("kernel_kib", 1024)),
    ]
