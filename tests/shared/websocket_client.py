"""Channels over a websocket (RFC 6455), as a kubelet's clients speak with containerd (the protocol v4.channel.k8s.io).

For programs that run on the host, in whose directory this is, too.
"""

import base64
import os
import socket
from collections.abc import Iterator

_BINARY, _CLOSE = 2, 8
_PIECE = 32768


class WebSocket:
    """A connection. Raises SystemExit if the server does not take it."""

    def __init__(self, host: str | None, port: int | None, target: str) -> None:
        """target: path and query."""
        self._connection = socket.create_connection((host, port), timeout=60)
        key = base64.b64encode(os.urandom(16)).decode()
        request = f"GET {target} HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        request += f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: v4.channel.k8s.io\r\n\r\n"
        self._connection.sendall(request.encode())
        self._stream = self._connection.makefile("rb")
        first = self._stream.readline()
        if b" 101 " not in first:
            raise SystemExit(f"no websocket: {first!r}")
        while self._stream.readline().strip():
            pass

    def send(self, channel: int, data: bytes) -> None:
        for at in range(0, len(data), _PIECE):
            self._connection.sendall(_frame(bytes([channel]) + data[at : at + _PIECE]))

    def receive(self) -> Iterator[tuple[int, bytes]]:
        """Channel and data of each frame, until the server closes the connection."""
        while True:
            head = self._stream.read(2)
            if len(head) < 2 or head[0] & 0xF == _CLOSE:
                return
            length = head[1]
            if length >= 126:
                length = int.from_bytes(self._stream.read(2 if length == 126 else 8), "big")
            payload = self._stream.read(length)
            yield payload[0], payload[1:]


def _frame(payload: bytes) -> bytes:
    """A frame of a client: whole, with a mask of zeros, which changes nothing."""
    size = len(payload)
    length = bytes([0x80 | size]) if size < 126 else b"\xfe" + size.to_bytes(2, "big")
    return bytes([0x80 | _BINARY]) + length + bytes(4) + payload
