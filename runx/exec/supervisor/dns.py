"""Names that an engine resolves inside the container's network namespace: docker's networks have a server of it at 127.0.0.11.

The supervisor, which lives in that namespace, asks it for the guest (docs/networking.md, "Names").
"""

import _socket  # as in control.py

from runx.errors import RunxError, reason
from runx.exec.console.frames import PAYLOAD_LIMIT

ADDRESS = "127.0.0.11"
_PORT = 53
_LISTED = "0B00007F:"
"""The same address in /proc/net/udp (proc_net_udp(5)): a number of the machine's byte order."""


class Names:
    """The way to that server."""

    def __init__(self) -> None:
        self._socket = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC | _socket.SOCK_NONBLOCK)
        self._socket.connect((ADDRESS, _PORT))
        self.fd = self._socket.fileno()

    def ask(self, question: bytes) -> None:
        """Send a DNS message. One that cannot be sent is lost, as on any network: who asks asks again."""
        try:
            self._socket.send(question)
        except OSError:
            pass

    def answer(self) -> bytes | None:
        """The next answer; None when there is none to be had now."""
        try:
            message = self._socket.recv(PAYLOAD_LIMIT + 1)
        except OSError:
            return None
        return message if len(message) <= PAYLOAD_LIMIT else b""  # more than a frame holds


def find() -> Names | None:
    """The way to the engine's server in this process's network namespace; None when there is none.

    Raises RunxError when it cannot be reached.
    """
    try:
        with open("/proc/self/net/udp", encoding="ascii") as file:
            return Names() if _LISTED in file.read() else None
    except OSError as error:
        message = f"the engine's server of names in the container's network namespace, {ADDRESS}: {reason(error)}"
        raise RunxError(message, "is the loopback interface of the namespace up?") from None
