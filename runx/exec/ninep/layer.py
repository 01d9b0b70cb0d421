"""What a share has beyond others if it takes what a container has written, when the container ends (docs/decisions/0014)."""

import errno
import os
from struct import Struct

from runx.exec.ninep import wire
from runx.exec.ninep.nodes import refuse

TYPE_CHECKING = False  # as typing's, which costs the server memory
if TYPE_CHECKING:
    from runx.exec.ninep.nodes import Node

ATTRIBUTES = b"trusted.runx.attributes"
"""This extended attribute sets what `setattr` sets, with exact times: Linux's client cuts those to seconds."""
_VALUE = Struct("<IIIqq")
"""Owner, group, mode, times of access and change in nanoseconds."""


def set_attributes(node: "Node", value: bytes) -> None:
    """Set owner, mode and times of a node as the value of ATTRIBUTES says. Raises OSError."""
    if len(value) != _VALUE.size:
        refuse(errno.EINVAL)
    uid, gid, mode, atime, mtime = _VALUE.unpack(value)
    if wire.NOBODY in (uid, gid):
        refuse(errno.EINVAL)
    os.chown(node.name, uid, gid)
    if not node.is_symlink:
        os.chmod(node.name, mode & 0o7777)  # after the owner, whose change clears set-id bits
    os.utime(node.name, ns=(atime, mtime))
