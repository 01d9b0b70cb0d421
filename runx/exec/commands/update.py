"""`runx update`: change the limits of a container, by xl(1)'s mem-set, vcpu-set, vcpu-pin and sched-credit2.

All changes are checked before the first one is made. If xl refuses one, the changes before it are undone.
"""

import contextlib
import json
import os
import re
from collections.abc import Callable
from typing import Any

from runx.compiler.diagnostics import Path, Report, path_text
from runx.compiler.passes.update import change, change_joined
from runx.compiler.source import Source
from runx.errors import RunxError, reason
from runx.exec.commands import guest_limits
from runx.exec.container import record as records
from runx.exec.container.record import LIVE, Record
from runx.exec.xen import xl
from runx.linux.files import standard_input, write_atomically
from runx.log import Log

SETTINGS: dict[str, Path] = {
    "blkio_weight": ("blockIO", "weight"),
    "cpu_period": ("cpu", "period"),
    "cpu_quota": ("cpu", "quota"),
    "cpu_burst": ("cpu", "burst"),
    "cpu_share": ("cpu", "shares"),
    "cpu_rt_period": ("cpu", "realtimePeriod"),
    "cpu_rt_runtime": ("cpu", "realtimeRuntime"),
    "cpu_idle": ("cpu", "idle"),
    "cpuset_cpus": ("cpu", "cpus"),
    "cpuset_mems": ("cpu", "mems"),
    "kernel_memory": ("memory", "kernel"),
    "kernel_memory_tcp": ("memory", "kernelTCP"),
    "memory": ("memory", "limit"),
    "memory_reservation": ("memory", "reservation"),
    "memory_swap": ("memory", "swap"),
    "pids_limit": ("pids", "limit"),
}
"""The options of runc by their key, and the place of their value in linux.resources."""

_SIZE = re.compile(r"([0-9]{1,40})(\.[0-9]{1,40})? ?([kmgtp]?)i?b?", re.IGNORECASE | re.ASCII)
_RESOURCES_LIMIT = 1024 * 1024
_DEFAULT_WEIGHT = 256


def update(root: str, container_id: str, resources: str, settings: dict[str, str], log: Log) -> None:
    """Change the limits of a container that has not ended.

    resources: a file with a JSON object of the form of linux.resources; `-` for standard input; "": settings has the values, as
    text by the keys of SETTINGS. log: for values that are ignored. Raises RunxError (or CompileError); nothing changes then.
    """
    record = records.load(root, container_id)
    _must_live(record)
    source, asked = _asked(resources, settings)
    lock = records.lock(record)
    try:
        record = records.load(root, container_id)
        _must_live(record)
        kept = _kept(record)
        report = Report()
        files: tuple[tuple[str, str], ...] = ()
        if record.joins:
            after, files = change_joined(kept, asked, report)
        else:
            after = change(kept, asked, report)
        if source:
            report.raise_errors(source.locate, source.name, source.text)
        elif report.errors:
            raise RunxError("\n".join(f"{_option(path)}: {fault.message}" for path, fault in report.errors.items()))
        if record.joins:
            guest_limits.write(record, files)
        else:
            _apply(record.domain, kept["size"], after["size"])
        _keep(record, after)
    finally:
        os.close(lock)
    for path, why in report.ignored.items():
        log.warn(f"{path_text(path)}: {why}")


def _must_live(record: Record) -> None:
    if record.is_sandbox:
        raise RunxError(
            "the sandbox of a pod has no virtual machine whose limits could be changed", "update the pod's containers"
        )
    if record.current_status() not in LIVE:
        raise RunxError("container not running", "a container that has ended has no limits")
    if record.has_no_domain_yet:
        raise RunxError(
            "the virtual machine does not exist yet: the image of its root filesystem is being made", "try again when it runs"
        )


# -- the values asked for --------------------------------------------------------------------------------------------------


def _asked(resources: str, settings: dict[str, str]) -> tuple[Source | None, dict[str, Any]]:
    if not resources:
        return None, _from_settings(settings)
    if settings:
        raise RunxError("--resources and single limits exclude one another", "put all of them into the file")
    if resources == "-":
        source = Source(standard_input(_RESOURCES_LIMIT), "standard input")
    else:
        try:
            with open(resources, "rb") as file:
                source = Source(file.read(_RESOURCES_LIMIT), resources)
        except OSError as error:
            raise RunxError(f"--resources {resources}: {reason(error)}") from None
    return source, source.document


def _from_settings(settings: dict[str, str]) -> dict[str, Any]:
    asked: dict[str, Any] = {}
    for key, text in settings.items():
        section, name = SETTINGS[key]
        value: str | int = text
        if section == "memory":
            value = _bytes(key, text)
        elif name not in ("cpus", "mems"):
            if not re.fullmatch("-?[0-9]{1,40}", text, re.ASCII):
                raise RunxError(f"{_option(SETTINGS[key])}: {_shown(text)} is not a whole number")
            value = int(text)
        asked.setdefault(str(section), {})[name] = value
    return asked


def _shown(text: str) -> str:
    """A value of the command line for a message, cut when long."""
    return repr(text if len(text) <= 120 else f"{text[:117]}...")


def _bytes(key: str, text: str) -> int:
    """Bytes of a size in docker's form: `512m`, `1.5g`, `1048576`. -1: no limit."""
    if text == "-1":
        return -1
    match = _SIZE.fullmatch(text)
    if not match:
        hint = "bytes, or a number with k, m or g, such as 512m"
        raise RunxError(f"{_option(SETTINGS[key])}: {_shown(text)} is not a size", hint)
    unit: int = 1024 ** " kmgtp".index(match[3].lower() or " ")
    return int(match[1]) * unit + int(float(match[2] or 0) * unit)  # no float of a whole number, as it may round it


def _option(path: Path) -> str:
    """The option for a place in linux.resources."""
    for key, place in SETTINGS.items():
        if place[: len(path)] == path:
            return "--" + key.replace("_", "-")
    return path_text(path)


# -- the values now ---------------------------------------------------------------------------------------------------------


def _kept(record: Record) -> dict[str, Any]:
    with open(record.directory + "/limits.json", encoding="utf-8") as file:
        kept: dict[str, Any] = json.load(file)
    return kept


def _keep(record: Record, kept: dict[str, Any]) -> None:
    write_atomically(record.directory + "/limits.json", (json.dumps(kept) + "\n").encode())


# -- the change ------------------------------------------------------------------------------------------------------------


def _apply(domain: str, before: dict[str, Any], after: dict[str, Any]) -> None:
    """Change a domain from one size to another, wholly or not at all. Raises RunxError with xl's words."""
    calls: list[tuple[tuple[str, ...], Callable[[dict[str, Any]], None]]] = [
        (("memory_mib",), lambda size: xl.set_memory(domain, size["memory_mib"])),
        (("vcpus",), lambda size: xl.set_vcpus(domain, size["vcpus"])),
        (("cpus",), lambda size: xl.pin(domain, size["cpus"] or "all")),
    ]
    schedule = ("cpu_weight", "cap_percent")
    if any(before[name] != after[name] for name in schedule):
        scheduler = xl.scheduler()
        if scheduler not in ("credit", "credit2"):
            raise RunxError(f"the host's scheduler is {scheduler}, which has no weights and caps", "leave CPU limits out")

        def set_schedule(size: dict[str, Any]) -> None:
            xl.set_schedule(scheduler, domain, size["cpu_weight"] or _DEFAULT_WEIGHT, size["cap_percent"] or 0)

        calls.append((schedule, set_schedule))
    done: list[Callable[[dict[str, Any]], None]] = []
    for names, call in calls:
        if all(before[name] == after[name] for name in names):
            continue
        try:
            call(after)
        except RunxError:
            for undo in reversed(done):
                with contextlib.suppress(RunxError):  # the first error is the one to report
                    undo(before)
            raise
        done.append(call)
