"""Paths inside a container."""

import posixpath
from collections.abc import Iterator


def absolute(path: str) -> str:
    """A path of a configuration as the container's process sees it, without ".", ".." and repeated slashes.

    As in runc, a relative one is relative to "/", and ".." leads no higher than that.
    """
    return posixpath.normpath("/" + path.lstrip("/"))


def parents(path: str) -> Iterator[str]:
    """The directories above an absolute path, but for the root, the lowest first."""
    while (path := posixpath.dirname(path)) != "/":
        yield path
