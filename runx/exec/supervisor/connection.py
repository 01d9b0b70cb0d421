"""A session that is a connection to a server in the guest: its streams are one socket, whose halves end one after the other."""

import _socket  # as in control.py
import os

from runx.exec.console import frames as link
from runx.exec.console import streams
from runx.exec.supervisor.session import Session

TYPE_CHECKING = False  # as typing's, which costs the supervisor memory
if TYPE_CHECKING:
    from collections.abc import Callable

_RESET = (1).to_bytes(4, "little") + bytes(4)
"""A struct linger of no time: close(2) resets the connection (socket(7))."""
_KEEPALIVE = ((_socket.TCP_KEEPIDLE, 60), (_socket.TCP_KEEPINTVL, 20), (_socket.TCP_KEEPCNT, 3))
"""Seconds after which a client is asked whether it is still there. One that has closed both halves does not say so by itself."""


class _ToClient(streams.Output):
    """What the server sends."""

    def __init__(self, client: _socket.socket, fd: int, session: int) -> None:
        super().__init__(1, fd, session)
        self._client = client
        self._own: int | None = os.dup(fd)  # ours alone, and non-blocking

    def _end(self) -> None:
        if self.open:
            try:
                self._client.shutdown(_socket.SHUT_WR)
            except OSError:
                pass  # it has gone
        super()._end()

    def cut_off(self) -> None:
        """Let go of the client, who is not told that this half has ended."""
        if self.open:
            self.open = False
            os.close(self._own or -1)


class Connection(Session):
    """A client on the host, with whom a server in the guest speaks."""

    def __init__(self, number: int, log: "Callable[[str, str], None]", client: _socket.socket) -> None:
        """client: the socket of the connection, which belongs to the session then."""
        client.setblocking(False)
        client.setsockopt(_socket.SOL_SOCKET, _socket.SO_KEEPALIVE, 1)
        for option, value in _KEEPALIVE:
            client.setsockopt(_socket.IPPROTO_TCP, option, value)
        self._client = client
        super().__init__(number, log, (os.dup(client.fileno()), os.dup(client.fileno()), -1))

    def _take_streams(self) -> None:
        stdin, stdout, stderr = self._fds
        self._to_client = _ToClient(self._client, stdout, self.number)
        self.outputs = {link.STDOUT: self._to_client, link.STDERR: streams.Output(2, stderr, self.number)}
        self.input = streams.Input(stdin, self.number)

    def close(self) -> None:
        """Close the connection. The client hears that it was cut off, unless its server has ended it."""
        if self.status != 0:
            self._client.setsockopt(_socket.SOL_SOCKET, _socket.SO_LINGER, _RESET)
        self._to_client.cut_off()
        for fd in self._fds[:2]:
            os.close(fd)
        self._client.close()
