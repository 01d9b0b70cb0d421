"""DNS for the guest: docker's networks have a server at 127.0.0.11, inside the container's network namespace.

The supervisor, which lives in that namespace, asks it for the guest (docs/networking.md, "Names").
"""

import _socket  # as in control.py
import select

from runx.errors import RunxError, reason
from runx.exec.console import frames as link

TYPE_CHECKING = False  # as typing's, which costs the supervisor memory
if TYPE_CHECKING:
    from runx.exec.supervisor.to_guest import ToGuest

ADDRESS = "127.0.0.11"
_PORT = 53
_LISTED = "0B00007F:"
"""The same address in /proc/net/udp (proc_net_udp(5)): a number of the machine's byte order."""


class Server:
    """A socket that is connected to the engine's DNS server."""

    def __init__(self) -> None:
        """Raises OSError if the address cannot be reached."""
        self._socket = _socket.socket(_socket.AF_INET, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC | _socket.SOCK_NONBLOCK)
        self._socket.connect((ADDRESS, _PORT))
        self.fd = self._socket.fileno()

    def ask(self, question: bytes) -> None:
        """Send a DNS message. If it cannot be sent it is lost, as on any network: its sender asks again."""
        try:
            self._socket.send(question)
        except OSError:
            pass

    def answer(self) -> bytes | None:
        """The next answer, empty if it is larger than a frame; None if there is none now."""
        try:
            message = self._socket.recv(link.PAYLOAD_LIMIT + 1)
        except OSError:
            return None
        return message if len(message) <= link.PAYLOAD_LIMIT else b""


def find() -> Server | None:
    """The engine's DNS server in this process's network namespace; None if there is none.

    Raises RunxError if it cannot be reached.
    """
    try:
        with open("/proc/self/net/udp", encoding="ascii") as file:
            return Server() if _LISTED in file.read() else None
    except OSError as error:
        message = f"the engine's server of names in the container's network namespace, {ADDRESS}: {reason(error)}"
        raise RunxError(message, "is the loopback interface of the namespace up?") from None


class Relay:
    """The part of the loop that carries DNS messages between the guest and the engine's server, if there is one."""

    def __init__(self, to_guest: "ToGuest") -> None:
        self._to_guest = to_guest
        self._server: Server | None = None

    def find(self) -> None:
        """Look for the server, which an engine starts after the domain was made. Raises RunxError if it cannot be reached."""
        self._server = find()

    def announce(self) -> None:
        """Have the guest serve DNS at the address of the server."""
        if self._server:
            self._to_guest.put(link.names(ADDRESS))

    def ask(self, question: bytes) -> None:
        """Pass on a question of the guest. Raises LinkError if it was told of no server."""
        if not self._server:
            raise link.LinkError("a question for names, of which the guest has no server")
        self._server.ask(question)

    def watch(self, poller: select.poll) -> None:
        if self._server and self._to_guest.takes_input:
            poller.register(self._server.fd, select.POLLIN)

    def handle(self, ready: dict[int, int]) -> None:
        if self._server and self._server.fd in ready and (answer := self._server.answer()):
            self._to_guest.put(link.frame(link.ANSWER, answer))
