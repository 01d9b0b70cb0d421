"""Show the progress of a task of a few long steps, on a terminal or in a log file.

Each step is one line, `[2/5] dom0 image (about 90 s) ... 34 s`. On a terminal the seconds count up; in a log file
the line is completed when the step ends.
"""

import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO


class Progress:
    """The steps of one task: numbers and times them."""

    def __init__(self, steps: int, stream: TextIO | None = None) -> None:
        self._steps = steps
        self._number = 0
        self._stream = stream if stream is not None else sys.stderr
        self._live = self._stream.isatty()
        self._lock = threading.Lock()
        self._line = ""

    @contextmanager
    def step(self, name: str, about_s: float | None = None) -> Iterator[None]:
        """Run the context as the next step; it usually takes `about_s` seconds."""
        self._number += 1
        estimate = f" (about {about_s:.0f} s)" if about_s is not None else ""
        self._line = f"[{self._number}/{self._steps}] {name}{estimate} ..."
        self._write(self._line)
        begin = time.monotonic()
        done = threading.Event()
        ticker = threading.Thread(target=self._tick, args=(begin, done), daemon=True)
        if self._live:
            ticker.start()
        outcome = "failed after "
        try:
            yield
            outcome = ""
        except (KeyboardInterrupt, SystemExit):  # of a signal (command.py): a caller's limit of time is no failure of the step
            outcome = "ended by a signal after "
            raise
        finally:
            done.set()
            if self._live:
                ticker.join()
            seconds = time.monotonic() - begin
            text = f" {outcome}{seconds:.1f} s" if seconds < 10 else f" {outcome}{seconds:.0f} s"
            self._write(f"\r{self._line}{text}\n" if self._live else f"{text}\n")
            self._line = ""

    def skip(self, name: str, reason: str) -> None:
        """Count a step that needs no work, and print why."""
        self._number += 1
        self._write(f"[{self._number}/{self._steps}] {name}: {reason}\n")

    def note(self, text: str) -> None:
        """Print a line inside the current step."""
        if self._line:
            self._write(f"\n    {text}\n{self._line}")
        else:
            self._write(f"    {text}\n")

    def _tick(self, begin: float, done: threading.Event) -> None:
        while not done.wait(1):
            self._write(f"\r{self._line} {time.monotonic() - begin:.0f} s")

    def _write(self, text: str) -> None:
        with self._lock:
            self._stream.write(text)
            self._stream.flush()
