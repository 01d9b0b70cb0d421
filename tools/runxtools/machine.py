"""A machine with Xen's tools and runx: dom0 of the lab (`runxtools.lab.lab.Lab`), or `runxtools.double.host.Double`."""

import subprocess
from collections.abc import Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol


class Machine(Protocol):
    """Commands and files of the machine. Every method raises ToolError when the machine does not run."""

    def command(self, argv: Sequence[str | bytes], tty: bool = False) -> list[str | bytes]:
        """The local command that runs `argv` on the machine, with the caller's streams and the exit status of `argv`."""
        ...

    def run(
        self, argv: Sequence[str | bytes], stdin: bytes = b"", timeout: float = 120, check: bool = False
    ) -> "subprocess.CompletedProcess[bytes]":
        """Run a command on the machine to its end: its output and status.

        After `timeout` seconds the command is killed on the machine, and subprocess.TimeoutExpired is raised. With `check`, a
        status other than 0 raises ToolError with the command's standard error.
        """
        ...

    def popen(self, argv: Sequence[str | bytes], tty: bool = False, **options: Any) -> "subprocess.Popen[bytes]":
        """Start a command on the machine; `options` are those of subprocess.Popen.

        Its pipes are not buffered: after a `readline`, `communicate` returns all that follows the line.
        """
        ...

    def put(self, local: str | Path, remote: str) -> None:
        """Copy a file or a directory to the machine as `cp -a` does: into `remote` if that is a directory, else as it."""
        ...

    def get(self, remote: str, local: str | Path) -> None:
        """Copy a file or a directory from the machine, as `put` does."""
        ...

    def socket(self, path: str) -> AbstractContextManager[Path]:
        """A local path of the unix socket at `path` there, until the context ends."""
        ...
