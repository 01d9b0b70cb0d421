"""A xenstored: tree, watches and wire protocol of Xen's docs/misc/xenstore.txt, on a unix socket.

Every client is dom0: permissions are kept and shown, but not enforced. Writes in a transaction take effect at once; removals do
at its end, which fails if anything was changed by another client meanwhile.
"""

import os
import selectors
import socket
import struct
import time
from collections.abc import Callable
from pathlib import Path

HEADER = struct.Struct("<IIII")  # type, request id, transaction id, length of the payload
_PAYLOAD_LIMIT = 4096
# enum xsd_sockmsg_type of xen/io/xs_wire.h
DIRECTORY, READ, GET_PERMS, WATCH, UNWATCH, TRANSACTION_START, TRANSACTION_END, INTRODUCE, RELEASE = range(1, 10)
GET_DOMAIN_PATH, WRITE, MKDIR, RM, SET_PERMS, WATCH_EVENT, ERROR, IS_DOMAIN_INTRODUCED = range(10, 18)
DOMAIN_CHANGED = 1000
"""Not of Xen: replaces the hypervisor's event that a domain has shut down."""


class XenStored:
    """A server: `serve` runs it in the calling thread until `stop`."""

    def __init__(self, socket_path: Path) -> None:
        self.nodes: dict[str, bytes] = {"/": b"", "/local": b"", "/local/domain": b"", "/vm": b"", "/tool": b""}
        self.permissions: dict[str, list[str]] = {}
        self._domains: set[str] = set()
        self.delay_s: Callable[[], float] = lambda: 0.0
        """How long each answer takes, asked for each."""
        self._changes = 0
        """How often something was changed."""
        self._last_transaction = 0
        self._transactions: dict[int, _Transaction] = {}
        self._watches: list[tuple[socket.socket, str, str]] = []
        self._stop_read, self._stop_write = os.pipe()
        self._selector = selectors.DefaultSelector()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(socket_path))
        self._listener.listen(64)
        self._answers: dict[int, Callable[[str, list[bytes], socket.socket], bytes]] = {
            DIRECTORY: self._directory,
            READ: self._read,
            GET_PERMS: self._get_permissions,
            WATCH: self._watch,
            UNWATCH: self._unwatch,
            TRANSACTION_START: self._begin_transaction,
            INTRODUCE: self._introduce,
            RELEASE: self._release,
            GET_DOMAIN_PATH: lambda _, words, __: b"/local/domain/" + words[0] + b"\0",
            WRITE: self._write,
            MKDIR: self._mkdir,
            RM: self._remove,
            SET_PERMS: self._set_permissions,
            IS_DOMAIN_INTRODUCED: lambda _, words, __: b"T\0" if words[0].decode() in self._domains else b"F\0",
            DOMAIN_CHANGED: self._changed,
        }
        self.on_readable(self._listener, self._accept)

    def on_readable(self, file: "int | socket.socket", call: Callable[[], None]) -> None:
        """Call `call` in the thread of `serve` whenever the file is readable."""
        self._selector.register(file, selectors.EVENT_READ, call)

    def serve(self) -> None:
        """Answer clients until `stop`, then close everything."""
        self._selector.register(self._stop_read, selectors.EVENT_READ)
        while True:
            for key, _ in self._selector.select():
                if key.data is None:
                    self._close()
                    return
                key.data()

    def stop(self) -> None:
        """End `serve`. May be called from any thread and from a signal's handler."""
        os.write(self._stop_write, b"x")

    def fire(self, path: str) -> None:
        """Fire the watches of this path and of paths above it."""
        for client, watched, token in list(self._watches):
            if watched in (path, "/") or path.startswith(watched + "/"):
                self._send_event(client, path, token)

    def forget(self, path: str) -> None:
        """Remove a path and everything below it, and fire the watches there."""
        below = path + "/"
        for node in [node for node in self.nodes if node == path or node.startswith(below)]:
            del self.nodes[node]
            self.permissions.pop(node, None)
        for client, watched, token in list(self._watches):
            if watched.startswith(below):
                self._send_event(client, watched, token)

    def value(self, path: str) -> bytes | None:
        """Value at a path; None for no such path."""
        return self.nodes.get(path)

    def names(self, path: str) -> list[str] | None:
        """Names below a path; None for no such path."""
        if path not in self.nodes:
            return None
        start = path.rstrip("/") + "/"
        return sorted({node[len(start) :].split("/")[0] for node in self.nodes if node.startswith(start) and node != start})

    # -- clients -------------------------------------------------------------------------------------------------------

    def _accept(self) -> None:
        client = self._listener.accept()[0]
        self.on_readable(client, lambda: self._serve(client))

    def _serve(self, client: socket.socket) -> None:
        try:
            whole = self._answer(client)
        except OSError:
            whole = False
        if not whole:
            self._selector.unregister(client)
            self._watches = [watch for watch in self._watches if watch[0] is not client]
            client.close()

    def _answer(self, client: socket.socket) -> bool:
        header = client.recv(HEADER.size, socket.MSG_WAITALL)
        if len(header) < HEADER.size:
            return False
        kind, request, transaction, length = HEADER.unpack(header)
        if length > _PAYLOAD_LIMIT:
            return False
        payload = client.recv(length, socket.MSG_WAITALL) if length else b""
        if delay_s := self.delay_s():
            time.sleep(delay_s)
        words = payload.split(b"\0", 1) if kind == WRITE else payload.split(b"\0")
        path = words[0].decode("utf-8", "replace")
        if not path.startswith(("/", "@")):  # relative to the client's own domain
            path = f"/local/domain/0/{path}".rstrip("/")
        events = len(self._watches)
        try:
            answer = self._answer_one(kind, transaction, path, words, client)
            if len(answer) > _PAYLOAD_LIMIT:
                self._refuse("E2BIG")
        except _RefusedError as error:
            kind, answer = ERROR, error.args[0].encode() + b"\0"
        client.sendall(HEADER.pack(kind, request, transaction, len(answer)) + answer)
        for watch in self._watches[events:]:  # a new watch fires at once, after the answer
            self._send_event(watch[0], watch[1], watch[2])
        return True

    def _answer_one(self, kind: int, transaction: int, path: str, words: list[bytes], client: socket.socket) -> bytes:
        if kind == TRANSACTION_END:
            return self._end_transaction(transaction, commit=words[0] == b"T")
        own = self._transactions.get(transaction)
        if own and kind == RM:
            own.removals.append(path)
            return b"OK\0"
        call = self._answers.get(kind)
        answer = call(path, words, client) if call else self._refuse("ENOSYS")
        if kind in (WRITE, MKDIR, RM, SET_PERMS):
            self._changes += 1
            if own:
                own.changes += 1
        return answer

    def _begin_transaction(self, *_: object) -> bytes:
        self._last_transaction += 1
        self._transactions[self._last_transaction] = _Transaction(self._changes)
        return b"%d\0" % self._last_transaction

    def _end_transaction(self, number: int, *, commit: bool) -> bytes:
        own = self._transactions.pop(number, None)
        if own is None:
            return self._refuse("ENOENT")
        if commit and own.removals:
            if own.changes != self._changes:
                self._refuse("EAGAIN")
            for path in own.removals:
                self._remove(path)
            self._changes += 1
        return b"OK\0"

    @staticmethod
    def _refuse(why: str) -> bytes:
        raise _RefusedError(why)

    def _directory(self, path: str, *_: object) -> bytes:
        names = self.names(path)
        return self._refuse("ENOENT") if names is None else b"".join(name.encode() + b"\0" for name in names)

    def _read(self, path: str, *_: object) -> bytes:
        value = self.value(path)
        return self._refuse("ENOENT") if value is None else value

    def _get_permissions(self, path: str, *_: object) -> bytes:
        if self.value(path) is None:
            self._refuse("ENOENT")
        return b"".join(word.encode() + b"\0" for word in self._permissions_of(path))

    def _permissions_of(self, path: str) -> list[str]:
        """Permissions of a node: a new node has those of its parent."""
        while path and path not in self.permissions:
            path = path.rpartition("/")[0]
        return self.permissions.get(path, ["n0"])

    def _make(self, path: str) -> None:
        while path and path not in self.nodes:
            self.nodes[path] = b""
            path = path.rpartition("/")[0]

    def _write(self, path: str, words: list[bytes], _: object) -> bytes:
        self._make(path)
        self.nodes[path] = words[1] if len(words) > 1 else b""
        self.fire(path)
        return b"OK\0"

    def _mkdir(self, path: str, *_: object) -> bytes:
        if path not in self.nodes:
            self._make(path)
            self.fire(path)
        return b"OK\0"

    def _remove(self, path: str, *_: object) -> bytes:
        if path not in self.nodes and path.rpartition("/")[0] not in self.nodes:
            self._refuse("ENOENT")
        if path in self.nodes:
            self.forget(path)
            self.fire(path)
        return b"OK\0"

    def _set_permissions(self, path: str, words: list[bytes], _: object) -> bytes:
        if self.value(path) is None:
            self._refuse("ENOENT")
        self.permissions[path] = [word.decode() for word in words[1:] if word]
        self.fire(path)
        return b"OK\0"

    def _watch(self, path: str, words: list[bytes], client: socket.socket) -> bytes:
        self._watches.append((client, path, words[1].decode()))
        return b"OK\0"

    def _unwatch(self, path: str, words: list[bytes], client: socket.socket) -> bytes:
        watch = (client, path, words[1].decode())
        if watch not in self._watches:
            self._refuse("ENOENT")
        self._watches.remove(watch)
        return b"OK\0"

    def _introduce(self, _: str, words: list[bytes], __: object) -> bytes:
        self._domains.add(words[0].decode())
        self.fire("@introduceDomain")
        return b"OK\0"

    def _release(self, _: str, words: list[bytes], __: object) -> bytes:
        self._domains.discard(words[0].decode())
        self.fire("@releaseDomain")
        return b"OK\0"

    def _changed(self, *_: object) -> bytes:
        self.fire("@releaseDomain")
        return b"OK\0"

    @staticmethod
    def _send_event(client: socket.socket, path: str, token: str) -> None:
        body = path.encode() + b"\0" + token.encode() + b"\0"
        try:
            client.sendall(HEADER.pack(WATCH_EVENT, 0, 0, len(body)) + body)
        except OSError:
            pass  # the client is gone, which a read will notice

    def _close(self) -> None:
        for key in list(self._selector.get_map().values()):
            if isinstance(key.fileobj, socket.socket):
                key.fileobj.close()
        self._selector.close()
        for fd in (self._stop_read, self._stop_write):
            os.close(fd)


class _Transaction:
    def __init__(self, changes: int) -> None:
        self.changes = changes
        """How often something was changed before it, or in it."""
        self.removals: list[str] = []


class _RefusedError(Exception):
    """Xenstore's name of the error, such as ENOENT."""
