"""A client of 9P2000.L, for tests and for the double's guests.

It says what its caller wants said, so that a test can be as hostile as a guest.
"""

import os
import socket
import struct

from runx.exec.ninep import wire

MESSAGE_MAX = 65536
NOFID = 0xFFFFFFFF
ROOT = 0
"""The fid of the share's root, once `begin` was called."""


class Client:
    """Methods are requests; each raises OSError with the errno of the answer."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.numbers = iter(range(1, 1 << 30))
        self.uid = 0

    def raw(self, message: bytes) -> bytes:
        """Send a whole message; the whole answer."""
        self.connection.sendall(message)
        head = self.connection.recv(4, socket.MSG_WAITALL)
        assert len(head) == 4, "the server has gone"
        (size,) = struct.unpack("<I", head)
        return head + self.connection.recv(size - 4, socket.MSG_WAITALL)

    def ask(self, kind: int, body: bytes, tag: int = 1) -> bytes:
        """The body of the answer."""
        answer = self.raw(struct.pack("<IBH", 7 + len(body), kind, tag) + body)
        size, answered, answered_tag = struct.unpack_from("<IBH", answer)
        assert (size, answered_tag) == (len(answer), tag)
        if answered == wire.RLERROR:
            (code,) = struct.unpack("<I", answer[7:])
            raise OSError(code, os.strerror(code))
        assert answered == kind + 1
        return answer[7:]

    def version(self, size: int = MESSAGE_MAX, name: bytes = b"9P2000.L") -> tuple[int, bytes]:
        answer = self.ask(wire.TVERSION, struct.pack("<I", size) + wire.text(name), tag=0xFFFF)
        return struct.unpack_from("<I", answer)[0], answer[6:]

    def begin(self, uid: int = 0) -> "Client":
        self.version()
        self.attach(ROOT, uid)
        return self

    def attach(self, fid: int, uid: int = 0, authenticated: int = NOFID) -> bytes:
        self.uid = uid
        names = wire.text(b"") + wire.text(b"")
        return self.ask(wire.TATTACH, struct.pack("<II", fid, authenticated) + names + struct.pack("<I", uid))

    def walk(self, *names: bytes, fid: int = ROOT, new: int | None = None) -> int:
        """A new fid for names below another one. Raises FileNotFoundError if the walk ends early."""
        number = next(self.numbers) if new is None else new
        body = struct.pack("<IIH", fid, number, len(names)) + b"".join(map(wire.text, names))
        (count,) = struct.unpack_from("<H", self.ask(wire.TWALK, body))
        if count != len(names):
            raise FileNotFoundError(2, "the walk ended early")
        return number

    def clunk(self, fid: int) -> None:
        self.ask(wire.TCLUNK, struct.pack("<I", fid))

    def lopen(self, fid: int, flags: int = os.O_RDONLY) -> int:
        self.ask(wire.TLOPEN, struct.pack("<II", fid, flags))
        return fid

    def open(self, *names: bytes, flags: int = os.O_RDONLY) -> int:
        return self.lopen(self.walk(*names), flags)

    def create(self, name: bytes, flags: int = os.O_RDWR, mode: int = 0o644, gid: int = 0, fid: int = ROOT) -> int:
        """A new file below a directory, opened; its fid."""
        made = self.walk(fid=fid)
        self.ask(wire.TLCREATE, struct.pack("<I", made) + wire.text(name) + struct.pack("<III", flags, mode, gid))
        return made

    def read(self, fid: int, offset: int = 0, count: int = 4096) -> bytes:
        return self.ask(wire.TREAD, struct.pack("<IQI", fid, offset, count))[4:]

    def write(self, fid: int, data: bytes, offset: int = 0) -> int:
        answer = self.ask(wire.TWRITE, struct.pack("<IQI", fid, offset, len(data)) + data)
        return int(struct.unpack("<I", answer)[0])

    def fsync(self, fid: int, data_only: int = 0) -> None:
        self.ask(wire.TFSYNC, struct.pack("<II", fid, data_only))

    def getattr(self, fid: int) -> dict[str, int]:
        words = "valid qid mode uid gid nlink rdev size blksize blocks atime atime_ns mtime mtime_ns".split()
        found = struct.unpack_from("<Q13sIIIQQQQQQQQQ", self.ask(wire.TGETATTR, struct.pack("<IQ", fid, 0x7FF)))
        return dict(zip(words, found, strict=True))

    def setattr(self, fid: int, valid: int, *values: int) -> None:
        """values: mode, uid, gid, size, atime, its nanoseconds, mtime, its nanoseconds; 0 for those left out."""
        full = (*values, *(0,) * (8 - len(values)))
        self.ask(wire.TSETATTR, struct.pack("<IIIIIQQQQQ", fid, valid, *full))

    def statfs(self, fid: int = ROOT) -> tuple[int, ...]:
        return struct.unpack("<IIQQQQQQI", self.ask(wire.TSTATFS, struct.pack("<I", fid)))

    def names(self, fid: int, count: int = 8192) -> list[bytes]:
        """All names of an open directory."""
        found, offset = [], 0
        while data := self.ask(wire.TREADDIR, struct.pack("<IQI", fid, offset, count))[4:]:
            at = 0
            while at < len(data):
                _, offset, _, length = struct.unpack_from("<13sQBH", data, at)
                found.append(data[at + 24 : at + 24 + length])
                at += 24 + length
        return found

    def mkdir(self, name: bytes, mode: int = 0o755, gid: int = 0, fid: int = ROOT) -> None:
        self.ask(wire.TMKDIR, struct.pack("<I", fid) + wire.text(name) + struct.pack("<II", mode, gid))

    def mknod(self, name: bytes, mode: int, major: int = 0, minor: int = 0, fid: int = ROOT) -> None:
        self.ask(wire.TMKNOD, struct.pack("<I", fid) + wire.text(name) + struct.pack("<IIII", mode, major, minor, 0))

    def symlink(self, name: bytes, target: bytes, fid: int = ROOT, gid: int = 0) -> None:
        self.ask(wire.TSYMLINK, struct.pack("<I", fid) + wire.text(name) + wire.text(target) + struct.pack("<I", gid))

    def readlink(self, fid: int) -> bytes:
        return self.ask(wire.TREADLINK, struct.pack("<I", fid))[2:]

    def link(self, target: int, name: bytes, fid: int = ROOT) -> None:
        self.ask(wire.TLINK, struct.pack("<II", fid, target) + wire.text(name))

    def rename(self, name: bytes, to: bytes, fid: int = ROOT, new: int = ROOT) -> None:
        self.ask(wire.TRENAMEAT, struct.pack("<I", fid) + wire.text(name) + struct.pack("<I", new) + wire.text(to))

    def unlink(self, name: bytes, flags: int = 0, fid: int = ROOT) -> None:
        self.ask(wire.TUNLINKAT, struct.pack("<I", fid) + wire.text(name) + struct.pack("<I", flags))

    def getxattr(self, fid: int, name: bytes = b"") -> bytes:
        """An extended attribute; without a name, the names of all."""
        new = next(self.numbers)
        (size,) = struct.unpack("<Q", self.ask(wire.TXATTRWALK, struct.pack("<II", fid, new) + wire.text(name)))
        value = self.read(new, 0, size) if size else b""
        self.clunk(new)
        return value

    def setxattr(self, fid: int, name: bytes, value: bytes, flags: int = 0) -> None:
        new = self.walk(fid=fid)
        self.ask(wire.TXATTRCREATE, struct.pack("<I", new) + wire.text(name) + struct.pack("<QI", len(value), flags))
        if value:
            self.write(new, value)
        self.clunk(new)

    def lock(
        self, fid: int, kind: int, start: int = 0, length: int = 0, process: int = 1, client: bytes = b"guest", flags: int = 0
    ) -> bool:
        """Whether the lock was given, or given up."""
        body = struct.pack("<IBIQQI", fid, kind, flags, start, length, process) + wire.text(client)
        (status,) = self.ask(wire.TLOCK, body)
        assert status in (0, 1)
        return not status

    def getlock(self, fid: int, kind: int, start: int = 0, length: int = 0, process: int = 1) -> tuple[int, int, int]:
        body = struct.pack("<IBQQI", fid, kind, start, length, process) + wire.text(b"guest")
        found = struct.unpack_from("<BQQI", self.ask(wire.TGETLOCK, body))
        return found[0], found[1], found[2]
