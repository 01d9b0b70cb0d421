"""What a guest may make the supervisor do: a share of one processor (linux/cpu_share.py).

A guest that is allowed a hundredth of a processor could else have dom0 spend a whole one: an event costs it a hypercall, and dom0
a turn of the supervisor's loop.
"""

import time

from runx.linux.cpu_share import CpuShare

TYPE_CHECKING = False  # as typing's, which costs the supervisor memory
if TYPE_CHECKING:
    import select
    from collections.abc import Callable

_TURN = 256
"""Bytes that pay for a turn: a guest's driver writes as many at once."""
_FRAME = 64
"""Bytes that pay for a frame."""


class Allowance:
    """The last part of the loop. It charges the guest for turns that the guest has caused; parts that serve the guest ask it
    whether they may."""

    def __init__(
        self,
        percent: int,
        clock: "Callable[[], float]" = time.monotonic,
        used: "Callable[[], float]" = time.process_time,
    ) -> None:
        """percent: of one processor, what the container's processes may use."""
        self._share = CpuShare(percent, clock, used)
        self._wasted: float | None = None
        """Of this turn, as far as it is known; None: the guest has not caused it."""

    def rests_until(self) -> float:
        """When the guest is served again (time.monotonic); 0.0: at once."""
        return self._share.rests_until()

    def moved(self, size: int, frames: int) -> None:
        """Note that the guest has caused this turn, in which so many bytes were read from it and written to it, and so many
        frames taken."""
        self._note(1 - min(1.0, size / (_TURN + _FRAME * frames)))

    def was_told(self) -> None:
        """Note that the guest has caused this turn with nothing but a change in xenstore."""
        self._note(1.0)

    def _note(self, wasted: float) -> None:
        self._wasted = wasted if self._wasted is None else max(wasted, self._wasted)

    def watch(self, _poller: "select.poll") -> None:
        pass

    def handle(self, _ready: dict[int, int]) -> None:
        if self._wasted is None:
            self._share.forget()
        else:
            self._share.charge(self._wasted)
            self._wasted = None
