"""Helpers for tests of the guest's PID 1, which starts processes in namespaces here."""

import os
from collections.abc import Callable
from pathlib import Path

import guestbox as gb
from guestbox import GuestBox, pairs

Start = Callable[..., GuestBox]
"""Type of the fixture `start`, which starts /init for a process with these records."""
PATH = "PATH=/usr/bin:/bin"
DEV_SETUP = gb.DEFAULT_SETUP + "node c 1 5 666 0 0 /dev/zero\nnode c 1 3 666 0 0 /dev/null\n"


def shell(script: str) -> tuple[str, str, str]:
    return ("/bin/sh", "-c", script)


def wait_for_go(root: Path) -> dict[str, str]:
    """Values for `start`: a set-up that logs, and ends only after let_go()."""
    os.mkfifo(root / "tmp/go")
    return {"setup": gb.DEFAULT_SETUP + gb.AWAIT, "network": "echo ready; read line </tmp/go"}


def let_go(root: Path) -> None:
    (root / "tmp/go").write_text("go\n")


def probe(start: Start, *args: object, **values: object) -> dict[str, list[bytes]]:
    box = start(*(args or ("/bin/probe",)), **values)
    assert box.exit_status() == 0, box.streams
    return pairs(box.streams[gb.STDOUT])
