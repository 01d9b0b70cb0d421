#!/usr/bin/python3
"""Run a command of a container over the URL that the CRI's Exec gives, as kubectl does: webexec.py URL. Standard input goes to
the command, its output and errors come out, and its status.

This protocol cannot end the input: the command knows how much there is.
"""

import json
import os
import sys
from urllib.parse import urlsplit

from websocket_client import WebSocket

STDIN, STDOUT, STDERR, STATUS = range(4)


def main(url: str, data: bytes) -> int:
    parts = urlsplit(url)
    connection = WebSocket(parts.hostname, parts.port, f"{parts.path}?{parts.query}")
    connection.send(STDIN, data)
    for channel, payload in connection.receive():
        if channel in (STDOUT, STDERR):
            os.write(channel, payload)
        elif channel == STATUS:
            status = json.loads(payload)
            if status["status"] == "Success":
                return 0
            causes = {cause["reason"]: cause["message"] for cause in status.get("details", {}).get("causes", ())}
            return int(causes.get("ExitCode", 255))
    raise SystemExit("closed without a status")


sys.exit(main(sys.argv[1], sys.stdin.buffer.read()))
