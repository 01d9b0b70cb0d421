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

# mke2fs and others live in sbin, which is not in everyone's PATH.
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
    argv: Sequence[str | bytes | Path], what: str | None = None, limit_s: float | None = None, own_session: bool = False
) -> str:
    """Runs a program to its end and returns what it wrote, standard error included.

    `what` is how an error names it, by default the program's name; `limit_s` how long it may take, in seconds. Raises
    ToolError with the last lines of its output when it fails.
    """
    name = what or os.fsdecode(argv[0])
    try:
        result = subprocess.run(
            argv,
            env=os.environ | {"PATH": PATH},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=limit_s,
            start_new_session=own_session,
            check=False,
        )
    except FileNotFoundError:
        raise ToolError(f"there is no program {os.fsdecode(argv[0])}") from None
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
    """Runs `argv` on another machine, or what stands for one: its output and status.

    `command` gives the local command that runs one there, `where` is how an error names the place. After `timeout` seconds the
    command is killed there and subprocess.TimeoutExpired raised. With `check`, a status other than 0 raises ToolError with what
    it wrote to standard error.
    """
    limited = command(["timeout", "-k", "5", f"{timeout:.3f}", *argv])
    begin = time.monotonic()
    # The limit on this side is for a place that no longer answers at all.
    result = subprocess.run(limited, input=stdin, capture_output=True, timeout=timeout + 60, env=environment, check=False)
    if result.returncode in (124, 137) and time.monotonic() - begin >= timeout:
        raise subprocess.TimeoutExpired(list(argv), timeout, result.stdout, result.stderr)
    if check and result.returncode != 0:
        words = " ".join(os.fsdecode(word) for word in argv)
        reason = (result.stderr or result.stdout).decode(errors="replace").strip()
        raise ToolError(f"in {where}, {words!r} ended with status {result.returncode}: {reason}")
    return result


def pipe(sender: Sequence[str | bytes | Path], receiver: Sequence[str | bytes | Path], what: str) -> None:
    """Runs two programs, the first one's output being the second one's input.

    Raises ToolError, with what both of them said, when either fails.
    """
    with tempfile.TemporaryFile() as log:
        # Leaving Popen's block closes our end of the pipe first: a sender whose receiver died gets SIGPIPE.
        with subprocess.Popen(sender, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log) as source:
            result = subprocess.run(receiver, stdin=source.stdout, stdout=log, stderr=log, check=False)
        if source.returncode != 0 or result.returncode != 0:
            log.seek(0)
            raise ToolError(f"{what} failed", last_lines(log.read()))


def last_lines(output: bytes, count: int = 8) -> str:
    """The end of a program's output, to show why it failed."""
    lines = output.decode(errors="replace").strip().splitlines()
    return "\n  ".join(lines[-count:])
