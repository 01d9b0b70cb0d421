"""Images of a root filesystem, while the container has to wait for them: `create` returns before, and `start` may come before.

A machine goes on by two functions of its own: one completes it, the other lets it run.
"""

import time

from runx.errors import RunxError
from runx.exec.supervisor import loop
from runx.exec.supervisor.loop import Ended
from runx.exec.supervisor.session import STATUS_INCOMPLETE

TYPE_CHECKING = False  # as typing's, which costs the supervisor memory
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from runx.exec.container.record import Record
    from runx.exec.storage.packer import Packer
    from runx.exec.supervisor.loop import Part
    from runx.exec.supervisor.session import Session

_PATIENCE_S = 0.5
"""How long `create` waits for images of the root filesystem. It takes about as long for everything else, and containerd 2.3.0 and
2.3.1 give up a `create` after 2 s."""
BEING_MADE = "the images of the root filesystem are being made"


class Packing:
    """The process that makes the images, if there are any to make, and what waits for it."""

    def __init__(self, record: "Record", session: "Session", follows: str) -> None:
        """follows: what comes after the images, for the log."""
        self._record = record
        self._session = session
        self._follows = follows
        self._packer: Packer | None = None
        """None once the images are in use, or without any."""
        self._failure: RunxError | None = None
        """Why the machine could not be completed."""
        self._is_to_start = False
        """`start` came before the machine was complete."""

    def begin(self, caller: int) -> bool:
        """Start to make the images; whether they are there. caller: as in supervisor.Machine.make. Raises RunxError."""
        if not self._record.packs:
            return True
        from runx.exec.storage.packer import Packer  # for few containers

        self._packer = Packer(self._record.directory)
        self._packer.wait(_PATIENCE_S, caller)
        if not self._packer.is_done:
            self._record.say("info", f"{BEING_MADE}; {self._follows}")
        return self._packer.is_done

    def check(self) -> None:
        """Raise RunxError if the images could not be made."""
        if self._packer:
            self._packer.check()

    def end(self) -> None:
        """The images are in use, or will never be. Raises RunxError."""
        packer, self._packer = self._packer, None
        if packer:
            packer.end()

    def delays_start(self) -> bool:
        """Whether a `start` has to wait. Raises RunxError if the machine could not be completed."""
        if not self._packer and not self._failure:
            return False
        self._is_to_start = True
        if self._failure:
            raise self._failure
        return True

    def complete(
        self, meanwhile: "Sequence[Part]", serving: "Sequence[Part]", go_on: "Callable[[], None]", start: "Callable[[], None]"
    ) -> int | None:
        """Go on once the images are there, and start if `start` came before. The container's exit status if it has ended.

        meanwhile: parts of the loop that are served as long as the images are made, beside `serving`.
        """
        if not self._packer:
            return None
        begin = time.monotonic()
        try:
            while not self._packer.is_done:
                loop.turn((self._packer, *meanwhile, *serving))
            self._record.say("info", f"the images of the root filesystem were made after {time.monotonic() - begin:.1f} s more")
            self._complete(go_on, start)
            while self._failure and not self._is_to_start:
                loop.turn(serving)  # `start` fails, with the reason
        except Ended as end:
            return end.status
        return STATUS_INCOMPLETE if self._failure else None

    def _complete(self, go_on: "Callable[[], None]", start: "Callable[[], None]") -> None:
        try:
            go_on()
            self._record.save_if_possible()
            if self._is_to_start:
                start()
        except RunxError as error:
            self._failure = error
            message = f"the container is ended: {error.with_hint}"
            if self._is_to_start:
                self._session.say(message)
            else:
                self._record.say("error", message)
