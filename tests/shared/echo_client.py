#!/usr/bin/python3
"""Speak with an echo server at a port of localhost, over some connections at once: echo_client.py PORT CONNECTIONS BYTES.

Each sends so many bytes of its own, ends its half of the connection, and takes what comes until the server's end.
"""

import random
import socket
import sys
import threading


def speak(port: int, number: int, size: int, outcomes: list[str]) -> None:
    data = random.Random(number).randbytes(size)
    got = b""
    errors: list[OSError] = []
    """A reset is told once: to the call that is first."""
    try:
        with socket.create_connection(("localhost", port), timeout=60) as connection:

            def send() -> None:
                try:
                    connection.sendall(data)
                    connection.shutdown(socket.SHUT_WR)
                except OSError as error:
                    errors.append(error)

            sender = threading.Thread(target=send, daemon=True)
            sender.start()
            try:
                while piece := connection.recv(65536):
                    got += piece
            finally:
                sender.join()
    except OSError as error:
        errors.append(error)
    if any(isinstance(error, (ConnectionResetError, BrokenPipeError)) for error in errors):
        outcomes.append("reset")
    else:
        outcomes.append(type(errors[0]).__name__ if errors else "same" if got == data else f"{len(got)} bytes")


outcomes: list[str] = []
port, count, size = map(int, sys.argv[1:])
threads = [threading.Thread(target=speak, args=(port, number, size, outcomes)) for number in range(count)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(*sorted(outcomes), sep="\n")
