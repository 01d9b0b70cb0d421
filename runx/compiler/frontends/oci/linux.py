"""The parts of the `linux` object (OCI config-linux.md) that a virtual machine has: devices, sysctls, paths, limits."""

import re
from typing import Any

from runx.compiler.diagnostics import Path, Report, path_text, quote
from runx.compiler.frontends.oci import paths
from runx.compiler.frontends.oci.mount_flags import PROPAGATION
from runx.compiler.frontends.oci.unified import pids_max, task_limit
from runx.compiler.model.plan import Device, NetworkDevice
from runx.compiler.model.request import Limits

# config-linux.md, "Default Devices". /dev/console, /dev/ptmx and the links are not nodes; setup_record.py makes them.
DEFAULT_DEVICES = tuple(
    Device(path=f"/dev/{name}", type="c", major=major, minor=minor, mode=0o666, uid=0, gid=0)
    for name, major, minor in (
        ("null", 1, 3), ("zero", 1, 5), ("full", 1, 7), ("random", 1, 8), ("urandom", 1, 9), ("tty", 5, 0),
    )
)  # fmt: skip

DEFAULT_CPU_PERIOD_US = 100_000
NO_MEMORY_LIMIT = 0x7FFFFFFFFFFFF000
"""No limit, as version 1 of cgroups writes it: the largest multiple of a page."""


def read_devices(devices: list[dict[str, Any]], report: Report) -> tuple[Device, ...]:
    """The devices of the configuration. Faults of paths and numbers go to `report`."""
    return tuple(_device(entry, ("linux", "devices", index), report) for index, entry in enumerate(devices))


def _device(entry: dict[str, Any], path: Path, report: Report) -> Device:
    kind = {"c": "c", "u": "c", "b": "b", "p": "p"}.get(entry.get("type", ""), "p")
    if not entry.get("path", "/").startswith("/"):
        report.error("RX410", (*path, "path"), f"must be an absolute path, not {quote(entry['path'])}")
    numbers = {}
    for name, limit in (("major", 2**12), ("minor", 2**20)):
        if name not in entry and kind != "p":
            report.error("RX411", (*path, name), f"missing: a device of type {kind} needs it")
        numbers[name] = 0 if kind == "p" else entry.get(name, 0)
        if not 0 <= numbers[name] < limit:
            report.error("RX411", (*path, name), f"must be a number from 0 to {limit - 1}, not {numbers[name]}")
    return Device.model_validate(
        {
            # As in runc, whatever the path goes through.
            "path": paths.absolute(entry.get("path", "")),
            "type": kind,
            **numbers,
            # Docker passes st_mode, which includes the type of file.
            "mode": entry.get("fileMode", 0o666) & 0o7777,
            "uid": entry.get("uid", 0),
            "gid": entry.get("gid", 0),
        }
    )


def read_network_devices(devices: dict[str, dict[str, str]], report: Report) -> tuple[NetworkDevice, ...]:
    """linux.netDevices. Names that no device can have, or that two would have, go to `report`."""
    found: list[NetworkDevice] = []
    taken: set[str] = set()
    for name, entry in devices.items():
        path: Path = ("linux", "netDevices", name)
        new = entry.get("name") or name
        for place, word in ((path, name), ((*path, "name"), new)):
            if not _is_device_name(word):
                report.error("RX409", place, f"{quote(word)} is not the name of a network device", _DEVICE_NAME)
            elif word == "lo":
                message = "every network namespace has a loopback interface of its own, which cannot be moved"
                report.error("RX409", place, message, "name another device, and another name for it")
        if "%d" not in new and new in taken:
            report.error("RX409", (*path, "name"), f"two devices would be called {quote(new)}", "give one another name")
        taken.add(new)
        found.append(NetworkDevice(name=name, new_name=new, origin=path_text(path)))
    return tuple(found)


_DEVICE_NAME = "a name has 1 to 15 characters of A-Z a-z 0-9 _ . @ -; %d in it becomes a number"


def _is_device_name(name: str) -> bool:
    """Linux, net/core/dev.c, dev_valid_name; fewer characters, as files of a network script have the name, too."""
    return bool(re.fullmatch(r"(?!\.{1,2}$)[A-Za-z0-9_.@-]*(%d)?[A-Za-z0-9_.@-]*", name, re.ASCII)) and 0 < len(name) <= 15


def read_sysctl(sysctl: dict[str, str], report: Report) -> dict[str, str]:
    """The settings, by names with slashes (`net/ipv4/ip_forward`), in an order in which the kernel takes them."""
    settings: dict[str, str] = {}
    for name, value in sysctl.items():
        path = sysctl_name(name)
        if any(part in ("", ".", "..") for part in path.split("/")):
            report.error(
                "RX420", ("linux", "sysctl", name), "not the name of a kernel parameter", "write it like net.ipv4.ip_forward"
            )
        elif path in settings:
            report.error("RX428", ("linux", "sysctl", name), "is given twice, with dots and with slashes", "keep one of them")
        settings[path] = value
    if _PORT_RANGE in settings and _PORT_START in settings:
        # At every time the range begins at the start or above, and the kernel begins with a range that does so at 32768.
        start = settings.pop(_PORT_START)
        is_low = bool(re.fullmatch(r"\s*[0-9]{1,9}\s*", start, re.ASCII)) and int(start) <= _FIRST_OF_RANGE
        settings = {_PORT_START: start, **settings} if is_low else {**settings, _PORT_START: start}
    period, runtime = REAL_TIME_US
    if period in settings and runtime in settings:
        # At every time the runtime is within the period.
        known = re.fullmatch(r"\s*[0-9]{1,10}\s*", settings[period], re.ASCII)
        is_long = known is not None and int(settings[period]) >= REAL_TIME_US[runtime]
        order = (period, runtime) if is_long else (runtime, period)
        settings = {**{name: settings[name] for name in order}, **settings}
    return settings


REAL_TIME_US = {"kernel/sched_rt_period_us": 1_000_000, "kernel/sched_rt_runtime_us": 950_000}
"""What the kernel begins with (Linux, kernel/sched/rt.c)."""
_PORT_START = "net/ipv4/ip_unprivileged_port_start"
_PORT_RANGE = "net/ipv4/ip_local_port_range"
_FIRST_OF_RANGE = 32768
"""Of the kernel's own range (Linux, net/ipv4/af_inet.c, inet_init_net)."""


def sysctl_name(name: str) -> str:
    """The name of a kernel parameter with slashes.

    As in sysctl(8), its first separator decides whether dots or slashes separate its parts.
    """
    slash, dot = name.find("/"), name.find(".")
    if dot >= 0 and (slash < 0 or dot < slash):
        return "/".join(part.replace("/", ".") for part in name.split("."))
    return name


def read_paths(linux: dict[str, Any], name: str, report: Report) -> tuple[str, ...]:
    """maskedPaths or readonlyPaths."""
    paths = tuple(linux.get(name, ()))
    for index, path in enumerate(paths):
        if not path.startswith("/"):
            report.error("RX422", ("linux", name, index), f"must be an absolute path, not {quote(path)}")
    return paths


def read_root_propagation(word: str, report: Report) -> str | None:
    """linux.rootfsPropagation: a word of mount(8). As in runc, it may be a recursive one (`rshared`)."""
    if word and word not in PROPAGATION:
        report.error("RX423", ("linux", "rootfsPropagation"), f"must be one of {', '.join(PROPAGATION)}, not {quote(word)}")
    return word or None


TASKS_MAX = 4 << 20
"""The most tasks of a 64-bit kernel, which takes no higher limit (Linux, PID_MAX_LIMIT)."""


def read_pids_limit(resources: dict[str, Any], oci_version: str) -> int | None:
    """The most tasks. None means no limit: the number is absent, negative, 0 before version 1.3, or more than Linux can have.

    Since version 1.3, 0 is a limit, too (config-linux.md, "PIDs"): the process cannot start another task. In pids.max of
    `unified`, which goes before it, 0 always is.
    """
    text = pids_max(resources)
    if text is not None:
        try:
            most = task_limit(text)
        except ValueError:
            return None  # check_names reports it
        return most if most is None or most <= TASKS_MAX else None
    limit = resources.get("pids", {}).get("limit", -1)
    minor = oci_version.split(".")[1:2]
    zero_counts = minor and minor[0].isdigit() and int(minor[0]) >= 3
    return int(limit) if 0 < limit <= TASKS_MAX or (limit == 0 and zero_counts) else None


def read_limits(resources: dict[str, Any], report: Report, origin: Path = ("linux", "resources")) -> Limits:
    """The memory and CPU limits of the object at `origin`. Zero and negative numbers mean no limit (config-linux.md, "Memory" and
    "CPU"). Faults go to `report`."""
    memory = resources.get("memory", {}).get("limit", 0)
    cpu = resources.get("cpu", {})
    cpus = None
    if cpu.get("cpus", "").strip():
        # Few containers have one.
        from runx.compiler.frontends.oci.cpuset import parse_cpuset

        try:
            cpus = parse_cpuset(cpu["cpus"])
        except ValueError as error:
            report.error("RX430", (*origin, "cpu", "cpus"), f"{quote(cpu['cpus'])}: {error}", "leave it out for any CPU")
    return Limits(
        memory_bytes=memory if 0 < memory < NO_MEMORY_LIMIT else None,
        cpu_quota_us=cpu["quota"] if cpu.get("quota", 0) > 0 else None,
        cpu_period_us=cpu.get("period", 0) or DEFAULT_CPU_PERIOD_US,
        cpu_shares=cpu.get("shares", 0) or None,
        cpus=cpus,
        origin=origin,
    )
