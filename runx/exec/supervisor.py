"""The supervisor: one small process a container. It owns the console, and it ends with the container's status.

Started by `create` with two arguments: the container's directory and the number of a pipe on which to report. Engines wait
for this process (its pid is the container's) and read its exit status, so it keeps to the standard library's smallest
modules: about 12 MiB.
"""

import os
import select
import signal
import sys
import time
from collections.abc import Callable

from runx import log
from runx.errors import RunxError
from runx.exec import console_link as link
from runx.exec import control, domains, relay, xl
from runx.exec.kernel_console import KernelConsole
from runx.exec.pv_console import PvConsole
from runx.exec.record import Record, start_time
from runx.exec.record import load as load_record
from runx.exec.xenstore import XenStore

_FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
_IGNORED_BY_DEFAULT = (signal.SIGCHLD, signal.SIGCONT, signal.SIGURG, signal.SIGWINCH)
_STATUS_BROKEN = 255
_STATUS_KILLED = 128 + signal.SIGKILL
_QUEUE_LIMIT = 64 * 1024
"""Bytes waiting for a guest that reads none, beyond which signals are refused."""
_READS_AT_ONCE = 16
"""Times the ring is emptied for one event: a guest that writes fills it again meanwhile, and every event costs system calls."""
_LOOK_AGAIN_S = 1.0
"""After xenstored says that some domain ended: how long to wait before asking xl whether it is ours. One look answers for
all that end in that time."""


class Ended(Exception):
    """The container ended with this status; not an error."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class Supervisor:
    """The life of one container, from a compiled plan in its directory to its exit status."""

    def __init__(self, record: Record, store: XenStore) -> None:
        self.record = record
        self.store = store
        self._take_streams()
        self.decoder = link.Decoder()
        self.to_guest = bytearray()
        self.status: int | None = None
        """The exit status the guest reported; the streams may still have to be drained."""
        self.greeted = False
        """The guest's PID 1 listens. Before that its tty may not be raw yet, so nothing is sent."""
        self.look_at: float | None = None
        """When to ask xl whether the domain still lives."""

    def _take_streams(self) -> None:
        self.outputs = {link.STDOUT: relay.Output(1, 1), link.STDERR: relay.Output(2, 2)}
        self.input = relay.Input(0)

    # -- before the container exists -----------------------------------------------------------------------------------

    def create(self) -> None:
        """Create the domain, paused, with our console in it. Raises RunxError; nothing is left of the domain then."""
        record = self.record
        try:
            record.domid = domains.create(self.store, record.directory, record.domain)
            self.kernel_console = KernelConsole(self.store, record.domid, record.directory + "/console.log")
            self.console = PvConsole(self.store, record.domid)
            self.console.publish()
            self.store.watch(self.console.frontend + "/state", "console")
            self.store.watch("@releaseDomain", "release")
            self.listener = control.listen(record.directory)
            if record.terminal:
                self._open_terminal()
            record.pid = os.getpid()
            record.pid_start = start_time(record.pid)
            record.status = "created"
            record.save()
        except BaseException:
            domains.remove(self.store, record.domain, record.domid)
            raise

    def _open_terminal(self) -> None:
        from runx.exec import terminal

        # That the engine closes the master is seen by poll, and becomes a hang-up of the guest's terminal.
        signal.signal(signal.SIGHUP, signal.SIG_IGN)
        rows, columns = map(int, self.record.terminal.split())
        terminal.open_terminal(self.record.console_socket, rows, columns)
        self.terminal_size = terminal.size
        self._take_streams()

    # -- the loop ------------------------------------------------------------------------------------------------------

    def supervise(self) -> int:
        """Relay until the container has ended; its exit status. The domain is gone when this returns."""
        signals = self._catch_signals()
        status = _STATUS_BROKEN
        try:
            while True:
                self._step(signals)
        except Ended as end:
            status = end.status
        except RunxError as error:
            self._say(f"the container is ended: {error.message}")
        except Exception as error:  # a fault of ours must not leave a domain, nor look like the container's own status
            self._say(f"internal error, the container is ended: {type(error).__name__}: {error}")
        finally:
            self._finish(status)
        return status

    def _step(self, signals: int) -> None:
        outputs = tuple(self.outputs.values())
        poller = select.poll()
        for out in outputs:
            if out.open:  # with nothing to write it is still watched for its reader's end, which poll always reports
                poller.register(out.fd, select.POLLOUT if out.wants_write else 0)
        if self.greeted and self.input.wants_read and len(self.to_guest) < link.PAYLOAD_LIMIT:
            poller.register(self.input.fd, select.POLLIN)
        for fd in (self.store.fileno(), self.listener.fileno(), signals, self.console.fd, self.kernel_console.fd):
            if fd >= 0:
                poller.register(fd, select.POLLIN)
        ready = dict(poller.poll(self._timeout_ms()))

        if self.console.fd in ready:
            self.console.acknowledge()
            for _ in range(_READS_AT_ONCE):
                if not self._from_guest():
                    break
        for out in outputs:
            events = ready.get(out.fd, 0)
            if events & ~select.POLLOUT and not events & select.POLLOUT:
                out.hang_up()
            else:
                out.write_ready()
        if self.input.fd in ready:
            self.to_guest += self.input.read_some()
        if self.kernel_console.fd in ready:
            self.kernel_console.read()
        if self.listener.fileno() in ready:
            self._serve(control.accept(self.listener))
        if signals in ready:
            for number in os.read(signals, 64):
                if number == signal.SIGWINCH:
                    self._resize()
                else:
                    self._signal(number)
        if self.store.fileno() in ready or self.store.has_events:
            self._xenstore_events()
        if self.look_at is not None and time.monotonic() >= self.look_at:
            self._look_whether_alive()
        for out in outputs:
            self.to_guest += out.frames()
        if self.greeted and self.to_guest:
            del self.to_guest[: self.console.write(self.to_guest)]
        if self.status is not None and all(out.drained for out in outputs):
            raise Ended(self.status)

    def _timeout_ms(self) -> int | None:
        if self.look_at is None:
            return None
        return max(0, int((self.look_at - time.monotonic()) * 1000)) + 1

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
            elif kind == link.LOG:
                self.kernel_console.keep(payload)
            elif kind == link.HELLO:
                self.greeted = True
                self.to_guest += self.input.greeting()
            elif kind == link.FATAL:
                self._say(payload[1:].decode("utf-8", "replace"))
                self.status = payload[0]
            elif kind == link.EXIT:
                self.status = payload[0]
        return True

    # -- requests and events -------------------------------------------------------------------------------------------

    def _serve(self, connection: int) -> None:
        poller = select.poll()
        poller.register(connection, select.POLLIN)
        word, _, argument = (control.receive(connection) if poller.poll(5000) else "").partition(" ")
        try:
            if word == "start":
                self._move("created", "running", xl.unpause)
            elif word == "pause":
                self._move("running", "paused", xl.pause)
            elif word == "resume":
                self._move("paused", "running", xl.unpause)
            elif word == "signal" and argument.isdigit():
                self._signal(int(argument))
            else:
                raise RunxError(f"no such request: {word}")
        except RunxError as error:
            control.answer(connection, error.message + (f" ({error.hint})" if error.hint else ""))
        except Ended:
            control.answer(connection)
            raise
        else:
            control.answer(connection)

    def _move(self, before: str, after: str, call: Callable[[int], None]) -> None:
        """Move from one status to another by a call of xl; the record says so once xl has succeeded."""
        if self.record.status != before:
            raise RunxError(f"cannot {'start' if before == 'created' else 'move'} a container in the {self.record.status} state")
        call(self.record.domid)
        self.record.status = after
        self.record.save()

    def _signal(self, number: int) -> None:
        """Deliver a signal to the process; it waits in the link until the process has started.

        A container that was never started has no process: what would end one ends it, as it would end runc's waiting init.
        """
        if self.record.status == "created":
            if number not in _IGNORED_BY_DEFAULT:
                raise Ended(128 + number)
            return
        if len(self.to_guest) > _QUEUE_LIMIT:
            raise RunxError("the guest takes no more signals", "it hangs; kill it with SIGKILL")
        self.to_guest += link.frame(link.SIGNAL, bytes((number,)))

    def _resize(self) -> None:
        rows, columns = self.terminal_size()
        self.to_guest += link.frame(link.WINSIZE, rows.to_bytes(2, "little") + columns.to_bytes(2, "little"))

    def _xenstore_events(self) -> None:
        for _, token in self.store.events():
            if token == "console":
                self.console.try_connect()
            elif token == "kernel-console":
                self.kernel_console.try_open()
            elif token == "release":
                if self.store.read(f"/local/domain/{self.record.domid}/vm") is None:
                    self._domain_ended("destroyed")
                elif self.look_at is None and self.record.status != "created":  # a paused domain cannot end by itself
                    self.look_at = time.monotonic() + _LOOK_AGAIN_S

    def _look_whether_alive(self) -> None:
        self.look_at = None
        how = xl.ended(self.record.domid)
        if how:
            self._domain_ended(how)

    def _domain_ended(self, how: str) -> None:
        """The domain ended. What it wrote last is still in the ring, which stays mapped until we let it go."""
        self._from_guest()
        if how == "destroyed":
            # Somebody's SIGKILL (or xl destroy). Nobody who asked for that waits for a reader that has stalled.
            self._write_what_does_not_block()
            raise Ended(_STATUS_KILLED if self.status is None else self.status)
        if self.status is None:
            words = self.kernel_console.last_words()
            self._say(f"the virtual machine ended ({how}) before its process did; its console said last:\n{words}")
            self.status = _STATUS_BROKEN

    def _write_what_does_not_block(self) -> None:
        for out in self.outputs.values():
            out.write_ready()

    # -- the end -------------------------------------------------------------------------------------------------------

    def _finish(self, status: int) -> None:
        record = self.record
        try:
            self.console.close()
            domains.remove(self.store, record.domain, record.domid)
            record.domid = -1
        except RunxError as error:
            self._say(f"cleaning up: {error.message}")
        record.status = "stopped"
        record.exit_status = str(status)
        try:
            record.save()
        except OSError:
            pass  # `delete --force` was quicker

    def _say(self, message: str) -> None:
        """Tell the user, on the container's standard error and in the log."""
        text = f"runx: {message.rstrip()}\n"
        log.append(self.record.log, "error", message.rstrip(), as_json=self.record.log_json == "1")
        if self.outputs[link.STDERR].open:
            try:
                os.write(2, text.encode("utf-8", "replace"))
            except OSError:
                pass

    def _catch_signals(self) -> int:
        read_end, write_end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
        terminal = bool(self.record.terminal)
        for number in _FORWARDED:
            if not (terminal and number == signal.SIGHUP):
                signal.signal(number, lambda *_: None)
        if terminal:
            signal.signal(signal.SIGWINCH, lambda *_: None)
            self._resize()  # what the engine set before we listened
        return read_end


def _connect() -> XenStore:
    try:
        return XenStore()
    except RunxError:
        xl.check_host()  # its words say more: no xl, no Xen, or xenstored alone is missing
        raise


def main() -> int:
    """Entry point; returns the exit status of the process."""
    directory, report_fd = sys.argv[1], int(sys.argv[2])
    os.set_inheritable(report_fd, False)  # the domain's QEMU would keep it open, and `create` waits for its end
    root, _, container_id = directory.rpartition("/")
    try:
        supervisor = Supervisor(load_record(root, container_id), _connect())
        supervisor.create()
    except RunxError as error:
        os.write(report_fd, f"error {error.message}\nhint {error.hint}\n".encode())
        return 1
    os.write(report_fd, b"created\n")
    os.close(report_fd)
    return supervisor.supervise()
