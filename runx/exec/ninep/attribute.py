"""An extended attribute while it is read or written."""

import errno
import os

from runx.exec.ninep.nodes import refuse

TYPE_CHECKING = False  # as typing's, which costs the server memory
if TYPE_CHECKING:
    from runx.exec.ninep.nodes import Held, Node

CAPABILITY = b"security.capability"
_ACCESS_LISTS = (b"system.posix_acl_access", b"system.posix_acl_default")
"""Attributes that are never empty: the client (fs/9p/acl.c) removes them without XATTR_REPLACE. Linux takes an empty value for
that since 6.2 only."""
_GUESTS = (b"user.", *_ACCESS_LISTS, CAPABILITY)
"""What a program in a container of runc may set. Others (trusted.overlay.opaque, security.selinux) steer the host."""


def is_guests(name: bytes) -> bool:
    """Whether a guest may set the extended attribute of this name."""
    return name.startswith(_GUESTS[0]) or name in _GUESTS[1:]


class Attribute:
    """An extended attribute, or the list of names, that is read or written by a fid of its own."""

    __slots__ = ("_flags", "_held", "_name", "_size", "value")

    def __init__(self, value: "bytes | bytearray", held: "Held", name: bytes = b"", size: int = -1, flags: int = 0) -> None:
        """size, flags: of setxattr(2); size -1 if it is only read."""
        self.value = value
        self._held = held
        self._name, self._size, self._flags = name, size, flags

    def write(self, offset: int, data: "bytes | memoryview") -> None:
        """Add a piece of the value. Raises OSError unless it follows the last one and ends within the size."""
        if not isinstance(self.value, bytearray):
            refuse(errno.EBADF)
        if offset != len(self.value) or offset + len(data) > self._size:
            refuse(errno.EINVAL)
        self.value += data

    def finish(self, node: "Node") -> None:
        """Set the attribute, if that is what it is for. Raises OSError."""
        if not isinstance(self.value, bytearray):
            return
        if len(self.value) != self._size:
            refuse(errno.EINVAL)
        if not self._size and (self._flags & os.XATTR_REPLACE or self._name in _ACCESS_LISTS):
            os.removexattr(node.name, self._name)  # Linux's client has no other request for it
        else:
            os.setxattr(node.name, self._name, bytes(self.value), self._flags)
