"""Paths inside a container."""

import posixpath


def absolute(path: str) -> str:
    """A path of a configuration as the container's process sees it, without ".", ".." and repeated slashes.

    As in runc, a relative one is relative to "/", and ".." leads no higher than that.
    """
    return posixpath.normpath("/" + path.lstrip("/"))
