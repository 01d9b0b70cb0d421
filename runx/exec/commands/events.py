"""`runx events`: processor time and memory of a container, in the form of `runc events`.

xl knows these two of its domain. Numbers that only the guest's kernel knows (processes, caches, block I/O) are absent, as are
events of the guest's memory running out. Of a container in its pod's machine, the guest tells what its control group counts.
"""

import json
import os
import re
import select
import sys
from typing import Any

from runx.errors import RunxError
from runx.exec.container import record as records
from runx.exec.container.record import LIVE, Record
from runx.exec.xen import xl
from runx.linux import proc

_UNITS_S = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "ns": 1e-9}
_DURATION = re.compile(r"([0-9]+\.?[0-9]*|\.[0-9]+)(h|ms|m|s|us|µs|ns)")
_LONGEST_S = (2**31 - 1) / 1000
"""The longest time that poll(2) takes, 24 days."""


def interval(text: str) -> float:
    """Seconds of a duration in Go's form: `5s`, `1m30s`, `500ms`. Raises RunxError for another text, and for zero."""
    seconds, rest = 0.0, text
    while match := _DURATION.match(rest):
        seconds += float(match[1]) * _UNITS_S[match[2]]
        rest = rest[match.end() :]
    if rest or not text:
        raise RunxError(f"--interval: {text!r} is not a duration", "numbers with units, such as 5s, 500ms or 1m30s")
    if not seconds:
        raise RunxError("--interval: must be greater than 0")
    return min(seconds, _LONGEST_S)


def events(root: str, container_id: str, *, stats: bool, interval_s: float) -> None:
    """Write a line of JSON after each interval until the container ends; with stats, one line at once.

    Raises RunxError when the container has ended, there is none, or xl fails.
    """
    record = records.load(root, container_id)
    if record.current_status() not in LIVE:
        raise RunxError(f"container with id {container_id} is not running")
    if stats:
        _write(container_id, _measure(record))
        return
    supervisor = record.supervisor()
    if supervisor < 0:
        return
    try:
        poller = select.poll()
        poller.register(supervisor, select.POLLIN)
        while not poller.poll(max(1, int(interval_s * 1000))):
            try:
                if record.has_no_domain_yet:
                    record = records.load(root, container_id)
                data = _measure(record)
            except RunxError:
                if not record.supervised() or poller.poll(_ENDING_MS):
                    return  # the domain ended, and the supervisor follows
                raise
            _write(container_id, data)
    finally:
        os.close(supervisor)


_NO_LIMIT = 2**64 - 1
"""runc's number for no limit."""
_ENDING_MS = 10_000
"""How long a supervisor may take to end after its domain."""


def _write(container_id: str, data: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps({"type": "stats", "id": container_id, "data": data}, separators=(",", ":")) + "\n")
    sys.stdout.flush()


def _measure(record: Record) -> dict[str, Any]:
    if record.is_sandbox:
        return _measure_supervisor(record)
    if record.joins:
        return _measure_joined(record)
    usage = _NOTHING if record.has_no_domain_yet else xl.usage(record.domain)
    return {
        # xl says tenths of a second.
        "cpu": {"usage": {"total": round(usage.cpu_s * 10) * 100_000_000}},
        "memory": {"usage": {"usage": usage.memory_mib << 20, "limit": _limit_mib(record.directory) << 20}},
    }


_FILES = ("cpu.stat", "memory.current", "memory.max", "pids.current", "pids.max")


def _measure_joined(record: Record) -> dict[str, Any]:
    """The use of a container in its pod's machine, of its control group in the guest (Linux, admin-guide/cgroup-v2.rst)."""
    if record.current_status() == "created":
        return {"cpu": {"usage": {"total": 0}}, "memory": {"usage": {"usage": 0, "limit": _NO_LIMIT}}}
    from runx.exec.commands import guest_limits  # for few containers

    told = guest_limits.read(record, _FILES)
    used = re.search(r"^usage_usec (\d+)$", told.get("cpu.stat", ""), re.MULTILINE)
    data: dict[str, Any] = {"cpu": {"usage": {"total": int(used[1]) * 1000 if used else 0}}}
    for name, now, most in (("memory", "memory.current", "memory.max"), ("pids", "pids.current", "pids.max")):
        if now in told:  # the guest's kernel has the controller
            current, limit = _number(told[now]), _number(told.get(most, ""))
            data[name] = {"current": current, "limit": limit} if name == "pids" else {"usage": {"usage": current, "limit": limit}}
    return data


def _number(text: str) -> int:
    """A number of the kernel's; `max` is no limit, and so is what a guest may say instead of one."""
    text = text.strip()
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 20 else _NO_LIMIT


_NOTHING = xl.Usage(memory_mib=0, vcpus=0, cpu_s=0)
"""The use of a container whose root filesystem is still being made."""


def _measure_supervisor(record: Record) -> dict[str, Any]:
    """The use of a sandbox's one process (proc_pid_stat(5), utime and stime; proc_pid_statm(5), resident)."""
    fields = proc.stat(record.pid)
    try:
        with open(f"/proc/{record.pid}/statm", encoding="ascii") as file:
            resident_pages = int(file.read().split()[1])
    except OSError:
        fields = []
    if not fields:
        raise RunxError("container not running")  # it ended just now
    ticks = int(fields[11]) + int(fields[12])
    return {
        "cpu": {"usage": {"total": ticks * 1_000_000_000 // os.sysconf("SC_CLK_TCK")}},
        "memory": {"usage": {"usage": resident_pages * os.sysconf("SC_PAGE_SIZE"), "limit": _NO_LIMIT}},
    }


def _limit_mib(directory: str) -> int:
    """The memory of the virtual machine, which includes the guest's kernel."""
    with open(f"{directory}/limits.json", encoding="utf-8") as file:
        memory: int = json.load(file)["size"]["memory_mib"]
    return memory
