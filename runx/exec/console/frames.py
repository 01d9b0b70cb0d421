"""The frames of the console link, the host's side (docs/console-link.md): bytes to frames and back, without I/O."""

from runx.errors import RunxError

HELLO, LOG, FATAL, STARTED, STDOUT, STDERR, EXIT, CREDIT_IN, STDIN_CLOSED, QUESTION, ENDING = range(0x01, 0x0C)
WRITTEN_BACK, LAYER, TIME = 0x0C, 0x0D, 0x0E
STDIN, STDIN_EOF, SIGNAL, WINSIZE, CREDIT_OUT, CLOSED, NETWORK, NAMES, ANSWER, SPACE, EXEC = range(0x41, 0x4C)
ASK_TIME, ADJUST_TIME, CONTAINER, PLACE, DIAL = range(0x4C, 0x51)

VERSION = 2
PAYLOAD_LIMIT = 4096
CONNECTIONS_MOST = 32
"""Sessions at once that are connections."""
PROCESSES_MOST = 64
"""Those that are processes."""
QUESTIONS_MOST = 8
"""Those that are neither."""
REMAINDERS_MOST = 24
"""Those whose process has ended, while others use its output."""
SESSIONS_MOST = CONNECTIONS_MOST + PROCESSES_MOST + QUESTIONS_MOST + REMAINDERS_MOST
"""All of them, beside session 0."""
RECORD_LIMIT = 4 * 1024 * 1024
"""Bytes of all EXEC or CONTAINER frames of a session."""
OUTPUT_WINDOW = 128 * 1024
"""Bytes of one output stream that the guest may send before the host gives credit."""
INPUT_WINDOW = 32 * 1024
"""Bytes of input that the host may send before the guest gives credit."""

_HEADER_SIZE = 4
_TIME_MOST = 2**63 - 1
_OF_SESSIONS = (FATAL, STARTED, STDOUT, STDERR, EXIT, CREDIT_IN, STDIN_CLOSED, ENDING, WRITTEN_BACK, LAYER)
"""Types of frames that the guest sends of any session. All others are of session 0."""
_SIZES = {
    HELLO: (1, 1),
    FATAL: (1, PAYLOAD_LIMIT),
    STARTED: (0, 0),
    EXIT: (1, 1),
    CREDIT_IN: (5, 5),
    STDIN_CLOSED: (0, 0),
    QUESTION: (12, PAYLOAD_LIMIT),  # a DNS message has a header of that size (RFC 1035)
    ENDING: (1, 1),
    WRITTEN_BACK: (1, PAYLOAD_LIMIT),
    LAYER: (0, 0),
    TIME: (8, 8),
}
"""Least and most bytes of payloads that have a fixed form."""


class LinkError(RunxError):
    """The guest broke a rule of the link."""


class Decoder:
    """Turns the guest's bytes into frames. It holds less than one frame between two calls."""

    def __init__(self, *, sessions: bool = False) -> None:
        """sessions: whether there may be others than session 0."""
        self._last_session = SESSIONS_MOST if sessions else 0
        self._input = bytearray()
        self._greeted = False
        self._over = False
        self._ending = -1
        """The status of ENDING; -1 before it."""

    @property
    def held(self) -> int:
        """Bytes of a frame whose end has not come yet."""
        return len(self._input)

    def feed(self, data: bytes) -> list[tuple[int, bytes]]:
        """The frames that `data` completes, as (kind, payload): the kind is `kind_of` the session and the type, and so the type
        alone for session 0. Raises LinkError naming the rule that the guest broke."""
        buffer = self._input
        buffer += data
        frames = []
        at = 0
        while len(buffer) - at >= _HEADER_SIZE:
            kind, session, low, high = buffer[at : at + _HEADER_SIZE]
            length = low | high << 8
            if session > self._last_session or not HELLO <= kind <= TIME or (session and kind not in _OF_SESSIONS):
                raise LinkError(f"no such frame: type {kind:#04x}, second byte {session:#04x}")
            least, most = _SIZES.get(kind, (0, PAYLOAD_LIMIT))
            if not least <= length <= most:
                raise LinkError(f"a frame of type {kind:#04x} with {length} bytes")
            if not self._greeted and kind != HELLO:
                raise LinkError(f"a frame of type {kind:#04x} before HELLO")
            if self._over:
                raise LinkError(f"a frame of type {kind:#04x} after the last one")
            if len(buffer) - at < _HEADER_SIZE + length:
                break
            payload = bytes(buffer[at + _HEADER_SIZE : at + _HEADER_SIZE + length])
            if kind == HELLO and payload[0] != VERSION:
                raise LinkError(f"version {payload[0]} of the link, this runx speaks {VERSION}")
            self._greeted = True
            if not session:
                self._check_ending(kind, payload)
                self._over = kind in (FATAL, EXIT)
            frames.append((kind_of(session, kind), payload))
            at += _HEADER_SIZE + length
        del buffer[:at]
        return frames

    def _check_ending(self, kind: int, payload: bytes) -> None:
        """Raise LinkError unless the guest ends in order: ENDING comes once, and EXIT has the same status then."""
        if self._ending >= 0:
            if kind in (ENDING, FATAL):
                raise LinkError(f"a frame of type {kind:#04x} after ENDING")
            if kind == EXIT and payload[0] != self._ending:
                raise LinkError(f"EXIT with status {payload[0]} after ENDING with status {self._ending}")
        elif kind == ENDING:
            self._ending = payload[0]


def kind_of(session: int, kind: int) -> int:
    """A type of frames and a session as one number: the first two bytes of a frame."""
    return session << 8 | kind


def frame(kind: int, payload: bytes = b"", session: int = 0) -> bytes:
    """One frame for the guest."""
    return bytes((kind, session, len(payload) & 0xFF, len(payload) >> 8)) + payload


def credit(stream: int, size: int, session: int = 0) -> bytes:
    """The frame that says that `size` bytes of stream 1 or 2 have been written to their reader."""
    return frame(CREDIT_OUT, bytes((stream,)) + size.to_bytes(4, "little"), session)


def network(script: bytes) -> bytes:
    """The frames that carry the network script."""
    parts = [script[at : at + PAYLOAD_LIMIT] for at in range(0, len(script), PAYLOAD_LIMIT)]
    return b"".join(frame(NETWORK, part) for part in [*parts, b""])


def names(address: str) -> bytes:
    """The frame that tells the guest to serve DNS at an IPv4 address."""
    return frame(NAMES, bytes(map(int, address.split("."))))


def signal(number: int, session: int = 0) -> bytes:
    """The frame that has the guest deliver a signal to the process."""
    return frame(SIGNAL, bytes((number,)), session)


def dial(port: int, session: int) -> bytes:
    """The frame that makes a session a connection to a port of the guest."""
    return frame(DIAL, port.to_bytes(2, "little"), session)


def space(limit: int, held: int) -> bytes:
    """The frame that tells the guest how many bytes of the host's disk its layer may occupy, and how many it does."""
    return frame(SPACE, limit.to_bytes(8, "little") + held.to_bytes(8, "little"))


def adjust_time(difference_ns: int) -> bytes:
    """The frame that has the guest add so many nanoseconds to its clock; as many as the frame can say."""
    return frame(ADJUST_TIME, max(-_TIME_MOST, min(difference_ns, _TIME_MOST)).to_bytes(8, "little", signed=True))


def parse_time(payload: bytes) -> int:
    """The guest's time in nanoseconds since 1970, of a TIME."""
    return int.from_bytes(payload, "little")


def parse_written_back(payload: bytes) -> tuple[bool, str]:
    """Whether all was sent, and what went wrong, of a WRITTEN_BACK."""
    return payload[0] == 0, payload[1:].decode("utf-8", "backslashreplace")


def parse_credit(payload: bytes) -> tuple[int, int]:
    """Stream and number of bytes of a CREDIT from the guest."""
    return payload[0], int.from_bytes(payload[1:5], "little")
