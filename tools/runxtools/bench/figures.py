"""tools/bench: figures with their floors and limits, and the table that shows them."""

import json
import os
import platform
import statistics
from collections.abc import Sequence
from typing import Any, NamedTuple

from runxtools.checkout import CHECKOUT
from runxtools.machine import Machine

ASSETS = CHECKOUT / "tools" / "bench-assets"
"""Directory of the programs that measure in dom0 of the lab, or on the double."""
LIMIT_S = 1800
"""Time limit of one such program, in seconds."""


class Figure(NamedTuple):
    """One line of the table: what was measured, its floor, and its limit."""

    what: str
    unit: str
    samples: Sequence[float]
    floor: Sequence[float] = ()
    """Measured in the same run and unit; the limit is then a multiple of its median."""
    limit: float | None = None
    """A multiple of the floor, or in `unit` without a floor. None: the figure is only reported."""
    at_least: bool = False
    """Whether the limit is the least value, not the greatest."""

    @property
    def value(self) -> float:
        return statistics.median(self.samples)

    @property
    def ratio(self) -> float | None:
        """Multiple of the floor; None without a floor."""
        return self.value / statistics.median(self.floor) if self.floor else None

    @property
    def kept(self) -> bool | None:
        """Whether the limit is kept; None when there is none."""
        if self.limit is None:
            return None
        judged = self.value if self.ratio is None else self.ratio
        return judged >= self.limit if self.at_least else judged <= self.limit

    def cells(self) -> tuple[str, ...]:
        """Cells of the table, one for each of COLUMNS."""
        limit = ""
        if self.limit is not None:
            limit = f"{'>=' if self.at_least else '<='} {self.limit:g} {'x' if self.floor else self.unit}"
        return (
            self.what,
            f"{self.value:.1f} {self.unit}",
            f"{statistics.median(self.floor):.1f} {self.unit}" if self.floor else "",
            f"{self.ratio:.2f} x" if self.ratio is not None else "",
            limit,
            {None: "", True: "ok", False: "OVER"}[self.kept],
        )

    def record(self) -> dict[str, Any]:
        """The figure for --json."""
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
    """The figures in columns; words are aligned left, numbers right."""
    rows = [COLUMNS, *(figure.cells() for figure in figures)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(COLUMNS))]
    lines = []
    for row in rows:
        numbers = [cell.rjust(width) for cell, width in zip(row[1:-1], widths[1:-1], strict=True)]
        lines.append("  ".join([row[0].ljust(widths[0]), *numbers, row[-1]]).rstrip())
    return "\n".join(lines) + "\n"


def circumstances() -> str:
    """Processor, kernel and Python, with which a reader can judge the figures."""
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        models = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    processor = models[0] if models else os.uname().machine
    return f"{os.cpu_count()} x {processor}, Linux {os.uname().release}, Python {platform.python_version()}"


def lines(host: Machine, program: str, *words: object) -> list[dict[str, Any]]:
    """Run a program of bench-assets on a machine: what it printed, a dict a round."""
    argv = ["python3", program, *map(str, words)]
    return [json.loads(line) for line in host.run(argv, timeout=LIMIT_S, check=True).stdout.splitlines()]
