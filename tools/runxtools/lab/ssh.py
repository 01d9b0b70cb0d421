"""Run commands in dom0 over ssh: exact arguments, streams and exit status, one connection for all commands."""

import os
import shlex
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from runxtools.command import run
from runxtools.errors import ToolError
from runxtools.process import Process

_ADDRESS_LIMIT = 107
"""Greatest length of a unix socket's path, in bytes (unix(7))."""
# Room for the temporary name that ssh binds first.
_SOCKET_PATH_LIMIT = _ADDRESS_LIMIT - 17


class Connection:
    """A connection to sshd at a port of 127.0.0.1; `control` is the path of its socket."""

    def __init__(self, port: int, key: Path, known_hosts: Path, control: Path) -> None:
        if len(os.fsencode(control)) > _SOCKET_PATH_LIMIT:
            raise ToolError(f"the path of the ssh socket is too long: {control}", "set RUNX_CACHE to a shorter path")
        self._control = control
        self._options = [
            "-F", "none",
            "-o", f"IdentityFile={_quoted(key)}",
            "-p", str(port),
            "-l", "root",
            "-o", "IdentitiesOnly=yes",
            "-o", "BatchMode=yes",
            "-o", "LogLevel=ERROR",
            "-o", "HostKeyAlias=runx-lab",
            "-o", "StrictHostKeyChecking=yes",
            "-o", f"UserKnownHostsFile={_quoted(known_hosts)}",
            "-o", "GlobalKnownHostsFile=none",
            "-o", "ConnectTimeout=30",
            "-o", "ServerAliveInterval=30",
            "-o", "ServerAliveCountMax=10",
            "-o", f"ControlPath={_quoted(control)}",
        ]  # fmt: skip

    def command(self, argv: Sequence[str | bytes], tty: bool = False) -> list[str | bytes]:
        """The local command that runs `argv` in dom0, with the caller's streams and the exit status of `argv`.

        With `tty` it has a terminal there, whatever the caller's streams are. ssh takes one line for the remote shell, so the
        words are quoted here. Their total length is limited to about 128 KiB, the longest argument that Linux accepts.
        """
        return ["ssh", *self._options, "-o", "ControlMaster=no", "-tt" if tty else "-T", "127.0.0.1", remote_line(argv)]

    def open(self) -> Process:
        """Open the shared connection in the background. Raises ToolError if dom0 does not answer."""
        master = ["ssh", *self._options, "-o", "ControlMaster=yes", "-o", "ControlPersist=yes", "-N", "-f", "127.0.0.1"]
        run(master, "the ssh connection to dom0", own_session=True)
        return self._master()

    @contextmanager
    def forwarded(self, remote: str, local: Path) -> Iterator[None]:
        """Forward the path `local` to the unix socket `remote` of dom0 during the context. The connection must be open.

        Whether a program listens at `remote` shows only when a client connects. Raises ToolError when ssh cannot forward.
        """
        if len(os.fsencode(local)) > _ADDRESS_LIMIT:
            raise ToolError(f"the path of a forwarded socket is too long: {local}", "set TMPDIR to a shorter path")
        self._forward("forward", remote, local)
        try:
            yield
        finally:
            self._forward("cancel", remote, local)
            local.unlink(missing_ok=True)

    def _forward(self, order: str, remote: str, local: Path) -> None:
        run(["ssh", *self._options, "-O", order, "-L", f"{local}:{remote}", "127.0.0.1"], f"{order} of dom0's socket {remote}")

    def is_open(self) -> bool:
        """Whether the shared connection is open."""
        return self._control.exists()

    def close(self) -> None:
        """Close the shared connection, and so end every command that runs over it."""
        self._tell("exit")

    def _master(self) -> Process:
        answer = self._tell("check")  # Master running (pid=1234)
        try:
            return Process.of(int(answer.partition("pid=")[2].partition(")")[0]))
        except (ValueError, ProcessLookupError):
            raise ToolError(f"the shared ssh connection is gone: {answer}") from None

    def _tell(self, order: str) -> str:
        result = subprocess.run(
            ["ssh", *self._options, "-O", order, "127.0.0.1"],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
        )  # fmt: skip
        return result.stdout.decode(errors="replace").strip()


def remote_line(argv: Sequence[str | bytes]) -> bytes:
    """The line with which a POSIX shell executes exactly `argv` and ends with its status, or 128 + its signal.

    `exec` prevents that a builtin is taken for the program. The shell itself must wait, because sshd reports no number for a
    signal; the shell's message on a signal ("Killed") must not get into the program's standard error.
    """
    words = b" ".join(os.fsencode(shlex.quote(os.fsdecode(word))) for word in argv)
    return b"exec 3>&2 2>/dev/null; (exec " + words + b" 2>&3 3>&-); exit $?"


def _quoted(path: Path) -> str:
    """ssh_config(5) splits values at spaces and expands percent signs."""
    return '"' + str(path).replace("%", "%%") + '"'
