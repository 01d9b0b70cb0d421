"""The space of a container's layer: what its sparse file may still take from the file system that it is on.

The guest keeps the free blocks of the layer within the limit that this part tells it (docs/roots.md, "A full file system"). What
the guest writes takes from both sides alike, so the limit changes only when others use or free space.
"""

import os
import time

from runx.errors import RunxError, reason
from runx.exec.console import frames as link
from runx.exec.storage import room

TYPE_CHECKING = False  # as typing's, which costs the supervisor memory
if TYPE_CHECKING:
    import select

    from runx.exec.container.record import Record
    from runx.exec.supervisor.to_guest import ToGuest

_SOONEST_S, _LATEST_S = 0.25, 10.0
"""How often to look, when there is no room and when there is much."""
_SPEED = 2**30
"""Bytes that all together may write in a second, for a look in time."""
_STEP = 2**20
"""Changes of the limit that the guest is told at once."""
_TRIMMED = 2**23
"""What the guest has given back is told at once too: then it knows what trimming does not give back."""


def layer_of(disks: "list[str]") -> str:
    """The file of the layer, of the lines of Record.disks; "" if there is none."""
    for disk in disks:
        _, kind, path = disk.split(" ", 2)
        if kind == "layer":
            return path
    return ""


class LayerSpace:
    """The part of the loop that looks at the layer's file system, and tells the guest."""

    def __init__(self, record: "Record", path: str, to_guest: "ToGuest") -> None:
        """path: the layer's file. Raises RunxError."""
        self._record = record
        self._to_guest = to_guest
        try:
            self._fd = os.open(path, os.O_PATH | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError as error:
            raise RunxError(f"root.path: {path}: {reason(error)}") from None
        self._look_at: float | None = 0.0
        """When to look; None: no more."""
        self._told = (-1, 0, -1)
        """What the guest was told last, limit and held, and the time of the file's last change then."""
        self._told_at = 0.0

    def watch(self, _poller: "select.poll") -> float | None:
        return self._look_at if self._to_guest.greeted else None

    def handle(self, _ready: dict[int, int]) -> None:
        now = time.monotonic()
        if self._to_guest.greeted and self._look_at is not None and now >= self._look_at:
            try:
                self._look_at = now + self._look(now)
            except OSError as error:
                self._look_at = None
                self._record.say("warning", f"the file system of the layer is not watched any more: {reason(error)}")

    def _look(self, now: float) -> float:
        """Tell the guest if something has changed; in how many seconds to look again."""
        layer, system = os.fstat(self._fd), os.fstatvfs(self._fd)
        spare = room.spare(system, self._record.keep_free_mib)
        held = layer.st_blocks * 512
        limit = min(max(held + spare, 0), layer.st_size)
        told_limit, told_held, told_change = self._told
        # After a change of the file, the guest may have something to give back.
        is_old = layer.st_mtime_ns != told_change and now >= self._told_at + _LATEST_S
        is_news = told_limit < 0 or abs(limit - told_limit) >= _STEP or told_held - held >= _TRIMMED
        if (is_news or is_old) and self._to_guest.has_room:
            self._to_guest.put(link.space(limit, held))
            self._told, self._told_at = (limit, held, layer.st_mtime_ns), now
        return min(max(spare / _SPEED, _SOONEST_S), _LATEST_S)

    def close(self) -> None:
        os.close(self._fd)
