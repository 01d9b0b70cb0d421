"""What tests of the guest's PID 1 have in common: processes that /init starts, here in namespaces."""

import os
from collections.abc import Callable
from pathlib import Path

import guestbox as gb
from guestbox import GuestBox, pairs

Start = Callable[..., GuestBox]
"""The fixture `start`: starts /init for a process with these records."""
PATH = "PATH=/usr/bin:/bin"
DEV_SETUP = gb.DEFAULT_SETUP + "inroot node c 1 5 666 0 0 /dev/zero\ninroot node c 1 3 666 0 0 /dev/null\n"


def shell(script: str) -> tuple[str, str, str]:
    return ("/bin/sh", "-c", script)


def wait_for_go(root: Path) -> str:
    """A setup script that says LOG and ends only after let_go()."""
    os.mkfifo(root / "tmp/go")
    return gb.DEFAULT_SETUP + "echo ready; read line </tmp/go"


def let_go(root: Path) -> None:
    (root / "tmp/go").write_text("go\n")


def probe(start: Start, *args: object, **values: object) -> dict[str, list[bytes]]:
    box = start(*(args or ("/bin/probe",)), **values)
    assert box.exit_status() == 0, box.streams
    return pairs(box.streams[gb.STDOUT])
