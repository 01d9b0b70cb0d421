"""A server of runx's for a client of 9P2000.L, in a process of its own on the other end of a socket."""

import os
import signal
import socket
import struct
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from runx.exec.ninep import session
from runx.exec.ninep.nodes import Rules
from runx.exec.ninep.share import Share, open_directory
from runxtools.ninep.client import MESSAGE_MAX, Client


@contextmanager
def served(directory: Path, rules: Rules | None = None, entries: dict[bytes, Rules] | None = None) -> Iterator[Client]:
    """A client of a server of this directory, which runs in a child."""
    with served_share(Share(open_directory(str(directory)), rules or Rules(), entries)) as client:
        yield client


@contextmanager
def served_share(share: Share) -> Iterator[Client]:
    """A client of a share, whose server runs in a child."""
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        try:
            ours.close()
            os.umask(0)
            serve(theirs, share)
        except BaseException:
            traceback.print_exc()
        finally:
            os._exit(0)
    theirs.close()
    try:
        yield Client(ours)
    finally:
        ours.close()
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def serve(connection: socket.socket, share: Share) -> None:
    """Answer what comes, as the transport does with rings."""
    os.chdir("/proc/self/fd")
    while head := connection.recv(4, socket.MSG_WAITALL):
        (size,) = struct.unpack("<I", head)
        message = head + connection.recv(size - 4, socket.MSG_WAITALL)
        connection.sendall(session.answer(share, message, MESSAGE_MAX))
