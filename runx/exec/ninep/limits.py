"""What one machine may use of the host by its shares. A guest that goes beyond gets an error; no other machine notices."""

from _thread import allocate_lock

MESSAGE_MAX = 512 * 1024
"""Bytes of a message, as much as a ring of order 8 holds."""
MESSAGE_MIN = 4096
"""Bytes of a message that the guest must be able to take; Linux asks for more."""
FIDS_MAX = 16384
"""Fids of one share. Linux holds one for each open file, and one for each directory or file in use."""
OPEN_MAX = 8192
"""Open files of one share, beside the fids."""
LOCKS_MAX = 4096
"""Pairs of a file and a process that has locks on it, for one share."""
DATABASES_MAX = 256
"""Pairs of a database and a process that uses it, for one share (wal.py)."""
ATTRIBUTE_MAX = 65536
"""Bytes of one extended attribute (XATTR_SIZE_MAX of limits.h)."""
ATTRIBUTES_MAX = 4 * 1024 * 1024
"""Bytes of extended attributes that are being read or written, for one share."""
WALK_MAX = 16
"""Names of one walk (9P2000, MAXWELEM)."""


def descriptors(shares: int) -> int:
    """Descriptors that a server of so many shares may have open."""
    return shares * (FIDS_MAX + OPEN_MAX + LOCKS_MAX + DATABASES_MAX) + 256


class Budget:
    """An amount that fids hold parts of."""

    __slots__ = ("_guard", "_left")

    def __init__(self, amount: int) -> None:
        self._left = amount
        self._guard = allocate_lock()

    def take(self, amount: int) -> bool:
        """Take a part; whether there was so much left."""
        with self._guard:
            if amount > self._left:
                return False
            self._left -= amount
            return True

    def give_back(self, amount: int) -> None:
        with self._guard:
            self._left += amount
