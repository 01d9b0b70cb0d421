"""A client of xenstore that speaks its wire protocol (Xen's docs/misc/xenstore.txt), without a library or a tool.

Values may come from guests: they have bounds and are not trusted.
"""

import _socket  # the socket module costs the supervisor 1.5 MiB and 10 ms; its C core is enough
import os
import struct

from runx.errors import RunxError
from runx.linux.files import write_all

_HEADER = struct.Struct("<IIII")  # type, request id, transaction id, length of the payload
_PAYLOAD_LIMIT = 4096
_DIRECTORY, _READ, _WATCH, _WRITE, _RM, _SET_PERMS, _WATCH_EVENT, _ERROR = 1, 2, 4, 11, 13, 14, 15, 16
_TRANSACTION_START, _TRANSACTION_END = 6, 7
_SOCKET_PATHS = ("/run/xenstored/socket", "/var/run/xenstored/socket")
_DEVICE = "/dev/xen/xenbus"


class XenStoreError(RunxError):
    """xenstored refused a request. `code` is the reason (`ENOENT`)."""

    def __init__(self, what: str, code: str) -> None:
        super().__init__(f"xenstore: {what}: {code}")
        self.code = code


class XenStore:
    """One connection. A request waits for its answer; watch events that arrive before it are kept for `events()`."""

    def __init__(self) -> None:
        """Connect to xenstored's socket (XENSTORED_PATH overrides it), else to the kernel's device.

        Raises RunxError when neither is there.
        """
        self._socket: _socket.socket | None = None
        self._events: list[tuple[str, str]] = []
        self._input = b""
        override = os.environ.get("XENSTORED_PATH")
        for path in (override,) if override else _SOCKET_PATHS:
            connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
            try:
                connection.connect(path)
            except OSError:
                connection.close()
                continue
            self._socket = connection
            self.fd = connection.fileno()
            return
        try:
            self.fd = os.open(_DEVICE, os.O_RDWR | os.O_CLOEXEC)
        except OSError:
            raise RunxError(
                "cannot reach xenstored", "Xen is not running here, or its xenstored is not: start Xen's services"
            ) from None

    def fileno(self) -> int:
        """Descriptor to poll for watch events."""
        return self.fd

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
        else:
            os.close(self.fd)

    def read(self, path: str) -> str | None:
        """The value at a path; None when there is none."""
        try:
            return self._request(_READ, "read " + path, path.encode() + b"\0").decode("utf-8", "replace")
        except XenStoreError as error:
            if error.code == "ENOENT":
                return None
            raise

    def directory(self, path: str) -> list[str]:
        """Names below a path; none when it does not exist. Raises XenStoreError E2BIG for more than 4096 bytes of names."""
        try:
            names = self._request(_DIRECTORY, "list " + path, path.encode() + b"\0")
        except XenStoreError as error:
            if error.code == "ENOENT":
                return []
            raise
        return [name.decode("utf-8", "replace") for name in names.split(b"\0") if name]

    def write(self, path: str, value: str) -> None:
        self._request(_WRITE, "write " + path, path.encode() + b"\0" + value.encode())

    def remove(self, path: str) -> None:
        """Remove a path and all below it; one that does not exist is no error."""
        self._remove(path, 0)

    def remove_if_empty(self, path: str) -> None:
        """Remove a path if nothing is below it, and nobody makes anything there at this moment."""
        words = f"remove {path} if it is empty"
        transaction = int(self._request(_TRANSACTION_START, words, b"\0").rstrip(b"\0"))
        is_empty = False
        try:
            is_empty = not self._request(_DIRECTORY, words, path.encode() + b"\0", transaction)
            if is_empty:
                self._remove(path, transaction)
        except XenStoreError as error:
            if error.code != "ENOENT":
                raise
        finally:
            try:
                self._request(_TRANSACTION_END, words, b"T\0" if is_empty else b"F\0", transaction)
            except XenStoreError as error:
                if error.code != "EAGAIN":  # somebody has changed it meanwhile
                    raise

    def _remove(self, path: str, transaction: int) -> None:
        try:
            self._request(_RM, "remove " + path, path.encode() + b"\0", transaction)
        except XenStoreError as error:
            if error.code != "ENOENT":
                raise

    def set_permissions(self, path: str, *permissions: str) -> None:
        """Set permissions (xenstore-chmod(1)): owner and right of all others first (`n0`), then rights of domains (`r7`)."""
        self._request(_SET_PERMS, "chmod " + path, b"".join(word.encode() + b"\0" for word in (path, *permissions)))

    def watch(self, path: str, token: str) -> None:
        """Report changes at and below a path with this token. xenstored sends one event at once."""
        self._request(_WATCH, "watch " + path, path.encode() + b"\0" + token.encode() + b"\0")

    def events(self) -> list[tuple[str, str]]:
        """Events that arrived, as (path, token). Waits for one when there is none."""
        if not self.has_events:
            self._keep_event(*self._message())
        while self._message_buffered():
            self._keep_event(*self._message())
        events, self._events = self._events, []
        return events

    @property
    def has_events(self) -> bool:
        """Whether events were read already, with the answer to a request, so that the descriptor is not readable for them."""
        return bool(self._events) or self._message_buffered()

    def _message_buffered(self) -> bool:
        if len(self._input) < _HEADER.size:
            return False
        return len(self._input) >= _HEADER.size + int(_HEADER.unpack_from(self._input)[3])

    def _keep_event(self, kind: int, payload: bytes) -> None:
        if kind != _WATCH_EVENT:
            raise RunxError("xenstore: an answer without a request")
        path, _, token = payload.partition(b"\0")
        self._events.append((path.decode("utf-8", "replace"), token.rstrip(b"\0").decode("utf-8", "replace")))

    def _request(self, kind: int, what: str, payload: bytes, transaction: int = 0) -> bytes:
        if len(payload) > _PAYLOAD_LIMIT:
            raise XenStoreError(what, "E2BIG")
        self._send(_HEADER.pack(kind, 0, transaction, len(payload)) + payload)
        while True:
            answer, body = self._message()
            if answer == _WATCH_EVENT:
                self._keep_event(answer, body)
            elif answer == _ERROR:
                raise XenStoreError(what, body.rstrip(b"\0").decode("ascii", "replace"))
            elif answer == kind:
                return body
            else:
                raise RunxError(f"xenstore: {what}: an answer of another kind ({answer})")

    def _send(self, data: bytes) -> None:
        try:
            write_all(self.fd, data)
        except BrokenPipeError:
            raise _gone() from None

    def _message(self) -> tuple[int, bytes]:
        kind, _, _, length = _HEADER.unpack(self._take(_HEADER.size))
        if length > _PAYLOAD_LIMIT:
            raise RunxError(f"xenstore: a message of {length} bytes")
        return kind, self._take(length)

    def _take(self, size: int) -> bytes:
        while len(self._input) < size:
            data = os.read(self.fd, 8192)
            if not data:
                raise _gone()
            self._input += data
        taken, self._input = self._input[:size], self._input[size:]
        return taken


def _gone() -> RunxError:
    return RunxError("xenstored closed the connection", "did xenstored die? Domains cannot be managed without it")
