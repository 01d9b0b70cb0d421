"""Supervises a container whose guest speaks the console link (docs/console-link.md)."""

import select
import time

from runx.errors import RunxError
from runx.exec.console import frames as link
from runx.exec.console.kernel_log import KernelConsole
from runx.exec.console.ring import PvConsole
from runx.exec.container.record import Record
from runx.exec.storage import small_files
from runx.exec.supervisor import dns
from runx.exec.supervisor.pending_signals import EarlySignals
from runx.exec.supervisor.supervisor import STATUS_BROKEN, STATUS_KILLED, Ended
from runx.exec.supervisor.vm import Machine
from runx.exec.xen import console_nodes
from runx.exec.xen.xenstore import XenStore

_SIGNAL_SIZE = len(link.frame(link.SIGNAL, b"\x01"))
_QUEUE_LIMIT = 64 * 1024
"""Bytes waiting for a guest that reads none, beyond which signals are refused."""
START_LIMIT_S = 60.0
"""How long a `start` waits for the process at most."""
_READS_AT_ONCE = 16
"""Times the ring is emptied for one event: a guest that writes fills it again meanwhile, and every event costs system calls."""


class Supervisor(Machine):
    """The supervisor of such a container."""

    def __init__(self, record: Record, store: XenStore, host_network: int) -> None:
        super().__init__(record, store, host_network)
        self.decoder = link.Decoder()
        self.to_guest = bytearray()
        self.greeted = False
        """The guest's PID 1 listens. Before that its tty may not be raw yet, so nothing is sent."""
        self.signals = EarlySignals()
        self.give_up_at: float | None = None
        """When to answer a `start` that waits for the process, whether it runs or not."""
        self.names: dns.Names | None = None
        """The engine's server of names, if it has one for this container."""

    def _publish(self) -> None:
        self.kernel_console = KernelConsole(self.store, self.record.domid, self.record.directory + "/console.log")
        self.console = PvConsole(self.store, self.record.domid)
        console_nodes.publish(self.store, self.record.domid)
        self.store.watch(self.console.frontend + "/state", "console")

    def _step(self, signals: int) -> None:
        outputs = tuple(self.outputs.values())
        has_room = len(self.to_guest) < link.PAYLOAD_LIMIT  # a guest may write and never read
        poller = select.poll()
        for out in outputs:
            out.watch(poller)
        if self.greeted and self.input.wants_read and has_room:
            poller.register(self.input.fd, select.POLLIN)
        of_names = self.names.fd if self.names and self.greeted and has_room else -1
        for fd in (self.store.fileno(), self.listener.fileno(), signals, self.console.fd, self.kernel_console.fd, of_names):
            if fd >= 0:
                poller.register(fd, select.POLLIN)
        ready = dict(poller.poll(self._timeout_ms()))

        if self.console.fd in ready:
            self.console.acknowledge()
            for _ in range(_READS_AT_ONCE):
                if not self._from_guest():
                    break
        for out in outputs:
            out.heed(ready.get(out.fd, 0))
            out.write_ready()
        if self.input.fd in ready:
            self.to_guest += self.input.read_some()
        if self.names and of_names in ready and (answer := self.names.answer()):
            self.to_guest += link.frame(link.ANSWER, answer)
        if self.kernel_console.fd in ready:
            self.kernel_console.read()
        self._attend(ready, signals)
        self._keep_time()
        if has_room:  # before the input has taken it, which may never end
            for out in outputs:
                self.to_guest += out.frames()
        if self.greeted and self.to_guest:
            del self.to_guest[: self.console.write(self.to_guest)]
        if self.status is not None and all(out.drained for out in outputs):
            raise Ended(self.status)

    def _from_guest(self) -> bool:
        """Take what is in the ring; False when it was empty."""
        data = self.console.read()
        if not data:
            return False
        for kind, payload in self.decoder.feed(data):
            if kind in self.outputs:
                self.outputs[kind].receive(payload)
            elif kind == link.CREDIT_IN:
                stream, size = link.parse_credit(payload)
                if stream != 0:
                    raise link.LinkError(f"credit for stream {stream}")
                self.input.credit(size)
            elif kind == link.STDIN_CLOSED:
                self.input.close()
            elif kind == link.QUESTION:
                if not self.names:
                    raise link.LinkError("a question for names, of which the guest has no server")
                self.names.ask(payload)
            elif kind == link.LOG:
                self.kernel_console.keep(payload)
            elif kind == link.HELLO:
                if not self.greeted and self.names:
                    self.to_guest += link.names(dns.ADDRESS)  # first: the process starts when the network is there
                if not self.greeted and self.record.takes_interfaces:
                    self.to_guest += link.network(self.network_script)
                self.greeted = True
                self.to_guest += self.input.greeting()
            elif kind == link.STARTED:
                self.signals.process_started(time.monotonic())
                self.give_up_at = None
                self._process_runs()
            elif kind == link.FATAL:
                self._say(payload[1:].decode("utf-8", "replace"))
                self.status = payload[0]
            elif kind == link.EXIT:
                self.status = payload[0]
        return True

    def _start(self) -> None:
        super()._start()
        self.signals.machine_started(time.monotonic())

    def _process_is_to_come(self) -> bool:
        self.give_up_at = time.monotonic() + START_LIMIT_S
        return True

    def _deliver(self, number: int) -> None:
        """Deliver a signal to the process, when that runs."""
        if len(self.to_guest) + len(self.signals) * _SIGNAL_SIZE > _QUEUE_LIMIT:
            raise RunxError("the guest takes no more signals", "it hangs; kill it with SIGKILL")
        self.signals.put(number, time.monotonic())

    def _deadlines(self) -> list[float]:
        return [*super()._deadlines(), *(at for at in (self.give_up_at, self.signals.next_at()) if at is not None)]

    def _keep_time(self) -> None:
        """Do what is due."""
        now = time.monotonic()
        for number in self.signals.take(now):
            self.to_guest += link.frame(link.SIGNAL, bytes((number,)))
        if self.give_up_at is not None and now >= self.give_up_at:
            self.give_up_at = None
            message = f"poststart hooks run, but the process does not yet, {START_LIMIT_S:.0f} s after the start"
            self.record.say("warning", message)
            self._process_runs()

    def _take_interfaces(self) -> None:
        """And what else an engine may have readied since the domain was made: files of its own, and a server of names."""
        super()._take_interfaces()
        takes = self.record.takes_interfaces
        for path, command in small_files.changed(self.record.directory):
            if takes and command:
                self.network_script = (self.network_script or b"set -e\n") + command
            else:
                message = f"{path} has changed since the container was created, which sees it as it was then"
                self.record.say("warning", message)
        self.names = dns.find() if takes else None

    def _resize(self) -> None:
        rows, columns = self.terminal_size()
        self.to_guest += link.frame(link.WINSIZE, rows.to_bytes(2, "little") + columns.to_bytes(2, "little"))

    def _event(self, token: str) -> None:
        if token == "console":
            self.console.try_connect()
        elif token == "kernel-console":
            self.kernel_console.try_open()

    def _domain_ended(self, how: str) -> None:
        """The domain ended. What it wrote last is still in the ring, which stays mapped until we let it go."""
        if how not in ("destroyed", "dying"):
            # The event that asks for it may still wait behind ours: all of a quick guest's life fits into one call of xl.
            self.console.try_connect()
        self._from_guest()
        if how == "destroyed":
            # Somebody's SIGKILL (or xl destroy). Nobody who asked for that waits for a reader that has stalled.
            self._write_what_does_not_block()
            raise Ended(STATUS_KILLED if self.status is None else self.status)
        if self.status is None:
            words = self.kernel_console.last_words()
            self._say(f"the virtual machine ended ({how}) before its process did; its console said last:\n{words}")
            self.status = STATUS_BROKEN

    def _write_what_does_not_block(self) -> None:
        for out in self.outputs.values():
            out.write_ready()

    def _close(self) -> None:
        self.console.close()
