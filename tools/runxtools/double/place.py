"""The files of a double in its state directory, and its xenstore."""

import json
import os
from typing import Any

from runx.exec.xen.xenstore import XenStore
from runxtools.double import xenstored


class Store(XenStore):
    """A client of xenstore that writes like a toolstack."""

    def __init__(self, state: str) -> None:
        os.environ["XENSTORED_PATH"] = f"{state}/xenstored"
        super().__init__()

    def introduce(self, domid: int) -> None:
        self._request(xenstored.INTRODUCE, "introduce", b"%d\0%d\0%d\0" % (domid, 0, 1))

    def release(self, domid: int) -> None:
        self._request(xenstored.RELEASE, "release", b"%d\0" % domid)

    def domain_changed(self) -> None:
        self._request(xenstored.DOMAIN_CHANGED, "a domain has changed", b"\0")


def domain_directory(state: str, domid: int) -> str:
    return f"{state}/domains/{domid}"


def domains(state: str) -> list[int]:
    """Numbers of all domains."""
    return sorted(int(name) for name in os.listdir(f"{state}/domains") if os.path.exists(f"{state}/domains/{name}/record"))


def record(state: str, domid: int) -> dict[str, Any] | None:
    """Facts about a domain (`domain.Domain.record`); None for no such domain."""
    try:
        with open(f"{domain_directory(state, domid)}/record", encoding="utf-8") as file:
            found: dict[str, Any] = json.load(file)
            return found
    except FileNotFoundError:
        return None


def fault(state: str, name: str) -> str | None:
    """Words of an ordered fault (docs/double.md); None when it is not ordered."""
    try:
        with open(f"{state}/faults/{name}", encoding="utf-8") as file:
            return file.read()
    except FileNotFoundError:
        return None
