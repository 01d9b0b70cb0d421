"""The supervisor's loop: poll what its parts watch, then let each part handle what is ready.

A part owns one subject, such as the container's streams or the domain: the descriptors of that subject, its times, and what
happens then. The loop is given its parts, and knows nothing of them. Their order is the order of handling in each turn.
"""

import select
import time

TYPE_CHECKING = False  # as typing's, which costs the supervisor memory
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Protocol

    class Part(Protocol):
        """One subject of the loop."""

        def watch(self, poller: select.poll, /) -> float | None:
            """Register descriptors for this turn. The time (time.monotonic) at which `handle` has something to do even if nothing
            is ready; NOW for at once, None for never."""

        def handle(self, ready: dict[int, int], /) -> None:
            """Handle what is ready and what is due. Called once in each turn.

            ready: events of poll(2) by descriptor. Raises Ended when the container ends at once, RunxError when it cannot go on.
            """


NOW = 0.0
"""The time that a part gives `watch` when there is something to do that no descriptor shows."""


class Ended(Exception):
    """The container ends now, with this exit status; not an error."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


def run(parts: "Sequence[Part]", finished: "Callable[[], int | None]") -> int:
    """Take turns until the container has ended; its exit status.

    finished: the status once there is nothing left to do, asked before each turn; None until then. Raises what a part raises,
    except Ended.
    """
    try:
        while (status := finished()) is None:
            turn(parts)
    except Ended as end:
        return end.status
    return status


def turn(parts: "Sequence[Part]") -> None:
    """Wait until something is ready or due, and handle it. Raises what a part raises."""
    poller = select.poll()
    first: float | None = None
    for part in parts:
        at = part.watch(poller)
        if at is not None and (first is None or at < first):
            first = at
    ready = dict(poller.poll(None if first is None else _milliseconds_until(first)))
    for part in parts:
        part.handle(ready)


def _milliseconds_until(at: float) -> int:
    delay_s = at - time.monotonic()
    return int(delay_s * 1000) + 1 if delay_s > 0 else 0  # one more, so that the time has come when poll returns
