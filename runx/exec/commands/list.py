"""`runx list` and `runx ps`: the containers, and the processes of one."""

import json
import os
import re
import time
from typing import TYPE_CHECKING, Any

from runx.errors import RunxError, reason
from runx.exec.commands import orphan
from runx.exec.container import record as records
from runx.exec.container.record import LIVE
from runx.exec.supervisor import control
from runx.linux import proc

if TYPE_CHECKING:
    from collections.abc import Callable

    from runx.exec.plan_json import VmPlan

_ANSWER_LIMIT_S = 10
"""How long the supervisor may take to say what carriers there are."""


def list_containers(root: str, warn: "Callable[[str], None]") -> list[dict[str, Any]]:
    """The containers of a state root, sorted by id, with the keys of `runc list --format json`.

    warn: takes why a directory that has a record is left out, such as one of another user.
    """
    containers = []
    for container_id in _ids(root):
        try:
            record = records.load(root, container_id)
        except RunxError as error:
            directory = records.directory_of(root, container_id)
            if os.path.isdir(directory) and not os.access(directory, os.X_OK):
                raise
            if os.path.exists(f"{directory}/record"):
                warn(f"{error.message}: left out")
            continue  # else another process creates or removes it
        try:
            status = orphan.status(record)
        except RunxError:
            status = record.status  # its domain lives, and nobody can end it
        state = json.loads(record.oci)
        try:
            created = _created(record.directory)
        except FileNotFoundError:
            continue  # another process removed it
        containers.append(
            {
                "ociVersion": state.get("ociVersion", ""),
                "id": container_id,
                "pid": record.pid if status in LIVE else 0,
                "status": status,
                "bundle": state.get("bundle", ""),
                "rootfs": _rootfs(record.directory),
                "created": created,
                "annotations": state.get("annotations", {}),
                "owner": "root",
            }
        )
    return containers


def matching(root: str, expression: str) -> list[str]:
    """The ids in which a regular expression is found, sorted. Raises RunxError for an expression that is not valid."""
    try:
        pattern = re.compile(expression)
    except re.error as error:
        raise RunxError(f"--regex: {expression!r} is not a regular expression: {error}") from None
    return [name for name in _ids(root) if pattern.search(name)]


def _ids(root: str) -> list[str]:
    """The names in a state root, sorted; none if there is no such directory. Raises RunxError if it cannot be read."""
    try:
        return sorted(os.listdir(root))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise RunxError(f"cannot read the state directory {root}: {reason(error)}") from None


def pids(root: str, container_id: str) -> list[int]:
    """Processes of a container on this host: its supervisor, and the carriers of the processes that run by exec. The host does
    not see processes in the guest; ps(1) shows the command of each for these.

    Raises RunxError "container not running" when the container has ended.
    """
    record = records.load(root, container_id)
    if record.current_status() not in LIVE:
        raise RunxError("container not running")
    said = control.request(record.directory, "carriers", _ANSWER_LIMIT_S) if record.exec else ""
    carriers = [carrier.partition(":")[::2] for carrier in said.split()]
    return [record.pid, *(int(pid) for pid, since in carriers if proc.start_time(int(pid)) == since)]


def processes(root: str, container_id: str) -> list[list[str]]:
    """Rows for people, with a head: the processes in the guest, if the container runs and allows exec, and `pids` if not.

    Raises RunxError as `pids`, or if the guest does not answer.
    """
    record = records.load(root, container_id)
    if record.current_status() == "running" and record.exec:
        from runx.exec.commands import guest_processes

        return [["PID", "PPID", "USER", "COMMAND"], *guest_processes.rows(record)]
    return [["PID"], *([str(pid)] for pid in pids(root, container_id))]


def table(rows: list[list[str]]) -> str:
    """Rows as columns of text. The first row is the head."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "".join("   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() + "\n" for row in rows)


def _rootfs(directory: str) -> str:
    try:
        with open(f"{directory}/plan.json", encoding="utf-8") as file:
            plan: VmPlan = json.load(file)
    except FileNotFoundError:
        return ""
    return plan["root"]["path"]


def _created(directory: str) -> str:
    """When the container was created, in UTC (RFC 3339): the time of its plan, else that of its directory."""
    try:
        made = os.stat(f"{directory}/plan.json").st_mtime
    except FileNotFoundError:
        made = os.stat(directory).st_mtime
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(made))
