"""A guest that sends what it likes as what its container has written (runx/exec/ninep/changes.py)."""

import errno
import os
import shutil
import stat
import struct
from pathlib import Path

from runx.exec.ninep.changes import ATTRIBUTE, DATA, END, ENTRY, LEAVE, LINK, PLACE, REMOVE, Changes
from runx.exec.ninep.export_names import SCRATCH
from runx.exec.ninep.layer import Root
from runx.exec.ninep.share import open_directory
from runxtools.testing.changerecords import TOP, data, entry, record, two, whole
from runxtools.testing.hostile_place import HostilePlace

_ROOM = 65536
_OVERHEAD = 1 << 20
"""Bytes of names and attributes that no limit of the layer counts."""
_MODES = tuple(kind | 0o6755 for kind in (stat.S_IFREG, stat.S_IFDIR, stat.S_IFLNK, stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFBLK, 0))
_NAMES = (
    b"a",
    b"below",
    b"file",
    b"up",
    b"escape",
    SCRATCH.encode(),
    b"new",
    b"..",
    b"",
    b"a/b",
    b"below/file",
    b"escape/secret",
)
_ATTRIBUTES = (b"user.x", b"trusted.overlay.opaque", b"system.posix_acl_default", b"security.capability", b"user.\0")


class Place(HostilePlace):
    """A root filesystem, and a directory beside it that no record may change."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, "root")

    def _fresh(self) -> Changes:
        shutil.rmtree(self.inside, ignore_errors=True)
        (self.inside / "below").mkdir(parents=True)
        (self.inside / "below/file").write_text("of the image")
        (self.inside / "file").write_text("of the image")
        (self.inside / "escape").symlink_to(self.outside)
        (self.inside / "up").symlink_to("..")
        taken = Changes(Root(open_directory(str(self.inside))))
        taken.allow(_ROOM)
        return taken

    def hear(self, given: bytes) -> None:
        """Take what a guest sends: the first byte says into how large requests it is split, the others are records (`_records`).
        Raises AssertionError for an error that is none of the protocol's, for a change outside of the root filesystem, and for
        more than the layer has room for."""
        first = os.dup(0)  # descriptors from here on are those of the root filesystem
        os.close(first)
        try:
            self._hear(given)
        finally:
            os.closerange(first, first + 1000)

    def _hear(self, given: bytes) -> None:
        changes = self._fresh()
        step = given[0] * 8 + 1 if given else 1
        stream = _records(given[1:])
        has_failed = False
        for at in range(0, len(stream), step):
            try:
                changes.write(at, stream[at : at + step])
                assert not has_failed, "more is taken after a problem"
            except OSError as error:
                assert error.errno == errno.EIO, error
                has_failed = True
        names, size, *problem = changes.settled().split(" ", 2)
        assert int(names) >= 0 and 0 <= int(size) <= _ROOM
        assert problem or not has_failed
        if has_failed or not problem:
            assert SCRATCH not in os.listdir(self.inside), "what is not complete stays"
        held = sum(path.lstat().st_blocks * 512 for path in self.inside.rglob("*"))
        assert held <= _ROOM + _OVERHEAD, held
        self.check()


def _records(given: bytes) -> bytes:
    """Records of a few names and modes, so that they meet; each is made of a kind and two bytes. Other kinds are bytes as they
    are, which need not be a record."""
    found: list[bytes] = []
    at = 0
    while at + 3 <= len(given) and len(found) < 200:
        kind, one, other = given[at : at + 3]
        at += 3
        name = _NAMES[one % len(_NAMES)]
        match kind % 16:
            case k if k == ENTRY:
                mode = _MODES[other % len(_MODES)]
                found.append(entry(mode, name, b"../outside", flags=other // 64 % 2, device=(1, other), size=other * 17))
            case k if k == DATA:
                found.append(data(one, bytes(other * 64)))
            case k if k == ATTRIBUTE:
                found.append(two(ATTRIBUTE, _ATTRIBUTES[one % len(_ATTRIBUTES)], bytes(other)))
            case k if k in (PLACE, LEAVE):
                found.append(record(k))
            case k if k == REMOVE:
                found.append(record(REMOVE, name))
            case k if k == LINK:
                found.append(two(LINK, name, _NAMES[other % len(_NAMES)]))
            case k if k == END:
                found.append(record(END, bytes([one, other, 0, 0])))
            case 9:
                found.append(record(one, given[at : at + other]))
                at += other
            case 10:
                found.append(given[at : at + other])
                at += other
            case 11:  # a file that is whole
                found.append(entry(_MODES[0], name, size=other) + data(0, bytes(other)) + record(PLACE))
            case 12:  # a directory that is entered
                found.append(entry(_MODES[1], name, flags=other % 2) + record(PLACE))
    if given[-1:] == b"\0":
        return TOP + b"".join(found)
    try:
        return whole(*found)
    except struct.error:
        return TOP + b"".join(found)
