"""`runx list` and `runx ps`: containers, and what of one this host can see."""

import json
import os
import re
import time
from typing import Any

from runx.errors import RunxError
from runx.exec.container import record as records
from runx.exec.container.record import LIVE


def list_containers(root: str) -> list[dict[str, Any]]:
    """The containers of a state root, sorted by id, with the keys that `runc list --format json` has."""
    containers = []
    for container_id in sorted(os.listdir(root)) if os.path.isdir(root) else []:
        try:
            record = records.load(root, container_id)
        except RunxError:
            continue  # being made or removed just now
        status = record.current_status()
        state = json.loads(record.oci)
        try:
            created = _created(record.directory)
        except FileNotFoundError:
            continue  # removed just now
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
    """The ids in which a regular expression is found, sorted. Raises RunxError when it is none."""
    try:
        pattern = re.compile(expression)
    except re.error as error:
        raise RunxError(f"{expression!r} is not a regular expression: {error}") from None
    return [name for name in sorted(os.listdir(root)) if pattern.search(name)] if os.path.isdir(root) else []


def pids(root: str, container_id: str) -> list[int]:
    """The processes of a container that this host can see: its supervisor. Those in the guest are the guest's alone.

    Raises RunxError ("container not running") for one that has ended.
    """
    record = records.load(root, container_id)
    if record.current_status() not in LIVE:
        raise RunxError("container not running")
    return [record.pid]


def table(rows: list[list[str]]) -> str:
    """Rows as columns of text, the first row being the head."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "".join("   ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() + "\n" for row in rows)


def _rootfs(directory: str) -> str:
    try:
        with open(f"{directory}/plan.json", encoding="utf-8") as file:
            path: str = json.load(file)["root"]["path"]
    except FileNotFoundError:
        return ""
    return path


def _created(directory: str) -> str:
    """RFC 3339, UTC: when the container's place was last claimed, which is before anything else of it was made."""
    try:
        made = os.stat(f"{directory}/plan.json").st_mtime
    except FileNotFoundError:
        made = os.stat(directory).st_mtime
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(made))
