"""Signals that come while the guest still boots: the process is not there yet.

Under runc the process runs when `start` has returned, and a signal sent half a second later finds it half a second old, with
its handlers set up. So here: a signal is as late after the start of the process as it was sent after the start of the machine.
Given to the process at once it would find a program that has not come to its first line, and end it.
"""


class EarlySignals:
    """Signals in the order they were sent, and when each is due. Times are seconds of one clock (time.monotonic)."""

    def __init__(self) -> None:
        self._machine_started = 0.0
        self._process_started: float | None = None
        self._waiting: list[tuple[float, int]] = []
        """Age at which the process is to get it, number. Ages never fall: one signal does not overtake another."""

    def __len__(self) -> int:
        return len(self._waiting)

    def machine_started(self, now: float) -> None:
        """The guest boots from now on."""
        self._machine_started = now

    def process_started(self, now: float) -> None:
        """The process has been executed; only the first time counts."""
        if self._process_started is None:
            self._process_started = now

    def put(self, number: int, now: float) -> None:
        """A signal for the process."""
        began = self._machine_started if self._process_started is None else self._process_started
        age = max(0.0, now - began)
        if self._waiting:
            age = max(age, self._waiting[-1][0])
        self._waiting.append((age, number))

    def take(self, now: float) -> list[int]:
        """The signals that are due; each is given once."""
        due = []
        while self._process_started is not None and self._waiting and self._process_started + self._waiting[0][0] <= now:
            due.append(self._waiting.pop(0)[1])
        return due

    def next_at(self) -> float | None:
        """When `take` will have the next one; None when nothing waits, or the process is still to come."""
        if self._process_started is None or not self._waiting:
            return None
        return self._process_started + self._waiting[0][0]
