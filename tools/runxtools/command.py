"""How the tools start programs, from argument lists and without standard input; and how they end themselves."""

import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from runxtools.errors import ToolError

# mke2fs and other programs are in sbin, which is not in every user's PATH.
PATH = os.environ.get("PATH", os.defpath) + ":/usr/local/sbin:/usr/sbin:/sbin"


def main_of(name: str, main: Callable[[], int], trouble: int = 1) -> NoReturn:
    """Run a tool's `main` and end with its status.

    A ToolError becomes a message that begins with `name`, and the status `trouble`. SIGTERM and SIGINT end `main` by an
    exception, so that contexts end what they have started.
    """
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        sys.exit(main())
    except ToolError as error:
        print(f"{name}: {error}", file=sys.stderr)
        sys.exit(trouble)
    except KeyboardInterrupt:
        sys.exit(128 + signal.SIGINT)


def run(
    argv: Sequence[str | bytes | Path],
    what: str | None = None,
    limit_s: float | None = None,
    own_session: bool = False,
    environment: Mapping[str, str] | None = None,
) -> str:
    """Run a program to its end: its standard output and standard error.

    `what` names it in errors (default: the program's name). `limit_s` is a time limit in seconds. `environment` takes the place
    of this process's. Raises ToolError with the last lines of the output when the program fails.
    """
    name = what or os.fsdecode(argv[0])
    try:
        result = subprocess.run(
            argv,
            env=os.environ | {"PATH": PATH} if environment is None else environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=limit_s,
            start_new_session=own_session,
            check=False,
        )
    except FileNotFoundError:
        raise ToolError(f"program {os.fsdecode(argv[0])} not found") from None
    except subprocess.TimeoutExpired as expired:
        raise ToolError(f"{name} took longer than {limit_s:.0f} s", last_lines(expired.stdout or b"")) from None
    if result.returncode != 0:
        raise ToolError(f"{name} failed with status {result.returncode}", last_lines(result.stdout))
    return result.stdout.decode(errors="replace")


def run_elsewhere(
    where: str,
    command: Callable[[Sequence[str | bytes]], Sequence[str | bytes]],
    argv: Sequence[str | bytes],
    stdin: bytes,
    timeout: float,
    check: bool,
    environment: Mapping[str, str] | None = None,
) -> "subprocess.CompletedProcess[bytes]":
    """Run `argv` on another machine: its output and status (Machine.run).

    `command` makes the local command that runs a command there. `where` names the machine in errors.
    """
    limited = command(["timeout", "-k", "5", f"{timeout:.3f}", *argv])
    begin = time.monotonic()
    # This side's limit is for a machine that does not answer at all.
    result = subprocess.run(limited, input=stdin, capture_output=True, timeout=timeout + 60, env=environment, check=False)
    if result.returncode in (124, 137) and time.monotonic() - begin >= timeout:
        raise subprocess.TimeoutExpired(list(argv), timeout, result.stdout, result.stderr)
    if check and result.returncode != 0:
        words = " ".join(os.fsdecode(word) for word in argv)
        reason = (result.stderr or result.stdout).decode(errors="replace").strip()
        raise ToolError(f"in {where}, {words!r} ended with status {result.returncode}: {reason}")
    return result


def pipe(sender: Sequence[str | bytes | Path], receiver: Sequence[str | bytes | Path], what: str) -> None:
    """Run two programs, connected by a pipe. Raises ToolError with the errors of both when one fails."""
    with tempfile.TemporaryFile() as log:
        # The end of Popen's block closes our end of the pipe first, so a sender gets SIGPIPE when its receiver has died.
        with subprocess.Popen(sender, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log) as source:
            result = subprocess.run(receiver, stdin=source.stdout, stdout=log, stderr=log, check=False)
        if source.returncode != 0 or result.returncode != 0:
            log.seek(0)
            raise ToolError(f"{what} failed", last_lines(log.read()))


def last_lines(output: bytes, count: int = 8) -> str:
    """The last lines of a program's output, for an error."""
    lines = output.decode(errors="replace").strip().splitlines()
    return "\n  ".join(lines[-count:])
