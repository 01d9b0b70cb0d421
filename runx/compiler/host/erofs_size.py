"""The most that an EROFS image of a directory tree occupies, without making it (Linux, Documentation/filesystems/erofs.rst)."""

import os
import stat

_BLOCK = 4096
_SUPER = 2 * _BLOCK
"""The superblock, and a block that is not full."""
_INODE = 64
"""An extended inode, which mkfs.erofs writes if files have different times."""
_ENTRY = 12
"""struct erofs_dirent, without the name."""
_ATTRIBUTE = 8
"""struct erofs_xattr_entry and its alignment, without name and value."""
_ATTRIBUTES = 12
"""struct erofs_xattr_ibody_header."""
_ALIGNED = _BLOCK / (_BLOCK - _ENTRY - 255)
"""An entry of a directory is in one block, so the end of a block may be empty."""


def image_bytes(top: str, limit: int) -> int:
    """The most bytes of an image of the tree at `top`. If they exceed `limit`, the result is some number above it.

    Symbolic links are not followed, and mounts in the tree count. Raises OSError.
    """
    total = _SUPER
    linked: set[tuple[int, int]] = set()
    for _, directories, files, fd in os.fwalk(top, follow_symlinks=False, onerror=_fail):
        size = sum(_ENTRY + len(os.fsencode(name)) for name in (*directories, *files, ".", ".."))
        total += _inode(int(size * _ALIGNED), _attributes(fd))
        for name in (*directories, *files):
            status = os.stat(name, dir_fd=fd, follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode):
                continue  # os.fwalk visits it
            if status.st_nlink > 1:
                inode = (status.st_dev, status.st_ino)
                if inode in linked:
                    continue
                linked.add(inode)
            size = status.st_size if stat.S_ISREG(status.st_mode) or stat.S_ISLNK(status.st_mode) else 0
            if stat.S_ISREG(status.st_mode):
                size = -(-size // _BLOCK) * _BLOCK  # runx stores no tail of a file beside its inode (exec/storage/mkfs.py)
            total += _inode(size, _attributes(f"/proc/self/fd/{fd}/{name}"))
        if total > limit:
            break
    return total


def _fail(error: OSError) -> None:
    raise error


def _inode(size: int, attributes: int) -> int:
    """Bytes of an inode and its content: whole blocks, and the tail in the block of the inode if there is room. So a block of
    such inodes may be half empty, but no more."""
    blocks, end = divmod(size, _BLOCK)
    inode = _INODE + attributes
    if inode + end > _BLOCK:
        blocks, end = blocks + 1, 0
    return blocks * _BLOCK + min(2 * (inode + end), -(-inode // _BLOCK) * _BLOCK)


def _attributes(place: str | int) -> int:
    """Bytes of the extended attributes of the file at `place`: a path, or a descriptor."""
    follow = isinstance(place, int)
    try:
        names = os.listxattr(place, follow_symlinks=follow)
        sizes = [_ATTRIBUTE + len(os.fsencode(name)) + len(os.getxattr(place, name, follow_symlinks=follow)) for name in names]
    except OSError:
        return 0  # a file system without them
    return _ATTRIBUTES + sum(sizes) if sizes else 0
