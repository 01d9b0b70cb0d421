"""Frames for a guest that speaks the console link, on their way into the ring (docs/console-link.md)."""

from runx.exec.console import frames as link
from runx.exec.supervisor.session import Session

TYPE_CHECKING = False  # as typing's, which costs the supervisor memory
if TYPE_CHECKING:
    import select
    from typing import Protocol

    from runx.exec.console import streams

    class Ring(Protocol):
        """The guest's end of it may be full."""

        def write(self, data: bytearray) -> int:
            """Give the guest what there is room for; how many bytes that was."""


_SIGNALS_AT_ONCE = 64
"""Signals that are put into frames in one turn. The others stay in their queue, which has an order and a bound."""


class ToGuest:
    """The part of the loop that has the last word in each turn: it collects what sessions are due, and writes to the ring."""

    def __init__(self, ring: "Ring", session: Session) -> None:
        self._ring = ring
        self.sessions = [session]
        """Those that the guest knows, session 0 first."""
        self.waiting = bytearray()
        """Bytes of frames that the ring has not taken yet."""
        self.taken = 0
        """Bytes of frames that the ring has taken."""
        self.greeted = False
        """PID 1 of the guest listens. Before that its tty may not be raw yet, so nothing is written to it."""
        self._had_room = True

    @property
    def has_room(self) -> bool:
        """Whether more may be put. A guest may write and never read: what waits for it must not pile up for ever."""
        return len(self.waiting) < link.PAYLOAD_LIMIT

    @property
    def has_room_for_others(self) -> bool:
        """The same for input and records of sessions other than 0: endless input of that one must not keep them back."""
        return len(self.waiting) < 3 * link.PAYLOAD_LIMIT

    def put(self, frames: bytes) -> None:
        """Queue frames behind those that wait."""
        self.waiting += frames

    @property
    def takes_input(self) -> bool:
        return self.greeted and self.has_room

    def take_input(self, source: "streams.Input") -> None:
        self.waiting += source.read_some()

    def watch(self, _poller: "select.poll") -> float | None:
        # Asked before input fills the room in this turn. Endless input would keep back credit for ever, and signals too.
        self._had_room = self.has_room
        if not self._had_room:
            return None
        return min((at for session in self.sessions if (at := session.signals.next_at()) is not None), default=None)

    def handle(self, _ready: dict[int, int]) -> None:
        if self._had_room:
            for session in self.sessions:
                self._collect(session)
        if self.greeted and self.waiting:
            count = self._ring.write(self.waiting)
            self.taken += count
            del self.waiting[:count]

    def _collect(self, session: Session) -> None:
        """Queue what a session is due: the size of its terminal, its signals, and credit for its output."""
        if session.size_changed:
            session.size_changed = False
            rows, columns = session.terminal_size()
            size = rows.to_bytes(2, "little") + columns.to_bytes(2, "little")
            self.waiting += link.frame(link.WINSIZE, size, session.number)
        if session.signals:
            for number in session.signals.take(_SIGNALS_AT_ONCE):
                self.waiting += link.signal(number, session.number)
        for out in session.outputs.values():
            self.waiting += out.frames()
