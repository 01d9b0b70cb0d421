#!/usr/bin/python3
"""Run a command of a container over the URL that the CRI's Exec gives, as kubectl does (websocket, RFC 6455; the protocol
v4.channel.k8s.io): webexec.py URL. Standard input goes to the command, its output and errors come out, and its status.

This protocol cannot end the input: the command knows how much there is.
"""

import base64
import json
import os
import socket
import sys
from urllib.parse import urlsplit

STDIN, STDOUT, STDERR, STATUS = range(4)
CLOSE = 8


def frame(kind: int, payload: bytes) -> bytes:
    """A frame of a client: whole, with a mask of zeros, which changes nothing."""
    size = len(payload)
    length = bytes([0x80 | size]) if size < 126 else b"\xfe" + size.to_bytes(2, "big")
    return bytes([0x80 | kind]) + length + bytes(4) + payload


def main(url: str, data: bytes) -> int:
    parts = urlsplit(url)
    connection = socket.create_connection((parts.hostname, parts.port), timeout=60)
    key = base64.b64encode(os.urandom(16)).decode()
    request = f"GET {parts.path}?{parts.query} HTTP/1.1\r\nHost: {parts.netloc}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    request += f"Sec-WebSocket-Key: {key}\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: v4.channel.k8s.io\r\n\r\n"
    connection.sendall(request.encode())
    stream = connection.makefile("rb")
    first = stream.readline()
    if b" 101 " not in first:
        raise SystemExit(f"no websocket: {first!r}")
    while stream.readline().strip():
        pass
    for at in range(0, len(data), 32768):
        connection.sendall(frame(2, bytes([STDIN]) + data[at : at + 32768]))
    while True:
        kind, length = stream.read(2)
        if length >= 126:
            length = int.from_bytes(stream.read(2 if length == 126 else 8), "big")
        payload = stream.read(length)
        if kind & 0xF == CLOSE:
            raise SystemExit("closed without a status")
        if payload[:1] in (bytes([STDOUT]), bytes([STDERR])):
            os.write(payload[0], payload[1:])
        elif payload[:1] == bytes([STATUS]):
            status = json.loads(payload[1:])
            if status["status"] == "Success":
                return 0
            causes = {cause["reason"]: cause["message"] for cause in status.get("details", {}).get("causes", ())}
            return int(causes.get("ExitCode", 255))


sys.exit(main(sys.argv[1], sys.stdin.buffer.read()))
