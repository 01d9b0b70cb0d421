"""tools/bench: figures that need a hypervisor, measured in the lab."""

from collections.abc import Sequence

from runxtools.bench.double import measure_network
from runxtools.bench.figures import ASSETS, Figure, lines
from runxtools.bench.roots import measure_files, measure_images, measure_lives
from runxtools.machine import Machine

IMAGE_SIZES = (10, 100)
"""MiB."""
KEPT_LIMIT_MIB = 16


def measure_lab(lab: Machine, rounds: int) -> list[Figure]:
    """Every figure of the lab, which must be up; programs of bench-assets measure in dom0."""
    program = "/var/lib/runx-lab/bench.py"
    lab.put(ASSETS / "bundle.py", "/var/lib/runx-lab/bundle.py")
    lab.put(ASSETS / "dom0.py", program)
    links = lines(lab, program, rounds)
    lab.put(ASSETS / "network.py", program)
    network = measure_network(lab, "lab", program, 3 * rounds)  # more rounds, as they vary widely
    lab.put(ASSETS / "roots.py", program)
    roots = [
        *measure_lives(lab, "lab", program, rounds),
        *measure_files(lab, "lab", program, rounds),
        *measure_images(lab, "lab", program, IMAGE_SIZES, None),
    ]
    return [*lab_figures(links), *network, *roots]


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
