"""tools/bench: root filesystems by disk, against 9p and against a plain ext4 (docs/roots.md)."""

import statistics
from collections.abc import Sequence

from runxtools.bench.figures import Figure, lines
from runxtools.machine import Machine

ROUNDS = 3
"""Rounds for each size of image; the rate hardly varies."""
RATE_LIMIT = 200
"""Least MB/s of image making, on a machine that is not emulated."""
FILES = 2000


def measure_images(host: Machine, name: str, program: str, sizes: Sequence[int], limit: float | None) -> list[Figure]:
    """Times of `create` with and without the image of the root filesystem. `sizes` of roots are in MiB."""
    return image_figures(name, lines(host, program, "images", ROUNDS, *sizes), limit)


def image_figures(name: str, rounds: Sequence[dict[str, float]], limit: float | None) -> list[Figure]:
    """Figures of the output of `roots.py images`."""
    figures = []
    for mib in dict.fromkeys(round_["mib"] for round_ in rounds):
        of_it = [round_ for round_ in rounds if round_["mib"] == mib]
        warm = statistics.median(round_["warm"] for round_ in of_it)
        rates = [mib * 2**20 / 1e6 / (round_["made"] - warm) for round_ in of_it]
        # A small image takes less time than `create` varies by.
        judged = limit if mib >= 100 else None
        figures += [
            Figure(f"{name}: the image of a root of {mib} MiB", "MB/s", rates, limit=judged, at_least=True),
            Figure(f"{name}: create without it", "s", [round_["cold"] for round_ in of_it]),
            Figure(f"{name}: its domain without it", "s", [round_["made"] for round_ in of_it]),
            Figure(f"{name}: create with it", "s", [round_["warm"] for round_ in of_it]),
        ]
    return figures


def measure_lives(host: Machine, name: str, program: str, rounds: int) -> list[Figure]:
    """Times from `create` to the first output, by disk and in memory, against 9p."""
    found = lines(host, program, "lives", rounds, "disk", "ram", "9p")
    disk, memory, plain = ([round_[carrier] for round_ in found] for carrier in ("disk", "ram", "9p"))
    what = f"{name}: create to first output, root of 10 MiB"
    return [
        Figure(f"{what}, disk against 9p", "s", disk, plain, 1),
        Figure(f"{what}, in memory against 9p", "s", memory, plain),
    ]


def measure_files(host: Machine, name: str, program: str, rounds: int) -> list[Figure]:
    """Times of file operations in a root by disk, against a plain ext4."""
    return file_figures(name, lines(host, program, "files", rounds, FILES))


def file_figures(name: str, rounds: Sequence[dict[str, float]]) -> list[Figure]:
    """Figures of the output of `roots.py files`."""
    figures = []
    for key, what in (("list", "listing"), ("make", "making"), ("read", "reading")):
        disk, ext4 = ([round_[f"{kind} {key}"] for round_ in rounds] for kind in ("disk", "ext4"))
        figures.append(Figure(f"{name}: {what} {FILES} files, disk against ext4", "s", disk, ext4, 1.5))
    return figures
