"""A Xen that is not there: a no-cost `xl` and a xenstored, for tests and benchmarks of runx's own work.

`FakeXen(directory)` is a context manager; put its `environment()` around runx. Domains exist as bookkeeping only: no guest
ever runs, so nothing connects to the console. What a guest does is tested against real ones in the lab.
"""

import os
import selectors
import shutil
import socket
import struct
import threading
from pathlib import Path

_HEADER = struct.Struct("<IIII")
_DIRECTORY, _READ, _WATCH, _WRITE, _RM, _SET_PERMS, _WATCH_EVENT, _ERROR = 1, 2, 4, 11, 13, 14, 15, 16


class FakeXen:
    """Serves xenstore's protocol on a unix socket from a thread until left."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        for name in ("bin", "domains", "faults"):
            (directory / name).mkdir(parents=True)
        shutil.copy(Path(__file__).with_name("xl"), directory / "bin" / "xl")
        os.mkfifo(directory / "requests")
        self._requests = os.open(directory / "requests", os.O_RDWR | os.O_NONBLOCK)
        self.nodes: dict[str, bytes] = {}
        self.permissions: dict[str, list[str]] = {}
        self._watches: list[tuple[socket.socket, str, str]] = []
        self._stop_read, self._stop_write = os.pipe()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(self.socket_path))
        self._listener.listen(64)
        self._thread = threading.Thread(target=self._serve, daemon=True)

    @property
    def socket_path(self) -> Path:
        return self.directory / "xenstored"

    def environment(self) -> dict[str, str]:
        return {**os.environ, "PATH": f"{self.directory}/bin:/usr/bin:/bin", "XENSTORED_PATH": str(self.socket_path)}

    def fault(self, command: str, words: str) -> None:
        """From now on `xl command` fails with these words."""
        (self.directory / "faults" / command).write_text(words)

    def domains(self) -> dict[int, str]:
        return {int(path.name): path.read_text().split("\n")[0] for path in (self.directory / "domains").iterdir()}

    def shut_down(self, number: int, state: str = "---s--") -> None:
        """The domain ends by itself, as `xl list` shows it then, and stays until it is destroyed."""
        with (self.directory / "domains" / str(number)).open("a") as file:
            file.write(state + "\n")
        os.write(self._requests, b"none\n")  # xenstored tells that something ended

    def write(self, path: str, value: str) -> None:
        """As some other program of the host: those who watch the path are told."""
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(self.socket_path))
            payload = path.encode() + b"\0" + value.encode()
            client.sendall(_HEADER.pack(_WRITE, 0, 0, len(payload)) + payload)
            client.recv(_HEADER.size + len(b"OK\0"), socket.MSG_WAITALL)

    def calls(self) -> list[list[str]]:
        """What xl was called with so far."""
        log = self.directory / "log"
        return [call.split("\n") for call in log.read_text().split("\n\n") if call] if log.exists() else []

    def __enter__(self) -> "FakeXen":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        os.write(self._stop_write, b"x")
        self._thread.join()
        self._listener.close()
        for fd in (self._requests, self._stop_read, self._stop_write):
            os.close(fd)

    # -- the server ----------------------------------------------------------------------------------------------------

    def _serve(self) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self._listener, selectors.EVENT_READ)
            selector.register(self._requests, selectors.EVENT_READ)
            selector.register(self._stop_read, selectors.EVENT_READ)
            while True:
                for key, _ in selector.select():
                    if key.fileobj == self._stop_read:
                        return
                    if key.fileobj is self._listener:
                        selector.register(self._listener.accept()[0], selectors.EVENT_READ)
                    elif key.fileobj == self._requests:
                        for number in os.read(self._requests, 4096).split():
                            self._forget(f"/local/domain/{number.decode()}")
                        self._fire("@releaseDomain")
                    elif isinstance(key.fileobj, socket.socket) and not self._answer(key.fileobj):
                        selector.unregister(key.fileobj)
                        self._watches = [watch for watch in self._watches if watch[0] is not key.fileobj]
                        key.fileobj.close()

    def _answer(self, client: socket.socket) -> bool:
        header = client.recv(_HEADER.size, socket.MSG_WAITALL)
        if len(header) < _HEADER.size:
            return False
        kind, request, _, length = _HEADER.unpack(header)
        payload = client.recv(length, socket.MSG_WAITALL) if length else b""
        words = payload.split(b"\0")
        path = words[0].decode()
        answer = b"OK\0"
        code, fired = kind, ""
        if kind == _READ:
            value = self._value(path)
            code, answer = (kind, value) if value is not None else (_ERROR, b"ENOENT\0")
        elif kind == _DIRECTORY:
            if path == "/local/domain":
                answer = b"".join(str(n).encode() + b"\0" for n in (0, *self.domains()))
            else:
                names = {node[len(path) + 1 :].split("/")[0] for node in self.nodes if node.startswith(path + "/")}
                code, answer = (kind, b"".join(n.encode() + b"\0" for n in sorted(names))) if names else (_ERROR, b"ENOENT\0")
        elif kind == _WRITE:
            self.nodes[path] = payload[len(words[0]) + 1 :]
            fired = path
        elif kind == _RM:
            self._forget(path)
            fired = path
        elif kind == _SET_PERMS:
            self.permissions[path] = [word.decode() for word in words[1:] if word]
        elif kind == _WATCH:
            self._watches.append((client, path, words[1].decode()))
        else:
            code, answer = _ERROR, b"ENOSYS\0"
        client.sendall(_HEADER.pack(code, request, 0, len(answer)) + answer)
        if kind == _WATCH:
            self._send_event(self._watches[-1], path)
        if fired:
            self._fire(fired)
        return True

    def _value(self, path: str) -> bytes | None:
        parts = path.split("/")
        if path.startswith("/local/domain/") and len(parts) == 5 and parts[4] in ("name", "vm"):
            name = self.domains().get(int(parts[3]))
            return name.encode() if name else None
        return self.nodes.get(path)

    def _forget(self, path: str) -> None:
        self.nodes = {node: value for node, value in self.nodes.items() if node != path and not node.startswith(path + "/")}

    def _fire(self, path: str) -> None:
        for watch in self._watches:
            if path == watch[1] or path.startswith(watch[1] + "/"):
                self._send_event(watch, path)

    @staticmethod
    def _send_event(watch: tuple[socket.socket, str, str], path: str) -> None:
        body = path.encode() + b"\0" + watch[2].encode() + b"\0"
        try:
            watch[0].sendall(_HEADER.pack(_WATCH_EVENT, 0, 0, len(body)) + body)
        except OSError:
            pass
