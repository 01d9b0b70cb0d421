"""The command line that ps(1) shows for a process on the host that stands for one in a guest. `docker top` reads it."""

import os

from runx.errors import RunxError
from runx.linux import confine

_LIMIT = 1024
"""Characters: a command may be long, and all users of the host may read it."""


def of(args: list[bytes]) -> str:
    """The title for a process of a guest with these arguments, which may be hostile."""
    words = os.fsdecode(b" ".join(args))[:_LIMIT]
    return "runx: " + "".join(c if c.isprintable() else "?" for c in words)


def show(args: list[bytes]) -> None:
    """Have ps(1) show this process as the one that stands for a process with these arguments."""
    confine.set_title(of(args))


def show_container(directory: str) -> None:
    """The same for the process of a container that allows exec, by the container's directory."""
    from runx.exec.container import process_record

    try:
        show(process_record.load(directory)["args"])
    except (RunxError, KeyError):
        pass  # ps(1) shows this process as it is
