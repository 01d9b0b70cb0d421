#!/usr/bin/python3
"""Speak with a port over the URL that the CRI's PortForward gives, as `kubectl port-forward` does: webforward.py URL PORT BYTES.

It uses websocket (RFC 6455; the protocol v4.channel.k8s.io). Standard input goes to the port, and what comes goes out, until so
many bytes have come, or the end. An error of containerd is on standard error, with status 1.
"""

import base64
import os
import socket
import sys
import threading
from urllib.parse import urlsplit

DATA, ERROR = 0, 1
CLOSE = 8


def frame(kind: int, payload: bytes) -> bytes:
    """A frame of a client: whole, with a mask of zeros, which changes nothing."""
    size = len(payload)
    length = bytes([0x80 | size]) if size < 126 else b"\xfe" + size.to_bytes(2, "big")
    return bytes([0x80 | kind]) + length + bytes(4) + payload


def main(url: str, port: int, most: int, data: bytes) -> int:
    parts = urlsplit(url)
    connection = socket.create_connection((parts.hostname, parts.port), timeout=60)
    key = base64.b64encode(os.urandom(16)).decode()
    request = f"GET {parts.path}?port={port} HTTP/1.1\r\nHost: {parts.netloc}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    request += f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: v4.channel.k8s.io\r\n\r\n"
    connection.sendall(request.encode())
    stream = connection.makefile("rb")
    first = stream.readline()
    if b" 101 " not in first:
        raise SystemExit(f"no websocket: {first!r}")
    while stream.readline().strip():
        pass

    def send() -> None:
        for at in range(0, len(data), 32768):
            connection.sendall(frame(2, bytes([DATA]) + data[at : at + 32768]))

    threading.Thread(target=send, daemon=True).start()
    named: set[int] = set()
    said = {DATA: 0, ERROR: 0}
    while said[DATA] < most:
        head = stream.read(2)
        if len(head) < 2 or head[0] & 0xF == CLOSE:
            break
        length = head[1]
        if length >= 126:
            length = int.from_bytes(stream.read(2 if length == 126 else 8), "big")
        payload = stream.read(length)
        channel = payload[0]
        if channel in named:
            said[channel] += length - 1
            sys.stdout.buffer.write(payload[1:]) if channel == DATA else sys.stderr.buffer.write(payload[1:])
        named.add(channel)  # the first frame of a channel has the port alone
    sys.stdout.buffer.flush()
    return 1 if said[ERROR] else 0


sys.exit(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.stdin.buffer.read()))
