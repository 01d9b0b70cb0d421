"""What the directory of a container's root filesystem is made of: layers that overlayfs joins, or files of its own.

Read from /proc/self/mountinfo (proc(5)) and the overlay's own options (Linux, Documentation/filesystems/overlayfs.rst).
"""

import hashlib
import os
import re
from typing import NamedTuple

from runx.linux import mountinfo
from runx.linux.mountinfo import MountInfo

_ENGINE_LAYER = re.compile(r".*/(snapshots/[0-9]+/fs|overlay2?/[^/]+/diff)")
"""A layer in the store of containerd, of docker, of podman and cri-o: never changed once another layer lies on it, and removed
with the directory it is in."""
_INIT_LAYER = re.compile(r".*/overlay2/[^/]+-init/diff")
"""Docker's, between the image's layers and the container's: made for each container anew."""
_KEPT_OPTIONS = ("redirect_dir", "metacopy")
"""Options that say how the layers are to be read."""
_UNREADABLE_OPTIONS = ("userxattr", "datadir+", "verity")


class RootFacts(NamedTuple):
    """What `path` is made of."""

    path: str
    """With symbolic links resolved."""
    identity: str = ""
    """Of the directory that the container's changes belong to: it changes when that directory is another one, whatever its
    name. "" when the host cannot tell, and as long as nobody has asked."""
    lower: tuple[str, ...] = ()
    """Directories that will never change, the topmost first; () when there are none, or that is not sure."""
    lower_identity: str = ""
    """Changes with any of them, and with how they are read."""
    options: tuple[str, ...] = ()
    """overlayfs' options that matter to read them: `metacopy=on`."""
    added: tuple[str, ...] = ()
    """Directories that lie on `lower`, the topmost first, and hold something."""
    upper: str = ""
    """The overlay's upper directory; "" for another kind of file system."""
    upper_is_engines: bool = False
    """What is beside it goes when an engine removes the container."""
    mounts_below: tuple[str, ...] = ()
    """Mount points in it."""


def look(path: str) -> RootFacts:
    """Raises OSError when it cannot be looked at."""
    real = os.path.realpath(path)
    mounts = mountinfo.read()
    below = tuple(sorted({mount.point for mount in mounts if mount.point.startswith(real.rstrip("/") + "/")}))
    here = [mount for mount in mounts if mount.point == real]
    options = _options(here[-1]) if here and here[-1].kind == "overlay" and here[-1].root == "/" else {}
    upper = options.get("upperdir", [""])[0]
    facts = RootFacts(real, upper=upper if upper.startswith("/") else "", mounts_below=below)
    facts = facts._replace(upper_is_engines=bool(_ENGINE_LAYER.fullmatch(facts.upper)))
    if not options or any(name in options for name in _UNREADABLE_OPTIONS):
        return facts
    try:
        return _layers(facts, options)
    except (OSError, ValueError):
        return facts  # as a directory of its own, which is always right


def _layers(facts: RootFacts, options: dict[str, list[str]]) -> RootFacts:
    """Raises ValueError for layers that may change, OSError for those that cannot be looked at."""
    lower = [os.path.realpath(_absolute(name)) for value in options["lowerdir"] for name in _separated(value)]
    top = next((index for index, name in enumerate(lower) if not _INIT_LAYER.fullmatch(name)), len(lower))
    added = [*([facts.upper] if facts.upper else []), *lower[:top]]
    lower = lower[top:]
    if not lower or not all(map(_ENGINE_LAYER.fullmatch, lower)):
        raise ValueError("a layer that may be anybody's")
    kept = tuple(f"{name}={options[name][0]}" for name in _KEPT_OPTIONS if name in options)
    identity = "\0".join((*kept, *map(_layer_identity, lower)))
    return facts._replace(
        lower=tuple(lower),
        lower_identity=hashlib.sha256(identity.encode("utf-8", "surrogateescape")).hexdigest()[:40],
        options=kept,
        added=tuple(name for name in added if _holds_something(name)),
    )


def _options(mount: MountInfo) -> dict[str, list[str]]:
    """An overlay's options by name, with each one's values in order."""
    options: dict[str, list[str]] = {}
    for word in mount.options:
        name, _, value = word.partition("=")
        options.setdefault("lowerdir" if name == "lowerdir+" else name, []).append(value)
    return options


def _separated(value: str) -> list[str]:
    """The names of `lowerdir`; a backslash keeps a colon from separating."""
    return [re.sub(r"\\(.)", r"\1", name) for name in re.split(r"(?<!\\):", value)]


def _absolute(name: str) -> str:
    if not name.startswith("/"):
        raise ValueError("relative to a directory that is not known any more")
    return name


def _holds_something(directory: str) -> bool:
    with os.scandir(directory) as entries:
        return any(True for _ in entries)


def _layer_identity(path: str) -> str:
    status = os.stat(path)
    return f"{path}\0{status.st_dev}\0{status.st_ino}\0{status.st_ctime_ns}"
