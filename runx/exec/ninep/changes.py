"""The file `changes` of the share `layer`: the guest writes records to it, which say what a container has written.

A record is `kind[1] size[4]` and so many bytes, as guest-assets/init/layer/writer.c sends them; numbers are little-endian:

    ENTRY      mode[4] uid[4] gid[4] major[4] minor[4] atime[8] mtime[8] size[8] flags[1] length[2] name, target of a link
    DATA       offset[8], bytes of the file
    ATTRIBUTE  length[2] name, value
    PLACE      the entry is complete; a directory is entered
    LEAVE      the directory that was entered last is complete
    REMOVE     name
    LINK       length[2] name, path of the file's first name
    END        number[4] of records, this one too

A request is answered when all that it says has been done. So one request may stand for hundreds of files.
"""

import errno
import os
import struct
from _thread import allocate_lock
from struct import Struct

from runx.exec.ninep.export_names import NOT_ALL
from runx.exec.ninep.layer import Problem, Root
from runx.exec.ninep.making import Facts
from runx.exec.ninep.nodes import refuse

TYPE_CHECKING = False  # as typing's, which costs the server memory
if TYPE_CHECKING:
    from runx.exec.ninep.nodes import Node

ENTRY, DATA, ATTRIBUTE, PLACE, LEAVE, REMOVE, LINK, END = range(1, 9)
RECORD_MAX = 1024 * 1024 + 512
"""Bytes of a record. The longest are the paths of links."""
_HEAD = Struct("<BI")
_ENTRY = Struct("<IIIIIqqQBH")
_OPAQUE = 1
_OFFSET = Struct("<Q")
_LENGTH = Struct("<H")
_NUMBER = Struct("<I")
_BROKEN = "the virtual machine broke a rule of what it sends"


class Changes:
    """What has come so far. In the place of an extended attribute, a fid writes to it (attribute.py)."""

    value = b""
    """Nothing can be read."""

    def __init__(self, root: Root) -> None:
        self._root = root
        self._turn = allocate_lock()
        """Held while a request is worked on, as that may be left to its thread (turns.py)."""
        self._rest = bytearray()
        """A record that has not come whole."""
        self._taken = 0
        """Bytes of the file that have come."""
        self._records = 0
        self._is_complete = False
        self._is_closed = False
        self._problem = ""

    def allow(self, size: int) -> None:
        """See Root.allow."""
        self._root.allow(size)

    def write(self, offset: int, data: "bytes | memoryview") -> None:
        """Take what follows what has come before. Raises OSError."""
        if not self._turn.acquire(False):
            refuse(errno.EBUSY)
        try:
            if self._problem or self._is_complete:
                refuse(errno.EIO)
            if offset != self._taken:
                raise Problem(_BROKEN)
            self._taken += len(data)
            self._take(memoryview(data))
        except Problem as problem:
            self._give_up(str(problem))
        except (struct.error, ValueError, OverflowError):
            self._give_up(_BROKEN)
        finally:
            self._turn.release()
            if self._is_closed:
                self._let_go()

    def finish(self, node: "Node") -> None:
        """The guest has closed the file."""

    def settled(self) -> str:
        """Names and bytes that have come, and why that is not all, or the host's disk does not have it; nothing if it has."""
        problem = self._problem or self._root.problem
        if not problem and not self._is_complete:
            problem = NOT_ALL
        if not problem:
            try:
                self._root.sync()
            except OSError as error:
                problem = f"the host's file system did not write it to its disk: {os.strerror(error.errno or 0).lower()}"
        return f"{self._root.names} {self._root.bytes} {problem}".rstrip()

    def close(self) -> None:
        """Take nothing more, and let go of the root filesystem: at once, or when a request that waits for a slow disk is done."""
        self._problem = self._problem or NOT_ALL
        self._is_closed = True
        self._let_go()

    def _let_go(self) -> None:
        if self._turn.acquire(False):
            self._root.close()
            self._turn.release()

    def _give_up(self, problem: str) -> None:
        self._problem = problem
        self._root.clean_up()
        refuse(errno.EIO)

    def _take(self, data: memoryview) -> None:
        if not self._rest:
            used = self._take_whole(data)
            self._rest += data[used:]
            return
        self._rest += data
        with memoryview(self._rest) as whole:
            used = self._take_whole(whole)
        del self._rest[:used]

    def _take_whole(self, data: memoryview) -> int:
        """Take the whole records at the beginning; their bytes."""
        at, end, head = 0, len(data), _HEAD.size
        while end - at >= head:
            kind, size = _HEAD.unpack_from(data, at)
            if size > RECORD_MAX:
                raise Problem(_BROKEN)
            if end - at - head < size:
                break
            at += head + size
            self._records += 1
            with data[at - size : at] as body:
                self._act(kind, body)
        return at

    def _act(self, kind: int, body: memoryview) -> None:
        root = self._root
        if self._is_complete:
            raise Problem(_BROKEN)
        if kind == ENTRY:
            self._begin(body)
        elif kind == DATA:
            (offset,) = _OFFSET.unpack_from(body)
            with body[_OFFSET.size :] as data:
                root.data(offset, data)
        elif kind == PLACE:
            root.place()
        elif kind == ATTRIBUTE:
            root.attribute(*_two(body, 0))
        elif kind == LEAVE:
            root.leave()
        elif kind == REMOVE:
            root.remove(bytes(body))
        elif kind == LINK:
            root.link(*_two(body, 0))
        elif kind == END and _NUMBER.unpack(body) == (self._records,):
            root.finish()
            self._is_complete = True
        else:
            raise Problem(_BROKEN)

    def _begin(self, body: memoryview) -> None:
        mode, uid, gid, major, minor, atime, mtime, size, flags, _ = _ENTRY.unpack_from(body)
        name, target = _two(body, _ENTRY.size - _LENGTH.size)
        try:
            facts = Facts(mode, uid, gid, atime, mtime)
        except OSError:
            raise Problem(_BROKEN) from None
        self._root.begin(name, facts, os.makedev(major, minor), size, target, is_opaque=bool(flags & _OPAQUE))


def _two(body: memoryview, at: int) -> tuple[bytes, bytes]:
    """A name with its length before it, and what follows. Raises Problem if it is longer than its record."""
    (length,) = _LENGTH.unpack_from(body, at)
    at += _LENGTH.size
    if at + length > len(body):
        raise Problem(_BROKEN)
    return bytes(body[at : at + length]), bytes(body[at + length :])
