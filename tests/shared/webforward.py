#!/usr/bin/python3
"""Speak with a port over the URL that the CRI's PortForward gives, as `kubectl port-forward` does: webforward.py URL PORT BYTES.

Standard input goes to the port, and what comes goes out, until so many bytes have come, or the end. An error of containerd is on
standard error, with status 1.
"""

import sys
import threading
from urllib.parse import urlsplit

from websocket_client import WebSocket

DATA, ERROR = 0, 1


def main(url: str, port: int, most: int, data: bytes) -> int:
    parts = urlsplit(url)
    connection = WebSocket(parts.hostname, parts.port, f"{parts.path}?port={port}")
    threading.Thread(target=connection.send, args=(DATA, data), daemon=True).start()
    named: set[int] = set()
    said = {DATA: 0, ERROR: 0}
    for channel, payload in connection.receive():
        if channel in named:
            said[channel] += len(payload)
            sys.stdout.buffer.write(payload) if channel == DATA else sys.stderr.buffer.write(payload)
        named.add(channel)  # the first frame of a channel has the port alone
        if said[DATA] >= most:
            break
    sys.stdout.buffer.flush()
    return 1 if said[ERROR] else 0


sys.exit(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.stdin.buffer.read()))
