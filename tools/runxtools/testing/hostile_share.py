"""A guest that says what it likes to the server of its shares, over no ring: messages alone."""

import os
import shutil
import struct
from pathlib import Path

from runx.exec.ninep import session, wire
from runx.exec.ninep.nodes import Rules
from runx.exec.ninep.share import Share, open_directory
from runxtools.testing.hostile_place import HostilePlace

_ROOM = 65536
_KINDS = sorted(kind for name, kind in vars(wire).items() if name.startswith("T") and isinstance(kind, int))


class Place(HostilePlace):
    """A share, and a directory beside it that no message may change."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, "shared")

    def _fresh(self) -> Share:
        shutil.rmtree(self.inside, ignore_errors=True)
        (self.inside / "dir").mkdir(parents=True)
        (self.inside / "file").write_bytes(b"content" * 100)
        (self.inside / "link").symlink_to(self.outside)
        (self.inside / "up").symlink_to("..")
        return Share(open_directory(str(self.inside)), Rules())

    def hear(self, data: bytes) -> None:
        """Answer what a guest says: pieces of `data`, each a length, a type and a body. Raises AssertionError for an answer that
        is none, and for a change outside the share."""
        share = self._fresh()
        for message in (*_beginning(), *_messages(data)):
            answer = session.answer(share, message, _ROOM)
            size, kind, tag = wire.HEAD.unpack_from(answer)
            assert size == len(answer) <= _ROOM
            assert kind in (message[4] + 1, wire.RLERROR)
            assert tag == wire.HEAD.unpack_from(message)[2]
        share.reset()
        self.check()


def _beginning() -> list[bytes]:
    """Fid 0 is the share, 1 `dir`, 2 `file` (open), 3 `link`."""
    attach = struct.pack("<II", 0, wire.NOFID) + wire.text(b"") * 2 + struct.pack("<I", 0)
    walks = [
        _whole(wire.TWALK, struct.pack("<IIH", 0, number, 1) + wire.text(name))
        for number, name in enumerate((b"dir", b"file", b"link"), 1)
    ]
    version = struct.pack("<I", _ROOM) + wire.text(session.PROTOCOL)
    opened = _whole(wire.TLOPEN, struct.pack("<II", 2, os.O_RDWR))
    return [_whole(wire.TVERSION, version), _whole(wire.TATTACH, attach), *walks, opened]


def _whole(kind: int, body: bytes) -> bytes:
    return wire.HEAD.pack(wire.BODY + len(body), kind, 1) + body


def _messages(data: bytes) -> list[bytes]:
    found: list[bytes] = []
    at = 0
    while at + 2 <= len(data) and len(found) < 50:
        length, kind = data[at], _KINDS[data[at + 1] % len(_KINDS)]
        found.append(_whole(kind, data[at + 2 : at + 2 + length]))
        at += 2 + length
    return found
