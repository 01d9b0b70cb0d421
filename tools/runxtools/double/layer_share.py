"""The guest's client of the share `layer`, to which a container's changes go when it ends (docs/executor.md, "Shares").

Other shares are trees of the host here. What a guest writes to this one are records, which only the server understands. So there
is a real ring, whose pages are files of the domain's directory, and a process that sends messages of 9P through it: what the
guest writes to a fifo. `guest` asks that process to settle before it passes on what the guest says on the console.
"""

import array
import fcntl
import mmap
import os
import select
import signal
import socket
import struct
import sys
import termios
import time
import traceback

from runx.exec.ninep import export_names
from runxtools.double import linux, place
from runxtools.ninep.frontend import Frontend, GuestClient

_PAGE, _DATA, _PORT = 100, 101, 100
"""Grants and event channel; from 100 on they are of shares (preload.c)."""
_LOCAL_PORT = 1
_PIECE = 61440
_RETRY_S = 0.005
_OFFER_LIMIT_S = 2.0
"""How long the guest's next words wait for the host to offer the file that they are about."""
_INITIALISED, _CONNECTED = "3", "4"  # enum xenbus_state


class _Ring(Frontend):
    """The ring, whose server masks an event channel until it has looked."""

    def __init__(self, directory: str, order: int) -> None:
        super().__init__(_DATA, order, (_file(directory, _PAGE, 1), _file(directory, _DATA, 1 << order)))
        for number in range(1 << order):
            self.words[33 + number] = _DATA + number
        self._masked = self._pending = False
        self.server = -1
        """The process that serves it, as a pidfd."""

    def kick(self) -> None:
        self._pending = True
        self._notify()

    def _notify(self) -> None:
        while select.select([self.to_server], [], [], 0)[0]:
            if not os.read(self.to_server, 4096):
                raise OSError("the server of the share has ended")
            self._masked = False
        if self._pending and not self._masked:
            self._pending, self._masked = False, True
            os.write(self.to_server, struct.pack("=I", _LOCAL_PORT))

    def wait(self, limit_s: float) -> None:
        ready, _, _ = select.select([self.from_server, self.to_server, self.server], [], [], limit_s)
        if self.server in ready:
            raise OSError("the server of the share has ended")
        if self.from_server in ready:
            os.read(self.from_server, 8)
        self._notify()


def _file(directory: str, reference: int, pages: int) -> mmap.mmap:
    fd = os.open(f"{directory}/grant-{reference}", os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        os.truncate(fd, pages * 4096)
        return mmap.mmap(fd, pages * 4096)
    finally:
        os.close(fd)


class LayerShare:
    """The driver of the guest's kernel for the share `layer`, or for what takes changes in the share of a pod."""

    def __init__(self, store: place.Store, directory: str, frontend: str, tree: str, *, is_pod: bool = False) -> None:
        """frontend: the nodes of this side. tree: what the guest mounts: an empty directory, or the tree of the pod's share."""
        self._store = store
        self._directory, self._frontend, self._tree = directory, frontend, tree
        self._is_pod = is_pod
        backend = store.read(f"{frontend}/backend") or ""
        self.watched = f"{backend}/state"
        """The node to watch; call `look` when it changes."""
        self._server = int(store.read(f"{backend}/server") or 0)
        self._pid = 0
        self._ring = _Ring(directory, int(store.read(f"{backend}/max-ring-page-order") or 0))
        if is_pod:
            self._fifos = {number: _fifo_of_pod(directory, tree, number) for number in range(1, export_names.LAYERS + 1)}
        else:
            os.mkfifo(f"{tree}/{export_names.CHANGES}", 0o600)
        for name, value in (("num-rings", "1"), ("ring-ref0", str(_PAGE)), ("event-channel-0", str(_PORT))):
            store.write(f"{frontend}/{name}", value)
        store.write(f"{frontend}/state", _INITIALISED)

    def look(self) -> None:
        """Let the guest have the share when the server is connected."""
        if self._pid or self._store.read(self.watched) != _CONNECTED:
            return
        self._store.write(f"{self._frontend}/state", _CONNECTED)
        fifos = self._fifos if self._is_pod else {0: f"{self._tree}/{export_names.CHANGES}"}
        names = {path: (export_names.changes_of(number) if number else export_names.CHANGES) for number, path in fifos.items()}
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(f"{self._directory}/settle")
        listener.listen(8)
        self._pid = os.fork()
        if self._pid == 0:
            try:
                linux.end_with_parent()
                self._carry([_Fifo(path, name) for path, name in names.items()], listener)
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(0)
        listener.close()
        if not self._is_pod:
            os.symlink(self._tree, f"{self._directory}/tag-{export_names.LAYER_TAG}")  # the program `guest` looks for it

    def _carry(self, fifos: "list[_Fifo]", listener: socket.socket) -> None:
        """Send what the guest writes, until the server ends."""
        with open(f"{self._directory}/channel-{_PORT}", encoding="ascii") as file:
            far, kick = map(int, file.read().split())
        self._ring.to_server = linux.descriptor_of(self._server, far)
        self._ring.from_server = linux.descriptor_of(self._server, kick)
        self._ring.server = server = os.pidfd_open(self._server)
        client = GuestClient(self._ring)
        client.version(65536)
        client.attach(0)
        while True:
            poller = select.poll()
            for fd in (listener.fileno(), server, *(fifo.fd for fifo in fifos if fifo.fd >= 0)):
                poller.register(fd, select.POLLIN)
            later = [fifo.look_at for fifo in fifos if fifo.look_at]
            ready = dict(poller.poll(max(0.0, min(later) - time.monotonic()) * 1000 if later else None))
            if server in ready:
                return
            connection = listener.accept()[0] if listener.fileno() in ready else None
            for fifo in fifos:
                if connection or fifo.fd in ready or fifo.look_at:
                    fifo.carry(client, ready.get(fifo.fd, 0), settle=connection is not None)
            if connection:
                connection.close()

    def end(self) -> None:
        """End the process, and wait for that."""
        if self._pid > 0:
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
            self._pid = -1


class _Fifo:
    """What stands in the guest for a file that takes changes."""

    def __init__(self, path: str, name: str) -> None:
        """name: of the file in the share."""
        self._path, self._name = path, name
        self._fid: int | None = None
        self._offset = 0
        self.look_at = 0.0
        """When to go on, by time.monotonic(); 0.0: when the guest writes."""
        self._open()

    def _open(self) -> None:
        self.fd = os.open(self._path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        self._fid, self._offset, self.look_at = None, 0, 0.0

    def carry(self, client: GuestClient, events: int, *, settle: bool) -> None:
        """Send what the guest has written: all of it by now, if it is to settle; else a piece."""
        if self.look_at > time.monotonic() and not settle:
            return
        if self.fd < 0:
            self._open()
            return
        left = _waiting(self.fd)
        if not left and events & select.POLLHUP:  # a later writer begins anew
            if self._fid is not None:
                client.clunk(self._fid)
            os.close(self.fd)
            self._open()
            return
        try:
            while left > 0:
                if self._fid is None and not self._open_file(client, _OFFER_LIMIT_S if settle else 0.0):
                    return
                assert self._fid is not None
                data = _read(self.fd, min(left, _PIECE))
                self._offset += client.write(self._fid, data, self._offset)
                left = left - len(data) if settle else 0
        except OSError:
            os.close(self.fd)  # the writer gets EPIPE
            self.fd, self.look_at = -1, time.monotonic() + 100 * _RETRY_S

    def _open_file(self, client: GuestClient, limit_s: float) -> bool:
        """Whether the host offers it, within so many seconds."""
        deadline = time.monotonic() + limit_s
        while True:
            try:
                self._fid, self.look_at = client.open(self._name.encode(), flags=os.O_WRONLY), 0.0
                return True
            except FileNotFoundError:
                self.look_at = time.monotonic() + _RETRY_S
            if self.look_at > deadline:
                return False
            time.sleep(_RETRY_S)


def _fifo_of_pod(directory: str, tree: str, number: int) -> str:
    """A fifo in place of a file that takes changes, in the guest's tree of the share of a pod."""
    path = f"{directory}/changes-{number}"
    os.mkfifo(path, 0o600)
    linux.mount(path, f"{tree}/{export_names.changes_of(number)}", flags=linux.MS_BIND)
    return path


def _waiting(fifo: int) -> int:
    found = array.array("i", [0])
    fcntl.ioctl(fifo, termios.FIONREAD, found)
    return found[0]


def _read(fifo: int, size: int) -> bytes:
    try:
        return os.read(fifo, size)
    except BlockingIOError:
        return b""
