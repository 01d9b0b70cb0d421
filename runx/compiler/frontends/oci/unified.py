"""`linux.resources.unified` (OCI config-linux.md, "Unified"): files of version 2 of cgroups, and the text for each.

A file that means the same as another property of linux.resources is read as that property. It goes before the property, as runc
writes these files last.
"""

import re
from collections.abc import Callable
from typing import Any

from runx.compiler.diagnostics import Path, Report, path_text, quote

_SUFFIXES = {"": 0, "k": 10, "m": 20, "g": 30, "t": 40}
_DEFAULT_WEIGHT = 100
_DEFAULT_SHARES = 1024
_MOST = 2**63 - 1

Settings = dict[tuple[str, str], int | str]
"""Values by their paths in linux.resources."""


def with_unified(resources: dict[str, Any], report: Report, origin: Path = ("linux", "resources")) -> dict[str, Any]:
    """linux.resources, with the files that have another property moved to that property. Faults and notices go to `report`.

    A number of tasks stays: 0 means another thing there. resources: may have null for absent objects.
    """
    unified = resources.get("unified") or {}
    result = dict(resources)
    kept: dict[str, str] = {}
    for name, text in unified.items():
        place: Path = (*origin, "unified", name)
        if name not in TWINS:
            kept[name] = text
            continue
        try:
            settings = TWINS[name](text or "")
        except ValueError as error:
            report.error("RX433", place, f"{quote(text or '')}: {error}")
            continue
        for (section, member), value in settings.items():
            given = (result.get(section) or {}).get(member)
            if given and given != value:
                report.ignore("RX434", (*origin, section, member), f"{path_text(place)} goes before it")
            result[section] = {**(result.get(section) or {}), member: value}
            report.given_at(place, (*origin, section, member))
    if "unified" in result:
        result["unified"] = kept
    return result


def pids_max(resources: dict[str, Any]) -> str | None:
    """The text of pids.max; None without one."""
    text: str | None = (resources.get("unified") or {}).get("pids.max")
    return text


def task_limit(text: str) -> int | None:
    """A number of tasks as in pids.max; None for no limit. Raises ValueError."""
    number = _number(text, "")
    return None if number < 0 else number


def check_names(unified: dict[str, str], report: Report) -> None:
    """Report names that are no files of a group, a number of tasks that is none, and files that the virtual machine does not
    have."""
    for name, text in unified.items():
        place: Path = ("linux", "resources", "unified", name)
        if not name or "/" in name:
            report.error("RX433", place, "not the name of a file of a control group", "write it like memory.max")
        elif name == "pids.max":
            try:
                task_limit(text)
            except ValueError as error:
                report.error("RX433", place, f"{quote(text)}: {error}")
        elif name not in TWINS:
            report.ignore("RX435", place, "control groups of the host do not reach into the virtual machine")


def _memory(text: str) -> Settings:
    limit = _number(text, "".join(_SUFFIXES))
    if limit == 0:
        raise ValueError("0 is no memory")
    return {("memory", "limit"): limit}


def _cpu_max(text: str) -> Settings:
    quota, _, period = text.strip().partition(" ")
    settings: Settings = {("cpu", "quota"): _number(quota, "")}
    if period:
        settings["cpu", "period"] = _number(period, "")
    if any(isinstance(value, int) and value == 0 for value in settings.values()):
        raise ValueError("0 is no time")
    return settings


def _cpu_weight(text: str) -> Settings:
    weight = _number(text, "")
    if not 1 <= weight <= 10000:
        raise ValueError("not a weight from 1 to 10000")
    # Both are proportions, of which most groups have the default.
    return {("cpu", "shares"): max(2, round(weight * _DEFAULT_SHARES / _DEFAULT_WEIGHT))}


def _cpuset(text: str) -> Settings:
    return {("cpu", "cpus"): text.strip()} if text.strip() else {}


def _number(text: str, suffixes: str) -> int:
    """A number as the kernel reads it; -1 for `max`. Raises ValueError."""
    text = text.strip()
    if text == "max":
        return -1
    match = re.fullmatch(rf"([0-9]{{1,19}})([{suffixes}]?)" if suffixes else r"([0-9]{1,19})()", text, re.ASCII | re.IGNORECASE)
    if not match or (number := int(match[1]) << _SUFFIXES[match[2].lower()]) > _MOST:
        raise ValueError("neither a number nor max")
    return number


TWINS: dict[str, Callable[[str], Settings]] = {
    "memory.max": _memory,
    "cpu.max": _cpu_max,
    "cpu.weight": _cpu_weight,
    "cpuset.cpus": _cpuset,
}
"""The files that mean the same as another property (Linux, admin-guide/cgroup-v2.rst), and how to read each."""
