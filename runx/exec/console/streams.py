"""The container's standard streams on the host: descriptors on one side, frames of the console link on the other.

Descriptors are never set to O_NONBLOCK: that flag belongs to the open file, which the caller shares with this process. A pipe
is opened again for writing, which makes an open file of our own (pipe(7), fifo(7)). For other descriptors poll says when a read
or a write of at most PIPE_BUF bytes will not block.
"""

import os
import select
import stat

from runx.exec.console import frames as link

_PIPE_BUF = 4096
_CREDIT_STEP = 16 * 1024
"""Bytes after which credit is given, or earlier when all is written: fewer frames, and the window never stalls."""


class Output:
    """Standard output or error: bytes from the guest on their way to a descriptor."""

    def __init__(self, stream: int, fd: int, session: int = 0) -> None:
        self.stream = stream
        self._session = session
        self.fd = fd
        self.open = _is_open(fd)
        self._poller = select.poll()
        if self.open:
            self._poller.register(fd, select.POLLOUT)
        self._own: int | None = None
        """The pipe, opened again and non-blocking; -1 if it is no pipe, None before the first write."""
        self._pending = bytearray()
        self._rest = 0
        self._unacknowledged = 0
        self._written = 0
        self._ending = False
        self.gone = not self.open
        """The reader has gone, and `frames` tells the guest."""
        self._told = False

    @property
    def wants_write(self) -> bool:
        return self.open and bool(self._pending)

    @property
    def drained(self) -> bool:
        return not self._pending

    @property
    def pending(self) -> int:
        """Bytes that wait for their reader."""
        return len(self._pending)

    def begin_rest(self) -> None:
        """Count what waits now. What comes later is not the process's any more."""
        self._rest = len(self._pending)

    @property
    def rest_is_written(self) -> bool:
        """Whether all is written that waited at `begin_rest`."""
        return self._rest <= 0

    def receive(self, data: bytes) -> None:
        """Take the payload of a STDOUT or STDERR frame. An empty one means that the process closed the stream.

        Raises LinkError if the guest ignores the window, which limits the memory of this process.
        """
        if not data:
            self._ending = True
            if not self._pending:
                self._end()
            return
        if self._unacknowledged + len(data) > link.OUTPUT_WINDOW:
            raise link.LinkError(f"more than {link.OUTPUT_WINDOW} bytes of output without credit")
        self._unacknowledged += len(data)
        if self.open:
            self._pending += data
        else:
            self._written += len(data)  # nobody reads it, which CLOSED tells the process

    def watch(self, poller: select.poll) -> None:
        """Poll for room if there is something to write, and in any case for the reader's end, which poll always reports."""
        if self.open:
            poller.register(self.fd, select.POLLOUT if self.wants_write else 0)

    def heed(self, events: int) -> None:
        """Hang up if these events of poll(2) say that the reader has gone."""
        if events & ~select.POLLOUT and not events & select.POLLOUT:
            self.hang_up()

    def write_ready(self) -> None:
        """Write what can be written without blocking."""
        while self.wants_write and self._write_some():
            pass

    def _write_some(self) -> bool:
        """Write once; False if the descriptor takes no more at present."""
        if self._own is None:
            self._own = _open_again(self.fd)
        try:
            if self._own >= 0:
                size = os.write(self._own, self._pending)
            elif self._poller.poll(0):
                size = os.write(self.fd, self._pending[:_PIPE_BUF])
            else:
                return False
        except BlockingIOError:
            return False
        except OSError:  # EPIPE, or another end of the reader
            self.hang_up()
            return False
        del self._pending[:size]
        self._rest -= size
        self._written += size
        if self._ending and not self._pending:
            self._end()
        return True

    def hang_up(self) -> None:
        """Drop what waits, as the reader has gone. The process gets EPIPE, as it would with a pipe of its own."""
        self._written += len(self._pending)
        self._rest = 0
        self._pending.clear()
        self.gone = True
        self._end()

    def frames(self) -> bytes:
        """The frames that the guest is due: credit, and that the reader has gone."""
        result = b""
        if self._written and (self._written >= _CREDIT_STEP or not self._pending):
            result = link.credit(self.stream, self._written, self._session)
            self._unacknowledged -= self._written
            self._written = 0
        if self.gone and not self._told:
            self._told = True
            result += link.frame(link.CLOSED, bytes((self.stream,)), self._session)
        return result

    def _end(self) -> None:
        if self.open:
            self.open = False
            if self._own is not None and self._own >= 0:
                os.close(self._own)
            _replace_with_null(self.fd, os.O_WRONLY)


class Input:
    """Standard input: bytes from a descriptor on their way to the guest."""

    def __init__(self, fd: int, session: int = 0) -> None:
        self.fd = fd
        self._session = session
        self._window = link.INPUT_WINDOW
        self._closed = not _is_open(fd)
        self._eof_due = self._closed

    @property
    def wants_read(self) -> bool:
        return not self._closed and self._window > 0

    def read_some(self) -> bytes:
        """A STDIN frame, or STDIN_EOF at the end. Call it when poll says that the descriptor is ready."""
        data = self.read_bytes()
        if self._closed:
            return link.frame(link.STDIN_EOF, session=self._session)
        self._window -= len(data)
        return link.frame(link.STDIN, data, self._session) if data else b""

    def read_bytes(self) -> bytes:
        """The bytes alone, for a guest that knows no frames and gives no credit. Empty at the end."""
        data = read(self.fd, min(self._window, link.PAYLOAD_LIMIT))
        if data == b"":
            self.close()
        return data or b""

    def greeting(self) -> bytes:
        """The frame that is due as soon as the guest listens: the end of an input that never was open."""
        if self._eof_due:
            self._eof_due = False
            return link.frame(link.STDIN_EOF, session=self._session)
        return b""

    def credit(self, size: int) -> None:
        """Note that the process took so many bytes. Raises LinkError for more than were sent."""
        self._window += size
        if self._window > link.INPUT_WINDOW:
            raise link.LinkError("credit for input that was not sent")

    def close(self) -> None:
        """Read no more: the input has ended, or the process closed it."""
        if not self._closed:
            self._closed = True
            _replace_with_null(self.fd, os.O_RDONLY)


def read(fd: int, size: int) -> bytes | None:
    """At most `size` bytes of a descriptor; none at its end, or when it has failed. None if there is nothing to read now."""
    try:
        return os.read(fd, size)
    except BlockingIOError:
        return None
    except OSError:
        return b""


def _is_open(fd: int) -> bool:
    try:
        os.fstat(fd)
    except OSError:
        return False
    return True


def _open_again(fd: int) -> int:
    try:
        if stat.S_ISFIFO(os.fstat(fd).st_mode):
            return os.open(f"/proc/self/fd/{fd}", os.O_WRONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:  # ENXIO: the reader has gone, which a write will notice
        pass
    return -1


def _replace_with_null(fd: int, flags: int) -> None:
    """Close a standard descriptor, but keep its number in use: a later open must not get it."""
    null = os.open("/dev/null", flags | os.O_CLOEXEC)
    os.dup2(null, fd, inheritable=True)
    os.close(null)
