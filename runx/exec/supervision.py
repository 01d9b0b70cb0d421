"""The life of a container on the host, whatever its guest speaks: its streams, its domain, requests, its end.

One process a container does this; the two kinds of it are supervisor.py, whose guest speaks the console link, and
passthrough.py, whose guest is the container's own and is only listened to.
"""

import os
import select
import signal
import time
from collections.abc import Callable

from runx import log
from runx.errors import RunxError
from runx.exec import console_link as link
from runx.exec import control, domains, netns, relay, takeover, xl
from runx.exec.record import Record, start_time
from runx.exec.xenstore import XenStore

_FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT, signal.SIGUSR1, signal.SIGUSR2)
IGNORED_BY_DEFAULT = (signal.SIGCHLD, signal.SIGCONT, signal.SIGURG, signal.SIGWINCH)
STATUS_BROKEN = 255
_STALLED_S = 5
"""How long a message of ours waits for a reader of standard error; the log has it in any case."""
STATUS_KILLED = 128 + signal.SIGKILL
_LOOK_AGAIN_S = 1.0
"""After xenstored says that some domain ended: how long to wait before asking xl whether it is ours. One look answers for
all that end in that time."""


class Ended(Exception):
    """The container ended with this status; not an error."""

    def __init__(self, status: int) -> None:
        super().__init__(status)
        self.status = status


class Supervision:
    """The life of one container, from a compiled plan in its directory to its exit status.

    Kinds of it say how they meet the guest: `_publish`, `_step`, `_signal_guest`, `_resize`, `_event`, `_domain_ended`,
    `_close`.
    """

    def __init__(self, record: Record, store: XenStore, host_network: int) -> None:
        self.record = record
        self.store = store
        self.host_network = host_network
        """A descriptor of the host's network namespace. Ours is the container's."""
        self.first_interfaces = netns.interfaces()
        """What the kernel puts into every network namespace."""
        self.network_script = b""
        """What sets the guest's interfaces up; empty without any, and before `start`."""
        self._take_streams()
        self.loops: list[int] = []
        """Loop devices of its disks."""
        self.status: int | None = None
        """The container's exit status once it is known; the streams may still have to be drained."""
        self.look_at: float | None = None
        """When to ask xl whether the domain still lives."""

    def _take_streams(self) -> None:
        self.outputs = {link.STDOUT: relay.Output(1, 1), link.STDERR: relay.Output(2, 2)}
        self.input = relay.Input(0)

    # -- what kinds of guests differ in ------------------------------------------------------------------------------------

    def _publish(self) -> None:
        """Make the consoles ready for the guest, while its domain is paused."""
        raise NotImplementedError

    def _step(self, signals: int) -> None:
        """Wait for something to happen and deal with it. Raises Ended. signals: the descriptor that tells of signals."""
        raise NotImplementedError

    def _signal_guest(self, number: int) -> None:
        """Deliver a signal to a container that has been started. Raises RunxError when it is not taken, or Ended."""
        raise NotImplementedError

    def _resize(self) -> None:
        """Tell the guest the size of the terminal."""
        raise NotImplementedError

    def _event(self, token: str) -> None:
        """Something changed in xenstore that `_publish` asked to be told of."""
        raise NotImplementedError

    def _domain_ended(self, how: str) -> None:
        """The domain ended; `how` as xl.ended says it. Raises Ended unless there is something left to do."""
        raise NotImplementedError

    def _close(self) -> None:
        """Let go of the consoles."""
        raise NotImplementedError

    # -- before the container exists -----------------------------------------------------------------------------------

    def create(self, run_hooks: Callable[[], None] | None) -> None:
        """Create the domain, paused, with our console in it. Raises RunxError; nothing is left of the domain then.

        run_hooks: is called when all that a hook may look at is there, and the status still "creating".
        """
        record = self.record
        try:
            if record.network_namespace:
                netns.join(record.network_namespace, self.host_network)
            self.claim = netns.claim() if record.takes_interfaces else None
            devices, of_qemu = self._attach_disks()
            record.domid = domains.create(self.store, record.directory, record.domain, self.host_network, devices, of_qemu)
            if record.disks:
                from runx.exec import image

                image.forget(record.disks.split("\0"))
            self._publish()
            self.store.watch("@releaseDomain", "release")
            self.listener = control.listen(record.directory)
            if record.terminal:
                self._open_terminal()
            record.pid = os.getpid()
            record.pid_start = start_time(record.pid)
            if run_hooks:
                record.save()
                run_hooks()
            record.status = "created"
            record.save()
        except BaseException:
            domains.remove(self.store, record.domain, record.domid, self.host_network)
            raise

    def _attach_disks(self) -> tuple[list[str], list[int]]:
        """Lock the files of the disks, and make loop devices of those that the kernel serves: for each disk its device, "" for
        another, and descriptors for QEMU to hold."""
        devices: list[str] = []
        of_qemu: list[int] = []
        if self.record.disks:
            from runx.exec import image, loop

            for disk in self.record.disks.split("\0"):
                fd = image.lock(disk)
                if image.by_qemu(disk):
                    of_qemu.append(fd)
                    devices.append("")
                    continue
                device, path = loop.attach(fd, disk.startswith("ro "))
                os.close(fd)
                self.loops.append(device)
                devices.append(path)
        return devices, of_qemu

    def await_word(self, word: int) -> None:
        """Wait until something can be read from the descriptor `word`. Raises RunxError when it ends before, or the domain."""
        poller = select.poll()
        for fd in (word, self.store.fileno()):
            poller.register(fd, select.POLLIN)
        while True:
            if self.store.has_events or self.store.fileno() in (ready := dict(poller.poll())):
                try:
                    self._xenstore_events()
                except Ended:
                    raise RunxError("the container was destroyed while its hooks ran") from None
            elif word in ready:
                if os.read(word, 1):
                    return
                raise RunxError("a hook failed, or `create` was ended")

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
        status = STATUS_BROKEN
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

    def _attend(self, ready: dict[int, int], signals: int) -> None:
        """Deal with what is not the streams': requests, signals, xenstore."""
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

    def _timeout_ms(self) -> int | None:
        if self.store.has_events:  # they came with the answer to a request, so that no descriptor tells of them
            return 0
        if self.look_at is None:
            return None
        return max(0, int((self.look_at - time.monotonic()) * 1000)) + 1

    # -- requests and events -------------------------------------------------------------------------------------------

    def _serve(self, connection: int) -> None:
        poller = select.poll()
        poller.register(connection, select.POLLIN)
        word, _, argument = (control.receive(connection) if poller.poll(5000) else "").partition(" ")
        try:
            if word == "start":
                if self.record.status == "created":
                    self._take_interfaces()
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
        try:
            call(self.record.domid)
        except RunxError:
            if self.store.read(f"/local/domain/{self.record.domid}/vm") is None:
                raise RunxError("container not running") from None  # it was killed just now
            raise
        self.record.status = after
        self.record.save()

    def _take_interfaces(self) -> None:
        """Give the guest what the engine has put into the container's network namespace. Raises RunxError."""
        record = self.record
        found = sorted(netns.interfaces() - self.first_interfaces)
        if not found:
            return
        if not record.takes_interfaces:
            message = (
                f"the virtual machine does not get what is in the container's network namespace, {', '.join(found)}: "
                "its networks are those of NETCONF"
            )
            log.append(record.log, "warning", message, as_json=record.log_json == "1")
            return
        record.taken = " ".join(found)
        record.save()  # first: what is taken is to be let go, whatever happens
        self.network_script = takeover.take(record.domid, found, self.host_network)

    def _signal(self, number: int) -> None:
        """Deliver a signal. A container that was never started has no process: what would end one ends it, as it would end
        runc's waiting init."""
        if self.record.status != "created":
            self._signal_guest(number)
        elif number not in IGNORED_BY_DEFAULT:
            raise Ended(128 + number)

    def _xenstore_events(self) -> None:
        for _, token in self.store.events():
            if token != "release":
                self._event(token)
            elif self.store.read(f"/local/domain/{self.record.domid}/vm") is None:
                self._domain_ended("destroyed")
            elif self.look_at is None and self.record.status != "created":  # a paused domain cannot end by itself
                self.look_at = time.monotonic() + _LOOK_AGAIN_S

    def _look_whether_alive(self) -> None:
        self.look_at = None
        how = xl.ended(self.record.domid)
        if how:
            self._domain_ended(how)

    # -- the end -------------------------------------------------------------------------------------------------------

    def _finish(self, status: int) -> None:
        record = self.record
        try:
            self._close()
            domains.remove(self.store, record.domain, record.domid, self.host_network)
            record.domid = -1
            for device in self.loops:
                os.close(device)
            takeover.let_go(record.taken.split())
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
        if self.outputs[link.STDERR].open and self._stderr_has_room():
            try:
                os.write(2, text.encode("utf-8", "replace")[: select.PIPE_BUF])
            except OSError:
                pass

    def _stderr_has_room(self) -> bool:
        """Whether PIPE_BUF bytes will not block. A reader that has stalled must not keep the container from ending."""
        poller = select.poll()
        poller.register(2, select.POLLOUT)
        return bool(poller.poll(_STALLED_S * 1000))

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
