"""The server of the machine's 9p shares, as the supervisor has it: a child of its own, which it brings together with the guest.

The supervisor does what needs xenstore. The child (exec/ninep) has no access to that.
"""

import _socket
import gc
import os
import select
import time

from runx.errors import RunxError
from runx.exec.xen import share_nodes
from runx.linux.signals import signal

TYPE_CHECKING = False  # as typing's, which costs the supervisor memory
if TYPE_CHECKING:
    from collections.abc import Callable

    from runx.exec.container.record import Record
    from runx.exec.xen.xenstore import XenStore

_READY_LIMIT_S = 60.0
_END_LIMIT_S = 5.0
_MESSAGE_MAX = 4096
_SAID = 8
"""How many refusals are told in the log: a guest can ask again and again."""
_TOKEN = "share "
"""Begins the token of a watch; the share's number follows."""


class Shares:
    """The shares of a machine, as a part of the supervisor's loop. There may be none."""

    def __init__(self, record: "Record", store: "XenStore", file: str, tags: "list[str]", first: int = 0) -> None:
        """file: in the container's directory, has what is shared. tags: of the shares, in their order there. first: the number of
        the first one among the domain's devices."""
        self._record = record
        self._store = store
        self._file = file
        self._tags = tags
        self._first = first
        self._pid = -1
        self._control = -1
        self._states: list[str] = []
        """The state that our side of each share has."""
        self.on_synced: Callable[[str, str], None] | None = None
        """Hears what became of changes: the entry, and the words about it (Outcome.settle)."""
        self._refused = 0

    def start(self) -> None:
        """Start the server, if there is something to serve, and wait until it can. Raises RunxError.

        It is a fork: the earlier it is made, the more of its memory is this process's.
        """
        if not self._tags:
            return
        self.fork()
        words = self._hear(_READY_LIMIT_S)
        if words != "ready":
            self.close()
            message, _, hint = words.removeprefix("error ").partition("\n")
            raise RunxError(message or "the server of the shares does not answer", hint)

    def fork(self) -> None:
        """Start the server; its first report is `ready`, or an error. Raises OSError."""
        gc.freeze()  # a collection in either process would write to pages that are both's
        ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET)
        self._pid = os.fork()
        if self._pid == 0:
            self._become_server(theirs.fileno())
        theirs.close()
        self._control = ours.detach()

    def _become_server(self, control: int) -> None:
        """In the child."""
        gc.disable()
        try:
            from runx.exec.ninep import process

            directory = self._record.directory
            title = f"runx-shares {os.path.basename(directory)}"
            process.become(control, directory, self._file, title, self._record.cpu_percent)
        finally:
            os._exit(1)

    def _hear(self, limit_s: float) -> str:
        """The next report; nothing if there is none in time, or the server has gone."""
        poller = select.poll()
        poller.register(self._control, select.POLLIN)
        if not poller.poll(int(limit_s * 1000)):
            return ""
        return os.read(self._control, _MESSAGE_MAX).decode("utf-8", "replace")

    def publish(self, order: int = share_nodes.ORDER_MAX) -> None:
        """Offer the shares to the domain. order: see share_nodes.publish. Raises RunxError."""
        if not self._tags:
            return
        domid = self._record.domid
        self._tell(f"domain {domid}")
        for number, tag in enumerate(self._tags, self._first):
            share_nodes.publish(self._store, domid, number, tag, self._pid, order)
            self._states.append(share_nodes.INIT_WAIT)
            self._store.watch(f"{share_nodes.frontend(domid, number)}/state", f"{_TOKEN}{number}")

    def event(self, token: str) -> bool:
        """Whether this token of a watch is of a share; then the guest's side of it may have another state by now."""
        if not token.startswith(_TOKEN):
            return False
        number = int(token.removeprefix(_TOKEN)) - self._first
        if not 0 <= number < len(self._states):
            return False
        self._look_at_guest(number)
        return True

    def _frontend(self, number: int) -> str:
        return share_nodes.frontend(self._record.domid, self._first + number)

    def _look_at_guest(self, number: int) -> None:
        state = self._store.read(f"{self._frontend(number)}/state")
        ours = self._states[number]
        if ours == share_nodes.INIT_WAIT and state in (share_nodes.INITIALISED, share_nodes.CONNECTED):
            self._connect(number)
        elif ours in (share_nodes.INITIALISED, share_nodes.CONNECTED) and state in (share_nodes.CLOSING, share_nodes.CLOSED):
            self._tell(f"close {number}")
        elif ours == share_nodes.CLOSED and state == share_nodes.INITIALISING:
            self._set_state(number, share_nodes.INIT_WAIT)  # its driver begins again

    def _connect(self, number: int) -> None:
        try:
            words = [f"{self._number(number, name)}" for name in self._names(number)]
        except ValueError as error:
            self._refuse(number, str(error))
            return
        self._states[number] = share_nodes.INITIALISED  # until the server has answered
        self._tell(" ".join(("connect", str(number), *words)))

    def _names(self, number: int) -> list[str]:
        count = self._number(number, "num-rings")
        if not 1 <= count <= share_nodes.RINGS_MAX:
            raise ValueError(f"{count} rings are not 1 to {share_nodes.RINGS_MAX}")
        return [name for ring in range(count) for name in (f"ring-ref{ring}", f"event-channel-{ring}")]

    def _number(self, number: int, name: str) -> int:
        """A number of 32 bits that the guest wrote. Raises ValueError for anything else."""
        value = self._store.read(f"{self._frontend(number)}/{name}") or ""
        if not value.isascii() or not value.isdigit() or len(value) > 10 or int(value) > 0xFFFFFFFF:
            raise ValueError(f"the guest's driver wrote {name} = {value[:40]!r}")
        return int(value)

    def _closed(self, number: int, reason: str) -> None:
        if not reason:
            self._set_state(number, share_nodes.CLOSED)
        elif self._states[number] == share_nodes.CONNECTED:
            # The guest's requests in it have no answer, and who waits for one would wait for ever.
            raise RunxError(f"the share {self._tags[number]} is not served any more: {reason}")
        else:
            self._refuse(number, reason)
        self._look_at_guest(number)

    def _refuse(self, number: int, reason: str) -> None:
        """Say no to a driver whose share has not been used yet. It may begin again."""
        self._refused += 1
        if self._refused <= _SAID:
            more = "; further refusals are not told" if self._refused == _SAID else ""
            self._record.say("warning", f"the share {self._tags[number]} is not served: {reason}{more}")
        self._set_state(number, share_nodes.CLOSED)

    def _set_state(self, number: int, state: str) -> None:
        self._states[number] = state
        self._store.write(f"{share_nodes.backend(self._record.domid, self._first + number)}/state", state)

    # -- the loop ------------------------------------------------------------------------------------------------------

    def watch(self, poller: select.poll) -> None:
        if self._control >= 0:
            poller.register(self._control, select.POLLIN)

    def handle(self, ready: dict[int, int]) -> None:
        if self.is_ready(ready):
            self.heed(self.report())

    def report(self) -> str:
        """The next report of the server; "" if it has ended."""
        return os.read(self._control, _MESSAGE_MAX).decode("utf-8", "replace")

    def heed(self, words: str) -> None:
        """Act on a report. Raises RunxError if the server has ended, or does not serve a share any more since the guest broke a
        rule: without files, the container cannot go on."""
        kind, _, rest = words.partition(" ")
        number, _, reason = rest.partition(" ")
        if kind == "connected":
            self._set_state(int(number), share_nodes.CONNECTED)
        elif kind == "closed":
            self._closed(int(number), reason)
        elif kind == "synced" and self.on_synced:
            name, _, outcome = reason.partition(" ")
            self.on_synced(name, outcome)
        else:
            how = rest if kind in ("fault", "error") else self._how_it_ended()
            raise RunxError(f"the server of the container's shares has ended: {how.strip()}")

    @property
    def server(self) -> int:
        """The pid of the server; -1 if there is none."""
        return self._pid

    def offer(self, name: str, words: "list[str]") -> None:
        """Have an entry of the first share exist, with these rules (exports.Bind)."""
        self._tell(" ".join(("offer", "0", name, *words)))

    def withdraw(self, name: str) -> None:
        """Have an entry of the first share exist no more."""
        self._tell(f"withdraw 0 {name}")

    def take_changes(self, name: str, root: str, size: int) -> None:
        """Have an entry of the first share take what a container has written, at most so many bytes, for the root filesystem
        that is the entry `root`."""
        self._tell(f"changes 0 {name} {root} {size}")

    def sync(self, name: str) -> None:
        """Have the changes that the guest has sent to an entry of the first share written to the disk; the report is `synced`."""
        self._tell(f"sync 0 {name}")

    def is_ready(self, ready: "dict[int, int]") -> bool:
        """Whether there is a report."""
        return self._control in ready

    def _tell(self, words: str) -> None:
        try:
            os.write(self._control, words.encode())
        except OSError:
            pass  # it has ended, which `handle` sees

    # -- the end -------------------------------------------------------------------------------------------------------

    def _how_it_ended(self) -> str:
        deadline = time.monotonic() + _END_LIMIT_S
        while time.monotonic() < deadline:
            pid, status = os.waitpid(self._pid, os.WNOHANG)
            if pid:
                self._pid = -1
                code = os.waitstatus_to_exitcode(status)
                return f"signal {-code}" if code < 0 else f"exit status {code}"
            time.sleep(0.01)
        return "it does not answer"

    def close(self) -> None:
        """End the server: it lets go of the guest's memory first, without which the domain would not go away."""
        if self._control >= 0:
            self._tell("end")
        if self._pid > 0 and not self._has_ended(_END_LIMIT_S):
            os.kill(self._pid, signal.SIGKILL)
            if not self._has_ended(_END_LIMIT_S):
                self._record.say("warning", f"process {self._pid}, which served the shares, waits for a file system of the host")
        if self._control >= 0:
            os.close(self._control)
            self._control = -1
        self._pid = -1

    def _has_ended(self, limit_s: float) -> bool:
        pidfd = os.pidfd_open(self._pid)
        try:
            poller = select.poll()
            poller.register(pidfd, select.POLLIN)
            if not poller.poll(int(limit_s * 1000)):
                return False
        finally:
            os.close(pidfd)
        os.waitpid(self._pid, 0)
        return True
