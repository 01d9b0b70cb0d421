"""Paths that nobody but root, and this process's own user, can lead elsewhere."""

import errno
import os
import stat

_LINKS_MAX = 40
"""Symbolic links on one path, as Linux allows (path_resolution(7))."""
_STEP = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH


class OpenToOthers(Exception):
    """Another user can exchange a file on the path. The text completes `PATH: `."""


def find(path: str, closed: str = "/") -> int:
    """An O_PATH descriptor of the file at an absolute path. Each directory and link on the way is checked, and so is the file.

    Each must belong to root or to the user of this process, and others must not be able to write to it (an ACL for others shows
    in the group's bits). A directory such as /tmp, where nobody removes what is another's (sticky), is all right above `closed`,
    but neither there nor below. `closed` has no symbolic links.

    Raises OpenToOthers, and OSError as open(2).
    """
    here = os.open("/", _STEP | os.O_DIRECTORY)
    try:
        at, links = "", 0
        _check(os.fstat(here), "/", closed)
        pending = path.split("/")[::-1]
        while pending:
            name = pending.pop()
            if name in ("", "."):
                continue
            child = os.open(name, _STEP, dir_fd=here)
            status = os.fstat(child)
            if not stat.S_ISLNK(status.st_mode):
                os.close(here)
                here, at = child, os.path.dirname(at) if name == ".." else f"{at}/{name}"
                _check(status, at or "/", closed)
                continue
            try:
                links += 1
                if links > _LINKS_MAX:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), path)
                _check_owner(status, f"{at}/{name}")
                target = os.readlink("", dir_fd=child)
            finally:
                os.close(child)
            pending += target.split("/")[::-1]
            if target.startswith("/"):
                os.close(here)
                here, at = os.open("/", _STEP | os.O_DIRECTORY), ""
        return here
    except BaseException:
        os.close(here)
        raise


def _check(status: os.stat_result, path: str, closed: str) -> None:
    _check_owner(status, path)
    is_above = path != closed and (closed + "/").startswith(path.rstrip("/") + "/")
    if status.st_mode & _OTHERS_WRITE and not (is_above and status.st_mode & stat.S_ISVTX):
        who = "everybody" if status.st_mode & stat.S_IWOTH else f"the group {status.st_gid}"
        raise OpenToOthers(f"{path} can be written by {who}")


def _check_owner(status: os.stat_result, path: str) -> None:
    if status.st_uid not in (0, os.geteuid()):
        raise OpenToOthers(f"{path} belongs to the user {status.st_uid}")
