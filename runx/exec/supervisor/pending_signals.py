"""The queue of signals for a process: the only place where they wait until the guest can be told.

A guest needs time to boot. Under runc the process runs when `start` has returned, so a signal that is sent half a second later
finds a process that is half a second old and has set up its handlers. Delay each signal by the guest's boot time for the same
effect. Delivered at once, it would end a program that has not come to its first line.
"""

import time

from runx.errors import RunxError

TYPE_CHECKING = False  # as typing's, which costs the supervisor memory
if TYPE_CHECKING:
    from collections.abc import Callable

LIMIT = 13_000
"""Signals that wait for a guest that takes none; more are refused. Frames of that many would be 64 KiB."""


class PendingSignals:
    """Signals in the order in which they were sent, and the time at which each is due."""

    def __init__(self, clock: "Callable[[], float]" = time.monotonic) -> None:
        self._clock = clock
        self._machine_started = 0.0
        self._process_started: float | None = None
        self._waiting: list[tuple[float, int]] = []
        """Age of the process at which it gets the signal, and number. Ages never fall, so no signal overtakes another."""

    def __len__(self) -> int:
        return len(self._waiting)

    def machine_started(self) -> None:
        """The guest boots from now on."""
        self._machine_started = self._clock()

    def process_started(self) -> None:
        """The process has been executed. Only the first call counts."""
        if self._process_started is None:
            self._process_started = self._clock()

    def put(self, number: int) -> None:
        """Queue a signal. Raises RunxError if LIMIT signals wait."""
        if len(self._waiting) >= LIMIT:
            raise RunxError("the guest takes no more signals", "it hangs; kill it with SIGKILL")
        began = self._machine_started if self._process_started is None else self._process_started
        age = max(0.0, self._clock() - began)
        if self._waiting:
            age = max(age, self._waiting[-1][0])
        self._waiting.append((age, number))

    def take(self, most: int = LIMIT) -> list[int]:
        """Remove the signals that are due from the queue, at most so many."""
        if self._process_started is None or not self._waiting:
            return []
        age = self._clock() - self._process_started
        count = 0
        while count < min(most, len(self._waiting)) and self._waiting[count][0] <= age:
            count += 1
        due = [number for _, number in self._waiting[:count]]
        del self._waiting[:count]
        return due

    def next_at(self) -> float | None:
        """The time at which `take` has the next signal; None if no signal waits, or the process has not started."""
        if self._process_started is None or not self._waiting:
            return None
        return self._process_started + self._waiting[0][0]
