"""How large the EROFS image of a directory tree can be, without making it (Linux, Documentation/filesystems/erofs.rst)."""

import os
import stat

_BLOCK = 4096
_SUPER = 2 * _BLOCK
"""The superblock, and a block that is not full."""
_INODE = 64
"""An extended one, as mkfs.erofs writes them for a tree of many times."""
_ENTRY = 12
"""struct erofs_dirent, beside the name."""
_ATTRIBUTE = 8
"""struct erofs_xattr_entry and what its alignment takes, beside name and value."""
_ATTRIBUTES = 12
"""struct erofs_xattr_ibody_header."""
_ALIGNED = _BLOCK / (_BLOCK - _ENTRY - 255)
"""An entry of a directory lies in one block, so its end may be empty."""


def image_bytes(top: str, limit: int) -> int:
    """Bytes that the image of the tree at `top` takes at most; of a tree that is larger than `limit`, some number above it.

    No symbolic link in it is followed, and what is mounted in it counts. Raises OSError.
    """
    total = _SUPER
    linked: set[tuple[int, int]] = set()
    for _, directories, files, fd in os.fwalk(top, follow_symlinks=False, onerror=_fail):
        size = sum(_ENTRY + len(os.fsencode(name)) for name in (*directories, *files, ".", ".."))
        total += _inode(int(size * _ALIGNED), _attributes(fd))
        for name in (*directories, *files):
            status = os.stat(name, dir_fd=fd, follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode):
                continue  # comes by itself
            if status.st_nlink > 1:
                inode = (status.st_dev, status.st_ino)
                if inode in linked:
                    continue
                linked.add(inode)
            size = status.st_size if stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode) else 0
            if stat.S_ISREG(status.st_mode):
                size = -(-size // _BLOCK) * _BLOCK  # runx has no part of a file beside its inode (exec/pack.py)
            total += _inode(size, _attributes(f"/proc/self/fd/{fd}/{name}"))
        if total > limit:
            break
    return total


def _fail(error: OSError) -> None:
    raise error


def _inode(size: int, attributes: int) -> int:
    """What an inode takes with its content: whole blocks, and the end beside the inode if there is room, in one block with it. So
    a block of such inodes may be half empty, and no more."""
    blocks, end = divmod(size, _BLOCK)
    inode = _INODE + attributes
    if inode + end > _BLOCK:
        blocks, end = blocks + 1, 0
    return blocks * _BLOCK + min(2 * (inode + end), -(-inode // _BLOCK) * _BLOCK)


def _attributes(place: str | int) -> int:
    """What the extended attributes of the file at `place`, or of an open one, take."""
    follow = isinstance(place, int)
    try:
        names = os.listxattr(place, follow_symlinks=follow)
        sizes = [_ATTRIBUTE + len(os.fsencode(name)) + len(os.getxattr(place, name, follow_symlinks=follow)) for name in names]
    except OSError:
        return 0  # a file system without them
    return _ATTRIBUTES + sum(sizes) if sizes else 0
