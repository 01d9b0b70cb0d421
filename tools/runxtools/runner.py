"""Long commands: their output goes to a log file, what is shown is progress, and when one fails the end of its log."""

import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from runxtools import cache
from runxtools.command import PATH
from runxtools.errors import ToolError

# One date for everything that would otherwise carry the moment it was built (reproducible-builds.org).
SOURCE_DATE_EPOCH = os.environ.get("SOURCE_DATE_EPOCH", "1704067200")

_QUIET_S = 60
"""Without a terminal, progress is a line this often."""


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of compilers: nothing of the caller's but where programs and the home directory are."""
    kept = {name: os.environ[name] for name in ("HOME", "TMPDIR", "APT_CONFIG") if name in os.environ}
    fixed = {"PATH": PATH, "LC_ALL": "C", "TZ": "UTC", "SOURCE_DATE_EPOCH": SOURCE_DATE_EPOCH, **kept}
    return fixed | dict(extra or {})


def say(text: str) -> None:
    """One line of what is going on."""
    print(text, flush=True)


class Counter:
    """Shows how far a command is, by counting lines of its output that begin with one of make's short words."""

    _WORDS = ("CC", "AS", "LD", "AR", "HOSTCC", "HOSTLD", "LDS", "VDSO", "OBJCOPY")

    def __init__(self, what: str, total: int, about_min: float) -> None:
        self._what = what
        self._total = total
        self._about_min = about_min
        self._start = self._shown = time.monotonic()
        self.count = 0

    def line(self, line: bytes) -> None:
        """Takes a line of the command's output."""
        words = line.split(None, 1)
        if not line.startswith(b"  ") or not words or words[0].decode(errors="replace") not in self._WORDS:
            return
        self.count += 1
        now = time.monotonic()
        if now - self._shown < (0.5 if sys.stdout.isatty() else _QUIET_S):
            return
        self._shown = now
        # A count that has run past the total was an estimate; say no nonsense about what is left.
        total = max(self._total, self.count)
        text = f"{self._what}: {self.count}/{total} files, {(now - self._start) / 60:.1f} of about {self._left():.0f} min"
        print(f"\r{text}\x1b[K" if sys.stdout.isatty() else text, end="" if sys.stdout.isatty() else "\n", flush=True)

    def _left(self) -> float:
        elapsed = (time.monotonic() - self._start) / 60
        # The first files say little about the rest.
        done = self.count / max(self._total, self.count)
        return elapsed / done if done > 0.1 else max(self._about_min, elapsed)

    def end(self) -> None:
        """Clears the line."""
        if sys.stdout.isatty():
            print("\r\x1b[K", end="", flush=True)


class Log:
    """The log of one part. A new one keeps the last: NAME.log.old."""

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
        """Runs a program with its output in the log; its exit status. Raises ToolError with the log's end when it fails."""
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
            raise ToolError(f"{what}: there is no program {words[0]}") from None
        finally:
            self._file.flush()
            if counter:
                counter.end()
        if check and process.returncode:
            raise ToolError(f"{what} failed with status {process.returncode}", f"{self.tail()}\nthe whole log: {self.path}")
        return process.returncode

    def tail(self, count: int = 20) -> str:
        """The last lines; of a compiler's run, those around its first error."""
        lines = self.path.read_bytes().decode(errors="replace").splitlines()
        for number, line in enumerate(lines):
            if " error: " in line or line.startswith(("E: ", "ERROR:")):
                lines = lines[max(0, number - 3) : number + count]
                break
        return "\n  ".join(lines[-count:])
