"""Processor time of this process that somebody else causes, as a share of one processor: a token bucket.

Time is what is counted, not events: an event costs ten times as much on one machine as on another. Who has caused more than the
share is not served until the share has made up for it; time that was not used is kept for a while.
"""

import time

TYPE_CHECKING = False  # as typing's, which costs the server of shares memory
if TYPE_CHECKING:
    from collections.abc import Callable

LEAST = 0.1
"""The share of one processor that anybody may cause: a container of a thousandth of a processor has to start, and to end."""
WASTED = 0.1
"""The share that may be used for nothing: events that bring nothing, messages without content."""
_KEPT_S = 0.5
"""Processor time that is kept, at most: a program that starts has much to say at once."""


class _Bucket:
    """Processor time that flows in by the clock and out by use."""

    __slots__ = ("_at", "_kept_s", "_share")

    def __init__(self, share: float, now: float) -> None:
        self._share = share
        self._kept_s = _KEPT_S
        self._at = now

    def use(self, cpu_s: float, now: float) -> None:
        self._kept_s = min(_KEPT_S, self._kept_s + (now - self._at) * self._share) - cpu_s
        self._at = now

    @property
    def full_at(self) -> float:
        """When nothing is owed any more; 0.0 if nothing is."""
        return self._at - self._kept_s / self._share if self._kept_s < 0 else 0.0


class CpuShare:
    """What one guest may cause."""

    def __init__(
        self,
        percent: int,
        clock: "Callable[[], float]" = time.monotonic,
        used: "Callable[[], float]" = time.process_time,
    ) -> None:
        """percent: of one processor, what the guest may cause in all; at least LEAST holds. used: the time of this
        process."""
        self._clock = clock
        self._used = used
        self._last_s = used()
        now = clock()
        self._all = _Bucket(max(percent / 100, LEAST), now)
        self._wasted = _Bucket(WASTED, now)

    def forget(self) -> None:
        """Charge nobody for the processor time since the last call."""
        self._last_s = self._used()

    def charge(self, wasted: float) -> None:
        """Charge the guest for the processor time since the last call. wasted: the part that brought nothing, from 0.0 to 1.0."""
        used = self._used()
        cpu_s, self._last_s = used - self._last_s, used
        now = self._clock()
        self._all.use(cpu_s, now)
        self._wasted.use(cpu_s * wasted, now)

    def rests_until(self) -> float:
        """When the guest is served again, as the clock tells time; 0.0: at once."""
        until = max(self._all.full_at, self._wasted.full_at)
        return until if until > self._clock() else 0.0
