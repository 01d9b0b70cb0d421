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
import traceback

from runx.exec.ninep import export_names
from runxtools.double import linux, place
from runxtools.ninep.frontend import Frontend, GuestClient

_PAGE, _DATA, _PORT = 100, 101, 100
"""Grants and event channel; from 100 on they are of shares (preload.c)."""
_LOCAL_PORT = 1
_PIECE = 61440
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
    """The driver of the guest's kernel."""

    def __init__(self, store: place.Store, directory: str, frontend: str, tree: str) -> None:
        """frontend: the nodes of this side. tree: an empty directory, which is what the guest mounts."""
        self._store = store
        self._directory, self._frontend, self._tree = directory, frontend, tree
        backend = store.read(f"{frontend}/backend") or ""
        self.watched = f"{backend}/state"
        """The node to watch; call `look` when it changes."""
        self._server = int(store.read(f"{backend}/server") or 0)
        self._pid = 0
        self._ring = _Ring(directory, int(store.read(f"{backend}/max-ring-page-order") or 0))
        os.mkfifo(f"{tree}/{export_names.CHANGES}", 0o600)
        for name, value in (("num-rings", "1"), ("ring-ref0", str(_PAGE)), ("event-channel-0", str(_PORT))):
            store.write(f"{frontend}/{name}", value)
        store.write(f"{frontend}/state", _INITIALISED)

    def look(self) -> None:
        """Let the guest have the share when the server is connected."""
        if self._pid or self._store.read(self.watched) != _CONNECTED:
            return
        self._store.write(f"{self._frontend}/state", _CONNECTED)
        fifo = os.open(f"{self._tree}/{export_names.CHANGES}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        listener = socket.socket(socket.AF_UNIX)
        listener.bind(f"{self._directory}/settle")
        listener.listen(8)
        self._pid = os.fork()
        if self._pid == 0:
            try:
                linux.end_with_parent()
                self._carry(fifo, listener)
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stderr.flush()
                os._exit(0)
        os.close(fifo)
        listener.close()
        os.symlink(self._tree, f"{self._directory}/tag-{export_names.LAYER_TAG}")  # the program `guest` looks for it

    def _carry(self, fifo: int, listener: socket.socket) -> None:
        """Send what the guest writes, until the host refuses it or its server ends."""
        with open(f"{self._directory}/channel-{_PORT}", encoding="ascii") as file:
            far, kick = map(int, file.read().split())
        self._ring.to_server = linux.descriptor_of(self._server, far)
        self._ring.from_server = linux.descriptor_of(self._server, kick)
        self._ring.server = os.pidfd_open(self._server)
        client = GuestClient(self._ring)
        client.version(65536)
        client.attach(0)
        changes, offset = client.open(export_names.CHANGES.encode(), flags=os.O_WRONLY), 0
        poller = select.poll()
        poller.register(fifo, select.POLLIN)
        poller.register(listener, select.POLLIN)
        poller.register(self._ring.server, select.POLLIN)
        while True:
            ready = dict(poller.poll())
            if ready.keys() - {fifo, listener.fileno()}:
                return
            connection = listener.accept()[0] if listener.fileno() in ready else None
            left = _waiting(fifo) if connection else _PIECE
            while left > 0 and (data := _read(fifo, min(left, _PIECE))):
                offset += client.write(changes, data, offset)
                left -= len(data)
            if connection:
                connection.close()
            elif fifo in ready and not ready[fifo] & select.POLLIN:
                poller.unregister(fifo)  # the guest has closed it

    def end(self) -> None:
        """End the process, and wait for that."""
        if self._pid > 0:
            os.kill(self._pid, signal.SIGKILL)
            os.waitpid(self._pid, 0)
            self._pid = -1


def _waiting(fifo: int) -> int:
    found = array.array("i", [0])
    fcntl.ioctl(fifo, termios.FIONREAD, found)
    return found[0]


def _read(fifo: int, size: int) -> bytes:
    try:
        return os.read(fifo, size)
    except BlockingIOError:
        return b""
