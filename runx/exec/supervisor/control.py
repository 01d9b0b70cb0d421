"""The supervisor's control socket: `start`, `kill`, `pause`, `resume` and `exec` reach the process that owns the console.

A request is one line ("start", "signal 15"), and so is the answer ("ok", "ok WORDS", "error MESSAGE"). The connection of an
`exec` stays (sessions.py). The socket is in the container's directory, which only root may enter. Fast commands load this file;
requests.py has the supervisor's side.
"""

import _socket  # the socket module alone would cost a fast command more than its whole budget
import os
import sys

from runx.errors import RunxError

_NAME = "control"
LINE_LIMIT = 4096
_FDS_LIMIT, _FD_SIZE = 8, 4
ANSWER_TIMEOUT_S = 180
"""How long a command waits for the answer: longer than the supervisor gives xl."""


def _address(directory_fd: int) -> str:
    # Named by the descriptor of the directory: sun_path holds 108 bytes, and an id alone may have 255.
    return f"/proc/self/fd/{directory_fd}/{_NAME}"


def listen(directory: str) -> _socket.socket:
    """Make the socket in the container's directory, and listen on it."""
    directory_fd = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        listener = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
        listener.bind(_address(directory_fd))
    finally:
        os.close(directory_fd)
    listener.listen(64)
    return listener


def accept(listener: _socket.socket) -> int:
    """The descriptor of the next connection. Its client may never speak: poll before `receive`."""
    fd: int = listener._accept()[0]  # type: ignore[attr-defined]  # what socket.accept() wraps; typeshed leaves it out
    return fd


def peer(fd: int) -> int:
    """The pid of the process at the other end of a connection; 0 if this process does not see it (unix(7), SO_PEERCRED)."""
    connection = _socket.socket(fileno=fd)
    try:
        return int.from_bytes(connection.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12)[:4], sys.byteorder)
    finally:
        connection.detach()


def request(directory: str, line: str, limit_s: int = 0) -> str:
    """Send one request and wait for its answer, so many seconds; 0: ANSWER_TIMEOUT_S. What the answer says beside `ok`.

    Raises RunxError with the supervisor's message, or if the supervisor is not there or does not answer in time.
    """
    limit_s = limit_s or ANSWER_TIMEOUT_S
    gone = RunxError("container not running", "its supervisor has gone; `runx delete` cleans up what is left")
    directory_fd = _open(directory)
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
    try:
        # A struct timeval (socket(7)). A timeout of Python's would make the descriptor non-blocking.
        limit = limit_s.to_bytes(8, sys.byteorder) + bytes(8)
        connection.setsockopt(_socket.SOL_SOCKET, _socket.SO_RCVTIMEO, limit)
        connection.connect(_address(directory_fd))
        connection.sendall(line.encode() + b"\n")
        answer = receive(connection.fileno())
    except BlockingIOError:
        message = f"the container's supervisor did not answer within {limit_s} s"
        raise RunxError(message, "it hangs; `runx kill ID KILL` and `runx delete --force ID` do without it") from None
    except OSError:
        raise gone from None
    finally:
        connection.close()
        os.close(directory_fd)
    if answer == "ok" or answer.startswith("ok "):
        return answer[3:]
    if answer.startswith("error "):
        raise RunxError(answer.removeprefix("error "))
    raise gone


def _open(directory: str) -> int:
    try:
        return os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except FileNotFoundError:
        raise RunxError(f'container "{os.path.basename(directory)}" does not exist') from None


def begin(directory: str, line: str, fds: "tuple[int, ...]") -> _socket.socket:
    """Send a request with descriptors; the connection, on which the answers come. Raises RunxError if there is no container,
    OSError if its supervisor is not there."""
    directory_fd = _open(directory)
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    try:
        connection.connect(_address(directory_fd))
        send(connection, line, fds)
    except OSError:
        connection.close()
        raise
    finally:
        os.close(directory_fd)
    return connection


def send(connection: _socket.socket, line: str, fds: "tuple[int, ...]") -> None:
    """Send a line with descriptors (unix(7), SCM_RIGHTS). Raises OSError."""
    packed = b"".join(fd.to_bytes(_FD_SIZE, sys.byteorder) for fd in fds)
    connection.sendmsg([line.encode() + b"\n"], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, packed)] if fds else [])


def receive_all(fd: int) -> tuple[str, list[int]]:
    """A line as `receive`, and the descriptors that came with its beginning."""
    data, fds = receive_some(fd, _FDS_LIMIT)
    return (_line(fd, data) if data else ""), fds


def receive_some(fd: int, fds_most: int) -> tuple[bytes, list[int]]:
    """What has come, and the descriptors that came with it (unix(7), SCM_RIGHTS); nothing at the end, or if it fails."""
    connection = _socket.socket(fileno=fd)
    try:
        room = _socket.CMSG_SPACE(fds_most * _FD_SIZE)
        data, ancillary, _, _ = connection.recvmsg(LINE_LIMIT, room, _socket.MSG_CMSG_CLOEXEC)
    except OSError:
        return b"", []
    finally:
        connection.detach()
    fds = [
        int.from_bytes(content[at : at + _FD_SIZE], sys.byteorder)
        for level, kind, content in ancillary
        if (level, kind) == (_socket.SOL_SOCKET, _socket.SCM_RIGHTS)
        for at in range(0, len(content), _FD_SIZE)
    ]
    return data, fds


def receive(fd: int) -> str:
    """One line without its newline, or its beginning if the peer closes early."""
    return _line(fd, b"")


def _line(fd: int, data: bytes) -> str:
    while not data.endswith(b"\n") and len(data) < LINE_LIMIT:
        more = os.read(fd, LINE_LIMIT)
        if not more:
            break
        data += more
    return data.decode("utf-8", "replace").rstrip("\n")


def answer(fd: int, error: str = "", words: str = "") -> None:
    """Answer a request and close its connection. words: what was asked for."""
    line = f"error {' '.join(error.split())}" if error else f"ok {words}" if words else "ok"
    try:
        os.write(fd, line.encode("utf-8", "replace")[: LINE_LIMIT - 1] + b"\n")
    except OSError:
        pass  # the client has gone
    finally:
        os.close(fd)
