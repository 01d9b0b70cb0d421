"""The parts of a container's root filesystem: layers that overlayfs joins, or one directory with its own files.

Read from /proc/self/mountinfo (proc(5)) and the overlay's own options (Linux, Documentation/filesystems/overlayfs.rst).
"""

import hashlib
import os
import re
from typing import NamedTuple

from runx.linux import mountinfo
from runx.linux.mountinfo import MountInfo

_ENGINE_LAYER = re.compile(r".*/(snapshots/[0-9]+/fs|overlay2?/[^/]+/diff)")
"""A layer in the store of containerd, docker, podman or cri-o. It never changes once another layer is on top of it. It is removed
with the directory that it is in."""
_INIT_LAYER = re.compile(r".*/overlay2/[^/]+-init/diff")
"""Docker's layer between those of the image and the container's. Docker makes it for each container."""
_KEPT_OPTIONS = ("redirect_dir", "metacopy")
"""Options that decide how overlayfs reads the layers."""
_UNREADABLE_OPTIONS = ("userxattr", "datadir+", "verity")


class RootFacts(NamedTuple):
    """The parts of the root filesystem at `path`."""

    path: str
    """With symbolic links resolved."""
    identity: str = ""
    """Identity of the directory that the container's changes belong to. A new directory of the same name has another one. "" if
    the host cannot tell, or was not asked."""
    lower: tuple[str, ...] = ()
    """Directories that certainly never change, the topmost first."""
    lower_identity: str = ""
    """Identity of `lower`: it changes with any of the directories, and with the options."""
    options: tuple[str, ...] = ()
    """Options of overlayfs that decide how it reads them: `metacopy=on`."""
    added: tuple[str, ...] = ()
    """Directories on top of `lower` that are not empty, the topmost first."""
    upper: str = ""
    """The overlay's upper directory; "" for another kind of file system."""
    upper_is_engines: bool = False
    """An engine removes the directory that it is in, together with the container."""
    mounts_below: tuple[str, ...] = ()
    """Mount points in the root filesystem."""


def look(path: str) -> RootFacts:
    """The parts of the root filesystem at `path`. Raises OSError if it cannot be examined."""
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
        return facts  # as one directory, which is always right


def _layers(facts: RootFacts, options: dict[str, list[str]]) -> RootFacts:
    """`facts` with the layers. Raises ValueError if a layer may change, OSError if one cannot be examined."""
    lower = [os.path.realpath(_absolute(name)) for value in options["lowerdir"] for name in _separated(value)]
    top = next((index for index, name in enumerate(lower) if not _INIT_LAYER.fullmatch(name)), len(lower))
    added = [*([facts.upper] if facts.upper else []), *lower[:top]]
    lower = lower[top:]
    if not lower or not all(map(_ENGINE_LAYER.fullmatch, lower)):
        raise ValueError("a layer that is in no engine's store")
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
