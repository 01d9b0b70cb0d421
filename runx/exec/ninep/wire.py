"""Messages of 9P2000.L: numbers and layouts (Linux, include/net/9p/9p.h; diod, protocol.md).

A message is `size[4] type[1] tag[2]` and a body. Handlers get whole messages, so that offsets count from the size.
"""

import errno
from struct import Struct

RLERROR = 7
TSTATFS, TLOPEN, TLCREATE, TSYMLINK, TMKNOD, TREADLINK, TGETATTR, TSETATTR = 8, 12, 14, 16, 18, 22, 24, 26
TXATTRWALK, TXATTRCREATE, TREADDIR, TFSYNC, TLOCK, TGETLOCK = 30, 32, 40, 50, 52, 54
TLINK, TMKDIR, TRENAMEAT, TUNLINKAT = 70, 72, 74, 76
TVERSION, TATTACH, TFLUSH, TWALK, TREAD, TWRITE, TCLUNK = 100, 104, 108, 110, 116, 118, 120

NOFID = 0xFFFFFFFF
NOBODY = 0xFFFFFFFF
"""A user or group that is none: (uid_t) -1."""

HEAD = Struct("<IBH")
"""size, type, tag"""
BODY = HEAD.size
QID = Struct("<BIQ")
"""type, version, path"""
QID_DIRECTORY, QID_SYMLINK = 0x80, 0x02
ERROR = Struct("<IBHI")
READ = Struct("<IBHIQI")
"""A whole Tread; the beginning of a Twrite and of a Treaddir: head, fid, offset, count"""
COUNTED = Struct("<IBHI")
"""The beginning of Rread, Rreaddir and Rwrite: head, count"""
FLUSH = Struct("<IBHH")
"""A whole Tflush: head, tag of the request that is to be forgotten"""

_LENGTH = Struct("<H")


def texts(message: bytes, at: int, count: int) -> tuple[list[bytes], int]:
    """Strings at an offset of a message, and the offset after them. Raises OSError EINVAL if the message ends before."""
    found = []
    for _ in range(count):
        (size,) = _LENGTH.unpack_from(message, at)
        at += _LENGTH.size + size
        if at > len(message):
            raise OSError(errno.EINVAL, "a string is longer than its message")
        found.append(message[at - size : at])
    return found, at


def text(data: bytes) -> bytes:
    """A string as a message has it."""
    return _LENGTH.pack(len(data)) + data


def failure(tag: int, code: int) -> bytes:
    """The answer Rlerror. code: errno."""
    return ERROR.pack(ERROR.size, RLERROR, tag, code)
