"""The server's loop: orders of the supervisor, and events of the guest.

Orders and reports are messages of words, on a pair of sockets. Shares are numbered from 0:

    domain DOMID             the domain whose shares these are; comes first
    connect N REF PORT ...   the guest's driver is there: grant and event channel of each ring
    close N                  the guest's driver goes
    offer N NAME WORD ...    an entry of the share exists from now on, with these rules (exports.Bind), or has them
    withdraw N NAME          it does not exist any more
    changes N NAME ROOT BYTES
                             an entry takes what a container has written, for the root filesystem that is the entry ROOT
    sync N NAME              write to the disk what the guest has sent for it
    end                      let go of everything, and end
    connected N              report: the share is served
    closed N REASON          report: it is not any more
    synced N NAME NAMES BYTES REASON
                             report: that was done, of so much; with a reason, it was not, or cannot be
    fault REASON             report: the server ends
"""

import os
import select
import time

from runx.errors import RunxError, reason
from runx.exec.ninep.connection import Channel, Connection
from runx.exec.ninep.export_names import NOT_ALL
from runx.exec.ninep.nodes import Rules
from runx.exec.ninep.ring import RINGS_MAX, RingError
from runx.exec.ninep.turns import Relieved, Turns
from runx.linux.cpu_share import CpuShare

TYPE_CHECKING = False  # as typing's, which costs the server memory
if TYPE_CHECKING:
    from runx.exec.ninep.hypervisor import Hypervisor
    from runx.exec.ninep.ring import Ring
    from runx.exec.ninep.share import Share

MESSAGE_MAX = 4096
"""Bytes of an order or a report."""
_EVENTS_KEPT = 64
"""Events without a request that requests before them have paid for: a guest tells of each answer that it has read."""


class Server:
    """Serves the shares of one machine."""

    def __init__(self, control: int, hypervisor: "Hypervisor", shares: "list[Share]", cpu_share: CpuShare | None = None) -> None:
        """cpu_share: what the guest may have this process do; None: as much as it likes."""
        self._control = control
        self._cpu_share = cpu_share
        self._events_paid = _EVENTS_KEPT
        self._rests = False
        self._hypervisor = hypervisor
        self._connections = [Connection(number, share) for number, share in enumerate(shares)]
        self._channels: dict[int, Channel] = {}
        """By port."""
        self._masked: list[int] = []
        self._again = os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK)
        self._poller = select.poll()
        for fd in (control, hypervisor.fd, self._again):
            if fd >= 0:
                self._poller.register(fd, select.POLLIN)
        self._turns = Turns(self._lead, lambda: os.eventfd_write(self._again, 1))

    def run(self) -> None:
        """Serve. Never returns; the process ends when the supervisor says so, or is gone."""
        self._turns.run()

    def _lead(self) -> None:
        try:
            self._look_everywhere()
            while True:
                self._wait()
        except Relieved:
            pass
        except RunxError as error:
            self._report(f"fault {error.message}")
            os._exit(1)
        except BaseException as error:
            self._report(f"fault {type(error).__name__}: {error}")
            os._exit(1)

    def _wait(self) -> None:
        """Wait for an order or an event, and attend to it."""
        ready = dict(self._poller.poll())
        if self._control in ready:
            self._obey()
        if self._again in ready:
            try:
                os.eventfd_read(self._again)
            except BlockingIOError:
                pass
            self._look_everywhere()
        if self._hypervisor.fd in ready:
            # A guest tells of each request, and again when it has read the answer. Its channels stay masked meanwhile.
            self._masked = self._hypervisor.events()
            answered = self._answer([self._channels[port] for port in self._masked if port in self._channels])
            if answered:
                self._events_paid = min(_EVENTS_KEPT, self._events_paid + answered)
            else:
                self._events_paid = max(0, self._events_paid - 1)
            self._charge(wasted=not answered and not self._events_paid)
            self._look_everywhere(self._masked)

    def _look_everywhere(self, ports: "list[int] | None" = None) -> None:
        """Unmask what is masked, and look at rings once more, so that no event is lost: all rings, or those of some ports."""
        if self._masked:
            bound = [port for port in self._masked if port in self._channels]
            self._masked = []
            if bound:
                self._hypervisor.unmask(bound)
        chosen = self._channels if ports is None else ports
        self._answer([self._channels[port] for port in chosen if port in self._channels])

    def _answer(self, channels: list[Channel]) -> int:
        """Answer what is in rings, until there is no more; how many requests that were."""
        before = self._turns.taken
        while channels:
            channels = [channel for channel in channels if self._answer_some(channel)]
            if channels:
                self._charge(wasted=False)  # a guest may write as fast as it is answered
        return self._turns.taken - before

    def _charge(self, *, wasted: bool) -> None:
        """Charge the guest for the processor time since the last call. Rest if it has caused more than its share, while its
        events are masked and orders are heeded."""
        if not self._cpu_share:
            return
        self._cpu_share.charge(1.0 if wasted else 0.0)
        if self._rests:
            return  # an order came meanwhile
        self._rests = True
        try:
            while until := self._cpu_share.rests_until():
                poller = select.poll()
                poller.register(self._control, select.POLLIN)
                if poller.poll(int(max(0.0, until - time.monotonic()) * 1000) + 1):
                    self._obey()
        finally:
            self._rests = False

    def _answer_some(self, channel: Channel) -> bool:
        if channel not in channel.connection.channels:
            return False  # closed meanwhile
        try:
            return self._turns.answer_all(channel)
        except RingError as error:
            self._close(channel.connection, str(error))
            return False

    # -- orders --------------------------------------------------------------------------------------------------------

    def _obey(self) -> None:
        words = os.read(self._control, MESSAGE_MAX).decode().split()
        match words:
            case ["domain", domid]:
                self._hypervisor.meet(int(domid))
            case ["connect", number, *values]:
                self._connect(self._connections[int(number)], list(map(int, values)))
            case ["close", number]:
                self._close(self._connections[int(number)], "")
            case ["offer", number, name, *rules]:
                self._connections[int(number)].share.offer(name.encode(), Rules.of_words(rules))
            case ["withdraw", number, name]:
                self._connections[int(number)].share.withdraw(name.encode())
            case ["changes", number, name, root, size]:
                self._take_changes(number, name, root, int(size))
            case ["sync", number, name]:
                changes = self._connections[int(number)].share.changes(name.encode())
                self._report(f"synced {number} {name} {changes.settled() if changes else f'0 0 {NOT_ALL}'}")
            case _:  # `end`, or the supervisor has gone
                for connection in self._connections:
                    self._let_go(connection)
                os._exit(0)

    def _take_changes(self, number: str, name: str, root: str, size: int) -> None:
        try:
            self._connections[int(number)].share.take_changes(name.encode(), root.encode(), size)
        except OSError as error:
            self._report(f"synced {number} {name} 0 0 the root filesystem cannot be opened: {reason(error)}")

    def _connect(self, connection: Connection, values: list[int]) -> None:
        self._let_go(connection)
        try:
            if not 2 <= len(values) <= 2 * RINGS_MAX:
                raise RingError(f"{len(values) // 2} rings are not 1 to {RINGS_MAX}")
            for reference, remote in zip(values[::2], values[1::2], strict=True):
                self._add(connection, self._hypervisor.map(reference), remote)
        except RingError as error:
            self._close(connection, str(error))
            return
        self._report(f"connected {connection.number}")
        self._look_everywhere()  # what came before a channel was bound

    def _add(self, connection: Connection, ring: "Ring", remote: int) -> None:
        try:
            port = self._hypervisor.bind(remote)
        except RingError:
            self._hypervisor.unmap(ring)
            raise
        channel = Channel(connection, ring, lambda: self._hypervisor.notify(port))
        self._channels[port] = channel
        connection.channels.append(channel)

    def _close(self, connection: Connection, reason: str) -> None:
        self._let_go(connection)
        self._report(f"closed {connection.number} {reason}")

    def _let_go(self, connection: Connection) -> None:
        """Forget the guest's client, and let go of its memory."""
        for port, channel in list(self._channels.items()):
            if channel.connection is connection:
                del self._channels[port]
                self._hypervisor.unbind(port)
        for ring in connection.close():
            self._hypervisor.unmap(ring)

    def _report(self, words: str) -> None:
        try:
            os.write(self._control, words.encode()[:MESSAGE_MAX])
        except OSError:
            pass  # the supervisor has gone, which the next look shows
