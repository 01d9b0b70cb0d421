"""Run long commands: write their output to a log file, show progress, and show the log's end if one fails."""

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from runxtools import cache
from runxtools.command import PATH
from runxtools.errors import ToolError

# The date in all results, in place of the time of the build (reproducible-builds.org).
SOURCE_DATE_EPOCH = os.environ.get("SOURCE_DATE_EPOCH", "1704067200")

_QUIET_S = 60
"""Seconds between lines of progress without a terminal."""


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of compilers: of the caller's, only PATH, HOME, TMPDIR and APT_CONFIG."""
    kept = {name: os.environ[name] for name in ("HOME", "TMPDIR", "APT_CONFIG") if name in os.environ}
    fixed = {"PATH": PATH, "LC_ALL": "C", "TZ": "UTC", "SOURCE_DATE_EPOCH": SOURCE_DATE_EPOCH, **kept}
    return fixed | dict(extra or {})


def say(text: str) -> None:
    """Print a line of progress."""
    print(text, flush=True)


class Counter:
    """Show the progress of make by counting the lines of its output that begin with a short word such as CC."""

    _WORDS = ("CC", "AS", "LD", "AR", "HOSTCC", "HOSTLD", "LDS", "VDSO", "OBJCOPY")

    def __init__(self, what: str, total: int, about_min: float) -> None:
        self._what = what
        self._total = total
        self._about_min = about_min
        self._start = self._shown = time.monotonic()
        self.count = 0

    def line(self, line: bytes) -> None:
        """Count a line of the command's output, and show progress now and then."""
        words = line.split(None, 1)
        if not line.startswith(b"  ") or not words or words[0].decode(errors="replace") not in self._WORDS:
            return
        self.count += 1
        now = time.monotonic()
        if now - self._shown < (0.5 if sys.stdout.isatty() else _QUIET_S):
            return
        self._shown = now
        # The total is an estimate, which the count may pass.
        total = max(self._total, self.count)
        text = f"{self._what}: {self.count}/{total} files, {(now - self._start) / 60:.1f} of about {self._left():.0f} min"
        print(f"\r{text}\x1b[K" if sys.stdout.isatty() else text, end="" if sys.stdout.isatty() else "\n", flush=True)

    def _left(self) -> float:
        elapsed = (time.monotonic() - self._start) / 60
        # The times of the first files tell little about the rest.
        done = self.count / max(self._total, self.count)
        return elapsed / done if done > 0.1 else max(self._about_min, elapsed)

    def end(self) -> None:
        """Clear the line of progress."""
        if sys.stdout.isatty():
            print("\r\x1b[K", end="", flush=True)


class Log:
    """The log file of one part. The previous log becomes NAME.log.old."""

    def __init__(self, name: str) -> None:
        directory = cache.root() / "guest-logs"
        directory.mkdir(parents=True, exist_ok=True)
        self.path = directory / f"{name}.log"
        if self.path.exists():
            self.path.replace(self.path.with_suffix(".log.old"))
        self._file = self.path.open("ab")

    def run(
        self,
        argv: Sequence[str | Path],
        what: str,
        *,
        cwd: Path | None = None,
        env: Mapping[str, str] | None = None,
        counter: Counter | None = None,
        check: bool = True,
    ) -> int:
        """Run a program with its output in the log: its exit status. Raises ToolError with the log's end if it fails."""
        words = [os.fspath(word) for word in argv]
        self._file.write(f"\n$ {' '.join(words)}\n".encode(errors="surrogateescape"))
        self._file.flush()
        try:
            with subprocess.Popen(
                words, cwd=cwd, env=environment(env), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
            ) as process:
                assert process.stdout is not None
                for line in process.stdout:
                    self._file.write(line)
                    if counter:
                        counter.line(line)
        except FileNotFoundError:
            raise ToolError(f"{what}: program {words[0]} not found") from None
        finally:
            self._file.flush()
            if counter:
                counter.end()
        if check and process.returncode:
            raise ToolError(f"{what} failed with status {process.returncode}", f"{self.tail()}\nthe whole log: {self.path}")
        return process.returncode

    def tail(self, count: int = 20) -> str:
        """The lines around the first error of a compiler, else the last lines."""
        lines = self.path.read_bytes().decode(errors="replace").splitlines()
        for number, line in enumerate(lines):
            if " error: " in line or line.startswith(("E: ", "ERROR:")):
                lines = lines[max(0, number - 3) : number + count]
                break
        return "\n  ".join(lines[-count:])
