"""The end of a container whose guest has changes in a layer: the guest writes them into the root filesystem on the host.

While processes of the container run, the guest cannot write to that (docs/decisions/0014): a container in a machine of its own
has a share for this alone, which is made when the guest asks for it, by LAYER, and goes with the domain. For a container in the
machine of its pod, the pod's share gets an entry then.
"""

import os
import select
import time

from runx.errors import RunxError, reason
from runx.exec.console import frames as link
from runx.exec.ninep import export_names
from runx.exec.supervisor.shares import Shares
from runx.exec.supervisor.space import layer_of

TYPE_CHECKING = False  # as typing's, which costs the supervisor memory
if TYPE_CHECKING:
    from collections.abc import Callable

    from runx.exec.container.record import Record
    from runx.exec.xen.xenstore import XenStore

_RING_ORDER = 6
"""Two rings of 256 KiB: memory without gaps, of which a guest that was busy may have little. The guest's msize fits to it."""
_SYNC_LIMIT_S = 60.0
"""How long the host's file system may take to write all to its disk, until the layer stays."""
_ANSWER_LIMIT_S = 5.0
"""How long the server may take to say why the guest could not send all."""
_STAYS = "; its layer stays, and has it at the next start"
_IS_LOST = "; it is lost, as the root filesystem was in memory"


class Outcome:
    """What becomes of what a container has written, from the guest's first word of it on."""

    def __init__(self, record: "Record", sync: "Callable[[], None]", give_up: "Callable[[], None]") -> None:
        """sync: has the server write all to the disk, and tell. give_up: tells the guest to end without it."""
        self._record = record
        self._sync = sync
        self._give_up = give_up
        self._layer = layer_of(record.disks)
        """The path of the layer; "" for a root in memory, which has none."""
        self._asked_at: float | None = None
        self.sync_until: float | None = None
        """The guest sends no more. When to give up waiting for what the server says of it; None before that."""
        self.problem = ""
        """Why the guest has not sent all, as it says."""
        self._sent_at = 0.0
        self.is_over = False
        """No more is expected of the guest or the server."""
        self._is_complete = False
        """The root filesystem has everything that is in the layer, on its disk."""
        self.has_failed = False
        """The root filesystem lacks what the container wrote."""

    @property
    def was_asked(self) -> bool:
        return self._asked_at is not None

    @property
    def is_pending(self) -> bool:
        """Whether the container has to wait until the host's disk has what the guest has written."""
        return self.sync_until is not None and not self.is_over

    def ask(self) -> None:
        """The guest has changes to write (LAYER). Raises LinkError if it has asked before."""
        if self.was_asked or self.is_over:
            raise link.LinkError("the layer's share is asked for twice")
        self._asked_at = time.monotonic()

    def written(self, payload: bytes) -> None:
        """The guest has sent its changes, or could not (WRITTEN_BACK). Raises LinkError out of turn."""
        if self.sync_until is not None:
            raise link.LinkError("the layer is written back twice")
        if self.is_over:
            return  # it has failed, which the guest has seen as well
        is_done, problem = link.parse_written_back(payload)
        if not is_done:
            self.problem = problem or "the guest did not say why"
        if not self.was_asked:
            if is_done:
                self.is_over = self._is_complete = True  # the layer is empty
            else:
                self.fail(self.problem)
            return
        # The server knows whether all has come, and has better words if it has refused something.
        self._sent_at = time.monotonic()
        self.sync_until = self._sent_at + (_SYNC_LIMIT_S if is_done else _ANSWER_LIMIT_S)
        self._sync()

    def expire(self) -> None:
        """Fail if the server has not answered in time."""
        if self.is_pending and self.sync_until is not None and time.monotonic() >= self.sync_until:
            self.fail(self.problem or f"the host's file system did not write it to its disk within {_SYNC_LIMIT_S:.0f} s")

    def settle(self, words: str) -> None:
        """Take what the server says of it: names, bytes, and what is wrong."""
        names, size, *problem = words.split(" ", 2)
        if problem:
            self.fail(self.problem if self.problem and problem == [export_names.NOT_ALL] else problem[0])
        elif not self.is_over:
            self.is_over = self._is_complete = True
            took_s = self._sent_at - (self._asked_at or 0.0)
            self._record.say("info", f"wrote back {names} files, {int(size) / 1e6:.1f} MB in {took_s:.1f} s")

    def fail(self, why: str) -> None:
        """The container ends as it would; what it wrote stays where it is."""
        if self.is_over:
            return
        self.is_over = self.has_failed = True
        what_of_it = _STAYS if self._layer else _IS_LOST
        self._record.say("warning", f"what the container wrote does not come into its root filesystem: {why}{what_of_it}")
        if self.was_asked and self.sync_until is None:
            self._give_up()

    def end(self) -> None:
        """Nothing more can come."""
        if self.was_asked:
            self.fail(self.problem or "the virtual machine ended before all was written")

    def room(self, memory_kib: "Callable[[], str | None]") -> int:
        """Bytes that a container can have written: the size of its layer, or the memory that it may have. Raises RunxError."""
        try:
            if self._layer:
                return os.stat(self._layer).st_size
            return int(memory_kib() or 0) << 10
        except (OSError, ValueError) as error:
            why = reason(error) if isinstance(error, OSError) else str(error)
            raise RunxError(f"how much it may be is not known: {why}") from None

    def drop_layer(self) -> None:
        """Remove the layer, which no domain uses any more, if the root filesystem has all that is in it."""
        if not self._is_complete or not self._layer:
            return
        try:
            os.unlink(self._layer)
        except OSError as error:
            self._record.say("warning", f"cannot remove {self._layer}: {reason(error)}")


class WriteBack:
    """The share `layer`, as a part of the supervisor's loop."""

    def __init__(self, record: "Record", store: "XenStore", give_up: "Callable[[], None]") -> None:
        """give_up: tells the guest to end without it."""
        self._record = record
        self._store = store
        self._shares = Shares(record, store, export_names.LAYER, [export_names.LAYER_TAG], first=len(record.shares))
        self._outcome = Outcome(record, lambda: self._shares.sync(export_names.CHANGES), give_up)

    # -- what the guest says -------------------------------------------------------------------------------------------

    def ask(self) -> None:
        """The guest has changes to write (LAYER). Raises LinkError if it has asked before."""
        self._outcome.ask()
        try:
            self._shares.fork()
        except OSError as error:
            self._fail(f"no server for it: {reason(error)}")

    def written(self, payload: bytes) -> None:
        """The guest has sent its changes, or could not (WRITTEN_BACK). Raises LinkError out of turn."""
        self._outcome.written(payload)

    def event(self, token: str) -> bool:
        """Whether this token of a watch is of the share."""
        return self._shares.event(token)

    @property
    def is_pending(self) -> bool:
        """Whether the container has to wait until the host's disk has what the guest has written."""
        return self._outcome.is_pending

    @property
    def has_failed(self) -> bool:
        """The root filesystem lacks what the container wrote."""
        return self._outcome.has_failed

    # -- the loop ------------------------------------------------------------------------------------------------------

    def watch(self, poller: select.poll) -> float | None:
        self._shares.watch(poller)
        return None if self._outcome.is_over else self._outcome.sync_until

    def handle(self, ready: dict[int, int]) -> None:
        if self._shares.is_ready(ready):
            self._heed(self._shares.report())
        self._outcome.expire()
        self._close_if_failed()

    def _heed(self, words: str) -> None:
        kind, _, rest = words.partition(" ")
        try:
            if kind == "ready":
                size = self._outcome.room(lambda: self._store.read(f"/local/domain/{self._record.domid}/memory/static-max"))
                self._shares.take_changes(export_names.CHANGES, export_names.LAYER_ROOT, size)
                self._shares.publish(_RING_ORDER)
            elif kind == "synced":
                self._outcome.settle(rest.split(" ", 2)[2])
                self._close_if_failed()
            else:
                self._shares.heed(words)
        except RunxError as error:
            self._fail(error.message)

    def _fail(self, why: str) -> None:
        self._outcome.fail(why)
        self._shares.close()

    def _close_if_failed(self) -> None:
        if self._outcome.has_failed:
            self._shares.close()

    # -- the end -------------------------------------------------------------------------------------------------------

    def close(self) -> None:
        """End the server. The guest writes nothing from now on."""
        self._outcome.end()
        self._shares.close()

    def drop_layer(self) -> None:
        """Remove the layer, which no domain uses any more, if the root filesystem has all that is in it."""
        self._outcome.drop_layer()
