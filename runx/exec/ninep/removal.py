"""Trees of a root filesystem, removed: each step is one name, from a descriptor, and follows nothing."""

import errno
import os

LIST = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
"""Flags to open a directory with, for its names and attributes."""
_ATTEMPTS = 16


class _Tree:
    """A directory that is being removed."""

    __slots__ = ("attempts", "fd", "left", "name")

    def __init__(self, directory: int, name: bytes) -> None:
        self.name = name
        self.fd = os.open(name, LIST, dir_fd=directory)
        self.attempts = 0
        self.look()

    def look(self) -> None:
        self.left = iter(os.listdir(self.fd))


def remove_all(directory: int, name: bytes) -> None:
    """Remove an entry with all below it; it need not exist. Raises OSError. A tree may be deeper than Python calls functions."""
    if _unlink(directory, name):
        return
    trees = [_Tree(directory, name)]
    try:
        while trees:
            tree = trees[-1]
            below = next((found for found in map(os.fsencode, tree.left) if not _unlink(tree.fd, found)), None)
            if below is not None:
                trees.append(_Tree(tree.fd, below))
                continue
            try:
                os.rmdir(tree.name, dir_fd=trees[-2].fd if len(trees) > 1 else directory)
            except OSError as error:
                # Names may be left out of a list while others are removed.
                tree.attempts += 1
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST) or tree.attempts >= _ATTEMPTS:
                    raise
                tree.look()
                continue
            os.close(trees.pop().fd)
    finally:
        for tree in trees:
            os.close(tree.fd)


def _unlink(directory: int, name: bytes) -> bool:
    """Remove an entry that is no directory; True if there is none of that name now, False for a directory. Raises OSError."""
    try:
        os.unlink(name, dir_fd=directory)
    except FileNotFoundError:
        pass
    except IsADirectoryError:
        return False
    return True
