"""Ports of the guest, for who is in the container's network namespace in dom0: containerd, which forwards a port for a kubelet.

It dials localhost there. A connection to any port of 127.0.0.1 is taken here, and carried to that port of the guest's loopback
address, as a session of the console link.
"""

import _socket  # as in control.py
import os

from runx.errors import RunxError, reason
from runx.exec.supervisor.connection import Connection
from runx.linux import netns, socket_lookup

TYPE_CHECKING = False  # as typing's, which costs the supervisor memory
if TYPE_CHECKING:
    import select
    from collections.abc import Callable

    from runx.exec.supervisor.sessions import Sessions

_BACKLOG = 128
"""Connections that may wait for others to end."""
_IP_FREEBIND = 15
"""So that the address can be bound before the interface `lo` is up (ip(7))."""


class Forwarding:
    """The part of the loop that takes connections."""

    def __init__(self, sessions: "Sessions", log: "Callable[[str, str], None]") -> None:
        """Begin, in the network namespace of this process. Raises OSError where the kernel cannot do it.

        log: takes the level and text of a message.
        """
        self._sessions = sessions
        self._log = log
        self._listener = _socket.socket(_socket.AF_INET, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC | _socket.SOCK_NONBLOCK)
        try:
            self._listener.setsockopt(_socket.IPPROTO_IP, _IP_FREEBIND, 1)
            self._listener.bind(("127.0.0.1", 0))
            self._listener.listen(_BACKLOG)
            namespace = netns.descriptor()
            try:
                self._held = socket_lookup.attach(self._listener.fileno(), namespace)
            finally:
                os.close(namespace)
        except BaseException:
            self._listener.close()
            raise

    def watch(self, poller: "select.poll") -> None:
        if self._sessions.takes_connections:
            poller.register(self._listener.fileno(), 1)

    def handle(self, ready: dict[int, int]) -> None:
        if self._listener.fileno() in ready:
            self._take()

    def _take(self) -> None:
        try:
            fd = self._listener._accept()[0]  # type: ignore[attr-defined]  # as in control.py
        except OSError:
            return  # the client has gone
        client = _socket.socket(fileno=fd)
        port = client.getsockname()[1]
        try:
            self._sessions.begin_connection(lambda number: Connection(number, self._log, client), port)
        except RunxError as error:
            self._log("info", f"a connection to port {port} is refused: {error.message}")
            client.close()

    def close(self) -> None:
        """Take no more."""
        os.close(self._held)
        self._listener.close()


def begin(sessions: "Sessions", log: "Callable[[str, str], None]") -> "Forwarding | None":
    """Forward ports, where dom0's kernel can; else the log has a message."""
    try:
        return Forwarding(sessions, log)
    except OSError as error:
        log(
            "info",
            f"ports of the guest cannot be reached by localhost in its network namespace: {error.filename}: {reason(error)}",
        )
        return None
