"""A share's requests: what answers each (9P2000.L), and those about fids themselves."""

import errno
import struct
from struct import Struct

from runx.exec.ninep import attributes, contents, limits, listing, locks, names, wire
from runx.exec.ninep.fids import Fid
from runx.exec.ninep.nodes import refuse

TYPE_CHECKING = False  # as typing's, which costs the server memory
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from runx.exec.ninep.share import Share

_VERSION = Struct("<I")
_ATTACH = Struct("<II")
_NUMBER = Struct("<I")
_WALK = Struct("<IIH")
_COUNT = Struct("<H")
PROTOCOL = b"9P2000.L"


def answer(share: "Share", message: "bytes | memoryview", room: int) -> bytes:
    """Answer a whole message; every failure is an answer, too. A large Twrite may be no object of Python's own.

    room: bytes of an answer that the transport can take at most.
    """
    _, kind, tag = wire.HEAD.unpack_from(message)
    try:
        handler = _HANDLERS.get(kind)
        if kind == wire.TVERSION:
            body = _version(share, bytes(message), room)
        elif handler is None:
            refuse(errno.EOPNOTSUPP)
        elif not share.message_max:
            refuse(errno.EPROTO)
        else:
            body = handler(share, message)
            if wire.BODY + len(body) > share.message_max:
                refuse(errno.EMSGSIZE)
    except OSError as error:
        return wire.failure(tag, error.errno or errno.EIO)
    except (struct.error, IndexError, ValueError, OverflowError):
        return wire.failure(tag, errno.EINVAL)
    except MemoryError:
        return wire.failure(tag, errno.ENOMEM)
    return wire.HEAD.pack(wire.BODY + len(body), kind + 1, tag) + body


def _version(share: "Share", message: bytes, room: int) -> bytes:
    """Begin again (Tversion)."""
    (asked,) = _VERSION.unpack_from(message, wire.BODY)
    ((name,), _) = wire.texts(message, wire.BODY + 4, 1)
    share.reset()
    size = min(asked, room, limits.MESSAGE_MAX)
    if name != PROTOCOL or size < limits.MESSAGE_MIN:
        return _VERSION.pack(size) + wire.text(b"unknown")
    share.message_max = size
    return _VERSION.pack(size) + wire.text(PROTOCOL)


def _attach(share: "Share", message: bytes) -> bytes:
    number, authenticated = _ATTACH.unpack_from(message, wire.BODY)
    _, at = wire.texts(message, wire.BODY + 8, 2)
    (uid,) = _NUMBER.unpack_from(message, at)
    if authenticated != wire.NOFID:
        refuse(errno.EPERM)
    share.fids.add(number, Fid(share.root, uid))
    return share.root.qid


def _flush(_: "Share", __: bytes) -> bytes:
    return b""  # its turn comes when what it is about has been answered (turns.py)


def _walk(share: "Share", message: bytes) -> bytes:
    number, new, count = _WALK.unpack_from(message, wire.BODY)
    if count > limits.WALK_MAX:
        refuse(errno.EINVAL)
    found, _ = wire.texts(message, wire.BODY + _WALK.size, count)
    fid = share.fids.get(number)
    if fid.file is not None and (count or number == new):
        refuse(errno.EBADF)
    node = fid.node
    qids: list[bytes] = []
    for name in found:
        try:
            node = share.step(node, name)
        except OSError as error:
            if not qids or error.errno not in (errno.ENOENT, errno.ENOTDIR, errno.EINVAL):
                raise  # Linux takes a walk that ends early for ENOENT, whatever the reason
            return _COUNT.pack(len(qids)) + b"".join(qids)  # as far as it goes; there is no new fid
        qids.append(node.qid)
    if new == number:
        share.fids.replace(number, Fid(node, fid.uid))
    else:
        share.fids.add(new, Fid(node, fid.uid))
    return _COUNT.pack(len(qids)) + b"".join(qids)


def _clunk(share: "Share", message: bytes) -> bytes:
    (number,) = _NUMBER.unpack_from(message, wire.BODY)
    fid = share.fids.remove(number)
    if fid.has_locks:
        share.locks.forget(fid)
        share.databases.forget(fid)
    if fid.attribute is not None:
        fid.attribute.finish(fid.node)
    return b""


_HANDLERS: "dict[int, Callable[[Share, Any], bytes]]" = {
    wire.TATTACH: _attach,
    wire.TFLUSH: _flush,
    wire.TWALK: _walk,
    wire.TCLUNK: _clunk,
    wire.TGETATTR: attributes.getattr_,
    wire.TSETATTR: attributes.setattr_,
    wire.TSTATFS: attributes.statfs,
    wire.TXATTRWALK: attributes.xattrwalk,
    wire.TXATTRCREATE: attributes.xattrcreate,
    wire.TLOPEN: contents.lopen,
    wire.TLCREATE: contents.lcreate,
    wire.TREAD: contents.read,
    wire.TWRITE: contents.write,
    wire.TREADDIR: listing.readdir,
    wire.TFSYNC: contents.fsync,
    wire.TSYMLINK: names.symlink,
    wire.TMKNOD: names.mknod,
    wire.TREADLINK: names.readlink,
    wire.TLINK: names.link,
    wire.TMKDIR: names.mkdir,
    wire.TRENAMEAT: names.renameat,
    wire.TUNLINKAT: names.unlinkat,
    wire.TLOCK: locks.lock,
    wire.TGETLOCK: locks.getlock,
}
