"""Changes of limits: linux.resources of a container that exists, merged with the argument of `runx update`.

The kept limits of a container are a JSON object. `resources`: as its configuration has them, with later changes. `sizing`: see
sizing.py. `created` and `size`: its size at its creation and now. `most`: the largest size that it can have.
"""

import json
from typing import Any

from runx.compiler.diagnostics import Path, Report
from runx.compiler.frontends.json_shape import checked
from runx.compiler.frontends.oci.linux import read_limits
from runx.compiler.frontends.oci.schema import RESOURCES
from runx.compiler.frontends.oci.unified import with_unified
from runx.compiler.model.plan import Domain
from runx.compiler.model.request import Limits
from runx.compiler.model.settings import CHANGEABLE, NO_SWAP, WHY_UNCHANGEABLE
from runx.compiler.model.xl_keys import number
from runx.compiler.passes.pods import control_group
from runx.compiler.passes.sizing import Size, Sizing, machine_memory_mib, quota_cpus, size_of

_SWAP: Path = ("memory", "swap")


def kept_limits(resources: dict[str, Any], sizing: Sizing, domain: Domain) -> str:
    """The kept limits of a container at its creation, as text. resources: its linux.resources, every value of its type."""
    size = {name: getattr(domain, name) for name in Size._fields}
    settings = {setting.name: setting.value for setting in domain.xl_settings}
    kept = {
        "resources": with_unified(resources, Report()),
        "sizing": sizing._asdict(),
        "created": size,
        "size": size,
        "most": {
            # The compiler has checked that they are numbers.
            "memory_mib": max(domain.memory_mib, number(str(settings.get("maxmem", 0)))),
            "vcpus": max(domain.vcpus, number(str(settings.get("maxvcpus", 0)))),
        },
    }
    return json.dumps(kept) + "\n"


def change(kept: dict[str, Any], asked: dict[str, Any], report: Report) -> dict[str, Any]:
    """The kept limits after an update of `kept` by `asked`, an object of the form of linux.resources.

    As in runc, 0, "", null and absent properties ask for nothing. Negative numbers ask for no limit, which gives the most that
    the machine can have. A setting that a running machine cannot change is an error, unless the container was created with it.
    Faults go to `report`, with paths into `asked`. With a fault, the result has no meaning.
    """
    checked(asked, RESOURCES, (), report)
    report.notices.clear()  # properties that the specification does not have are refused below
    if report.errors:
        return kept
    asked = with_unified(asked, report, origin=())
    resources = {name: dict(value) if isinstance(value, dict) else value for name, value in kept["resources"].items()}
    changed: set[Path] = set()
    for path, value in _settings(asked):
        if not _asks(value) or value == _value(kept["resources"], path):
            continue
        if path in CHANGEABLE:
            changed.add(path)
        elif path == _SWAP and _holds_without_swap(value, asked, kept["resources"]):
            report.ignore("RX910", path, NO_SWAP)
        elif not _says_what_is(path, value, asked, kept["resources"]):
            known = (WHY_UNCHANGEABLE[path[:n]] for n in (2, 1) if path[:n] in WHY_UNCHANGEABLE)
            reason = next(known, "the specification has no such property")
            report.error("RX910", path, f"cannot be changed: {reason}", "leave it out")
            continue
        _put(resources, path, value)
    size = _size(kept, resources, changed, report)
    return {**kept, "resources": resources, "size": size._asdict()}


def kept_of_joined(resources: dict[str, Any]) -> str:
    """As `kept_limits`, of a container that joins its pod's machine: its limits are those of a control group in the guest."""
    return json.dumps({"resources": with_unified(resources, Report())}) + "\n"


_IN_GUEST: dict[Path, str] = {
    ("memory", "limit"): "memory.max",
    ("cpu", "quota"): "cpu.max",
    ("cpu", "period"): "cpu.max",
    ("cpu", "shares"): "cpu.weight",
    ("pids", "limit"): "pids.max",
}
"""Limits of a container in the machine of its pod, and the files of its control group there."""


def change_joined(
    kept: dict[str, Any], asked: dict[str, Any], report: Report
) -> tuple[dict[str, Any], tuple[tuple[str, str], ...]]:
    """As `change`, for a container that joins its pod's machine: what is kept from now on, and files of its control group in the
    guest with their content. Faults and what cannot be changed go to `report`.

    Values that ask for nothing change nothing, as in `change`: engines send zeros for the limits that are to stay.
    """
    checked(asked, RESOURCES, (), report)
    report.notices.clear()  # as above
    if report.errors:
        return kept, ()
    asked = with_unified(asked, report, origin=())
    resources = dict(kept["resources"])
    written: set[str] = set()
    for name, value in asked.items():
        members = value.items() if isinstance(value, dict) else (("", value),)
        for member, one in members:
            path: Path = (name, member) if member else (name,)
            if not _asks(one):
                continue
            if path in _IN_GUEST:
                resources[name] = {**(resources.get(name) or {}), member: one}
                written.add(_IN_GUEST[path])
            elif _value(kept["resources"], path) != one:
                report.ignore("RX910", path, "it is no limit of a control group in the pod's machine that can change")
    limits = read_limits(resources, report, origin=())
    pids = (resources.get("pids") or {}).get("limit", 0)
    files = dict(control_group(limits, pids if pids > 0 else None))
    none = {"memory.max": "max", "cpu.max": f"max {limits.cpu_period_us}", "pids.max": "max"}
    return {"resources": resources}, tuple(
        (file, files.get(file) or none[file])
        for file in dict.fromkeys(_IN_GUEST.values())
        if file in written and (file in files or file in none)
    )


def _settings(asked: dict[str, Any]) -> list[tuple[Path, Any]]:
    """The settings of `asked`: memory, CPU and unified by member, the others as a whole."""
    settings: list[tuple[Path, Any]] = []
    for name, value in asked.items():
        if name in ("memory", "cpu", "unified") and value:
            settings += [((name, member), one) for member, one in value.items()]
        else:
            settings.append(((name,), value))
    return settings


def _asks(value: Any) -> bool:
    return any(map(_asks, value.values())) if isinstance(value, dict) else bool(value)


def _value(resources: dict[str, Any], path: Path) -> Any:
    value: Any = resources
    for part in path:
        value = (value or {}).get(part)
    return value


def _put(resources: dict[str, Any], path: Path, value: Any) -> None:
    if len(path) == 1:
        resources[str(path[0])] = value
    else:
        section = resources[str(path[0])] = resources.get(str(path[0])) or {}
        section[path[1]] = value


def _holds_without_swap(value: int, asked: dict[str, Any], resources: dict[str, Any]) -> bool:
    """Whether a limit of memory and swap together leaves room for swap: without any it is kept, and is ignored as at creation.

    docker and podman ask for twice the limit of memory when they are told that alone.
    """
    limit = _value(asked, ("memory", "limit")) or _value(resources, ("memory", "limit")) or 0
    return value < 0 or 0 < limit < value


def _says_what_is(path: Path, value: Any, asked: dict[str, Any], resources: dict[str, Any]) -> bool:
    """Whether a setting that cannot be changed asks for the present state."""
    if path == _SWAP:  # of memory and swap together: engines write the limit if there is to be no swap
        return bool(value == (_value(asked, ("memory", "limit")) or _value(resources, ("memory", "limit"))))
    if path == ("pids",):
        return bool(value.get("limit", 0) < 0 and (_value(resources, ("pids", "limit")) or -1) < 0)
    return False


def _size(kept: dict[str, Any], resources: dict[str, Any], changed: set[Path], report: Report) -> Size:
    """The new size. The parts decided by settings that changed are as if the container were created with them."""
    limits = read_limits(resources, report, origin=())
    sizing, now, most = Sizing(**kept["sizing"]), Size(**kept["size"]), kept["most"]
    own = Report()
    wanted = size_of(limits, sizing, own)
    told = changed | ({("cpu", "quota")} if ("cpu", "period") in changed else set())
    for place, notice in own.notices.items():
        if place in told:  # what an earlier update was told is not told again
            report.ignore(notice.id, place, notice.message)
    if ("memory", "limit") in changed:
        now = now._replace(memory_mib=_memory_mib(limits, sizing, kept, report))
    if ("cpu", "cpus") in changed:
        now = now._replace(cpus=wanted.cpus)
    if ("cpu", "shares") in changed:
        now = now._replace(cpu_weight=wanted.cpu_weight)
    if changed & {("cpu", "cpus"), ("cpu", "quota"), ("cpu", "period")}:
        cpus = quota_cpus(limits)
        if cpus and cpus > most["vcpus"]:
            message = f"needs {cpus} virtual CPUs; this machine was created with {most['vcpus']} and cannot have more"
            path: Path = ("cpu", "quota") if ("cpu", "quota") in changed else ("cpu", "period")
            report.error("RX911", path, message, "create the container anew with the larger limit")
        # A cpuset says on which CPUs to run, not on how many.
        vcpus = sizing.hardware_vcpus or min(cpus or len(limits.cpus or ()) or most["vcpus"], most["vcpus"])
        now = now._replace(vcpus=vcpus, cap_percent=wanted.cap_percent or _held_percent(limits, most["vcpus"]))
    return now


def _memory_mib(limits: Limits, sizing: Sizing, kept: dict[str, Any], report: Report) -> int:
    path = ("memory", "limit")
    if sizing.hardware_memory_bytes:
        report.error("RX912", path, "the size of this machine is vm.hwConfig.memory", "leave it out")
    most: int = kept["most"]["memory_mib"]
    if limits.memory_bytes is None:
        return most
    wanted = machine_memory_mib(limits, sizing, kept["created"]["vcpus"])
    if wanted > most:
        message = f"{limits.memory_bytes} bytes need a machine of {wanted} MiB; this one was created with {most} and cannot grow"
        report.error("RX911", path, message, "create the container anew with the larger limit")
    return wanted


def _held_percent(limits: Limits, vcpus: int) -> int | None:
    """The cap for fewer virtual CPUs than at the creation. The guest is asked to give them up, and the cap also holds one that
    does not."""
    cpus = quota_cpus(limits)
    return 100 * cpus if cpus and cpus < vcpus else None
