"""A guest that speaks the console link (docs/console-link.md): its consoles, and what it says."""

import select

from runx.exec.console import frames as link
from runx.exec.console.kernel_log import KernelConsole
from runx.exec.console.ring import PvConsole
from runx.exec.container import title
from runx.exec.storage import small_files
from runx.exec.supervisor import dns
from runx.exec.supervisor.boot import Boot, Devices
from runx.exec.supervisor.clock import GuestClock
from runx.exec.supervisor.killing import Killing
from runx.exec.supervisor.lifecycle import refuse
from runx.exec.supervisor.loop import Ended
from runx.exec.supervisor.session import STATUS_BROKEN, STATUS_NOT_WRITTEN_BACK, Session, Streams
from runx.exec.supervisor.space import LayerSpace, layer_of
from runx.exec.supervisor.to_guest import ToGuest
from runx.exec.xen import console_nodes
from runx.linux.signals import signal

TYPE_CHECKING = False  # as typing's, which costs the supervisor memory
if TYPE_CHECKING:
    from runx.exec.container.record import Record
    from runx.exec.supervisor.allowance import Allowance
    from runx.exec.supervisor.loop import Part
    from runx.exec.supervisor.network import Network
    from runx.exec.supervisor.sessions import Sessions
    from runx.exec.supervisor.write_back import WriteBack
    from runx.exec.xen.xenstore import XenStore

_READS_AT_ONCE = 16
"""How often the ring is emptied for one event: a guest that writes fills it again meanwhile, and events cost system calls."""


_LAST_TYPE = 0xFF
"""Kinds of frames above it are of other sessions than 0 (frames.kind_of)."""


def meet(record: "Record", store: "XenStore", session: Session, network: "Network", allowance: "Allowance") -> "GuestLink":
    """Make the consoles ready for the guest, while its domain is paused. Raises RunxError."""
    kernel_log = KernelConsole(store, record.domid, record.directory + "/console.log")
    console = PvConsole(store, record.domid)
    console_nodes.publish(store, record.domid)
    store.watch(console.frontend + "/state", "console")
    guest = GuestLink(record, session, network, console, kernel_log, allowance)
    devices = Devices(record, store, lambda: console.fd >= 0, kernel_log.last_words)
    guest.last_parts = (Boot(record, session, devices), *guest.last_parts)
    if record.writes_back:
        from runx.exec.supervisor.write_back import WriteBack  # containers that are read-only, or by 9p, have none

        guest.write_back = WriteBack(record, store, lambda: guest.to_guest.put(link.signal(signal.SIGKILL)))
        guest.last_parts = (guest.write_back, *guest.last_parts)
    return guest


def _sessions(record: "Record", container: Session, to_guest: ToGuest) -> "Sessions | None":
    """Further processes, for a container that allows exec."""
    if not record.exec and not record.is_pod:
        return None
    from runx.exec.supervisor.sessions import Sessions  # few containers do

    return Sessions(container, to_guest, record.say)


class GuestLink:
    """The guest at the other end of the link. As a part of the loop it takes the guest's frames and gives each to its owner."""

    def __init__(
        self,
        record: "Record",
        session: Session,
        network: "Network",
        console: PvConsole,
        kernel_log: KernelConsole,
        allowance: "Allowance",
    ) -> None:
        self._record = record
        self._session = session
        """Session 0."""
        self._network = network
        self._console = console
        self._kernel_log = kernel_log
        self._allowance = allowance
        self._frames = 0
        """Taken in this turn."""
        self._given = 0
        """Bytes that the ring had taken when the guest was heard last."""
        self.write_back: WriteBack | None = None
        """Takes what the container has written, at its end; None without a layer that the host is to have."""
        self._decoder = link.Decoder(sessions=record.exec or record.is_pod)
        self._script = b""
        """Sets the guest's network up; empty before `start`."""
        self.to_guest = ToGuest(console, session)
        self._dns = dns.Relay(self.to_guest)
        self.sessions = _sessions(record, session, self.to_guest)
        """Others than session 0; None unless the container allows exec, or is the machine of a pod."""
        self.first_parts: tuple[Part, ...] = (self, Streams(session, self.to_guest), self._dns, kernel_log)
        if self.sessions:
            self.first_parts = (*self.first_parts, self.sessions)
        layer = layer_of(record.disks)
        self._space = LayerSpace(record, layer, self.to_guest) if layer else None
        self._killing = Killing(session, self.to_guest, (record.kill_answer_s, record.kill_end_s), record.say)
        self._clock = GuestClock(self.to_guest, record.say) if record.sync_clock else None
        others: tuple[Part | None, ...] = (self._space, self._clock)
        self.last_parts: tuple[Part, ...] = (*(part for part in others if part), self.to_guest, self._killing)

    # -- before the guest runs -----------------------------------------------------------------------------------------

    def prepare(self) -> None:
        """Collect what an engine may have readied beside interfaces since the domain was made: files of its own, and a DNS
        server. Raises RunxError."""
        takes = self._record.takes_interfaces
        self._script = self._network.script
        for path, command in small_files.changed(self._record.directory):
            if takes and command:
                self._script = (self._script or b"set -e\n") + command
            else:
                message = f"{path} has changed since the container was created, which sees it as it was then"
                self._record.say("warning", message)
        if takes:
            self._dns.find()

    def machine_started(self) -> None:
        """The guest boots from now on."""
        if self.write_back:
            self._record.say("info", "what the container writes is in its root filesystem on the host when it has ended")
        self._session.signals.machine_started()

    def machine_resumed(self) -> None:
        """The guest runs again."""
        if self._clock:
            self._clock.ask()

    def event(self, token: str) -> None:
        """Something changed in xenstore that a console asked to be told of."""
        if token == "console":
            self._console.try_connect()
        elif token == "kernel-console":
            self._kernel_log.try_open()
        elif self.write_back:
            self.write_back.event(token)

    # -- what the guest says -------------------------------------------------------------------------------------------

    @property
    def held(self) -> int:
        """Bytes of a frame whose end has not come yet."""
        return self._decoder.held

    def watch(self, poller: select.poll) -> float | None:
        if self._console.fd < 0:
            return None
        if rests_until := self._allowance.rests_until():
            return rests_until  # its events stay masked
        poller.register(self._console.fd, select.POLLIN)
        return None

    def handle(self, ready: dict[int, int]) -> None:
        if self._console.fd in ready:
            self._console.acknowledge()
            size, self._frames = self.to_guest.taken - self._given, 0
            self._given = self.to_guest.taken
            for _ in range(_READS_AT_ONCE):
                taken = self._receive()
                if not taken:
                    break
                size += taken
            self._allowance.moved(size, self._frames)

    def _receive(self) -> int:
        """Take what is in the ring; how many bytes that was. Raises LinkError if the guest broke a rule of the link."""
        data = self._console.read()
        if not data:
            return 0
        session = self._session
        for kind, payload in self._decoder.feed(data):
            self._frames += 1
            if kind > _LAST_TYPE:
                if self.sessions:
                    self.sessions.hear(kind >> 8, kind & _LAST_TYPE, payload)
            elif kind in session.outputs:
                session.outputs[kind].receive(payload)
            elif kind == link.CREDIT_IN:
                stream, size = link.parse_credit(payload)
                if stream != 0:
                    raise link.LinkError(f"credit for stream {stream}")
                session.input.credit(size)
            elif kind == link.STDIN_CLOSED:
                session.input.close()
            elif kind == link.QUESTION:
                self._dns.ask(payload)
            elif kind == link.LOG:
                self._kernel_log.keep(payload)
            elif kind == link.HELLO:
                self._greet()
            elif kind == link.STARTED:
                session.process_started()
                if self._record.exec:
                    title.show_container(self._record.directory)
            elif kind == link.FATAL:
                session.say(payload[1:].decode("utf-8", "replace"))
                session.status = payload[0]
            elif kind == link.ENDING:
                session.ending = payload[0]
            elif kind == link.EXIT:
                session.status = payload[0]
            elif kind == link.TIME:
                self._hear_time(payload)
            elif kind in (link.LAYER, link.WRITTEN_BACK):
                self._write_back(kind, payload)
        return len(data)

    def _hear_time(self, payload: bytes) -> None:
        if not self._clock:
            raise link.LinkError("the time, which was not asked for")
        self._clock.heard(link.parse_time(payload))

    def _write_back(self, kind: int, payload: bytes) -> None:
        if not self.write_back or self._session.ending is None:
            raise link.LinkError("a layer that is not written back")
        if kind == link.LAYER:
            self.write_back.ask()
        else:
            self.write_back.written(payload)

    def _greet(self) -> None:
        """Queue what the guest needs before its process can start."""
        if not self.to_guest.greeted:
            self._dns.announce()  # first: the process starts when the network is there
            if self._record.takes_interfaces:
                self.to_guest.put(link.network(self._script))
        self.to_guest.greeted = True
        self.to_guest.put(self._session.input.greeting())

    # -- signals -------------------------------------------------------------------------------------------------------

    def deliver(self, number: int) -> None:
        """Queue a signal for the process; have the guest end the container if it is KILL. Raises RunxError if it is not taken, or
        Ended."""
        if number == signal.SIGKILL:
            self._killing.ask()
        else:
            self._session.signals.put(number)

    def execute(self, connection: int, fds: list[int]) -> None:
        """Start a further process (Sessions.begin). Raises RunxError."""
        if self.sessions and self._record.exec:
            self.sessions.begin(connection, fds)
        else:
            refuse(connection, fds)

    # -- the end -------------------------------------------------------------------------------------------------------

    def domain_ended(self, how: str) -> None:
        """Take what the guest wrote last: it is still in the ring, which stays mapped until `close`.

        how: as xl.ended says it. Raises Ended unless there is output left to be written.
        """
        session = self._session
        if how not in ("destroyed", "dying"):
            # The event that asks for this may still wait behind ours: all of a quick guest's life fits into one call of xl.
            self._console.try_connect()
        self._receive()
        if how == "destroyed":
            # By somebody's SIGKILL or xl destroy, who does not wait for a reader that has stalled.
            session.write_ready()
            raise Ended(session.status_if_destroyed)
        if session.status is None and self._killing.is_under_way:
            self._record.say("warning", f"the virtual machine ended ({how}) before it had written its file systems")
            raise Ended(session.status_if_destroyed)
        if session.status is None:
            words = self._kernel_log.last_words()
            session.say(f"the virtual machine ended ({how}) before its process did; its console said last:\n{words}")
            session.status = STATUS_BROKEN

    def finished(self) -> int | None:
        """The container's exit status once the process has ended and its output has been written."""
        session = self._session
        if session.status is None or not session.drained or (self.write_back and self.write_back.is_pending):
            return None
        if session.status == 0 and self.write_back and self.write_back.has_failed and not self._killing.is_under_way:
            return STATUS_NOT_WRITTEN_BACK
        return session.status

    def close(self) -> None:
        """Let go of the consoles. Raises RunxError."""
        if self.sessions:
            self.sessions.close()
        if self._space:
            self._space.close()
        if self.write_back:
            self.write_back.close()
        self._kernel_log.close()
        self._console.close()

    def domain_removed(self) -> None:
        """Nothing of the domain is left."""
        if self.write_back:
            self.write_back.drop_layer()
