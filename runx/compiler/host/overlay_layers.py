"""The parts of a container's root filesystem: layers that overlayfs joins, or one directory with its own files.

Read from /proc/self/mountinfo (proc(5)) and the overlay's own options (Linux, Documentation/filesystems/overlayfs.rst).
"""

import contextlib
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
"""Docker's layer between those of the image and the container's, in its own store. Docker makes it for each container."""
_INIT_FILES = {
    "": {".dockerenv", "dev", "etc", "proc", "sys"},
    "dev": {"console", "pts", "shm"},
    "etc": {"hostname", "hosts", "mtab", "resolv.conf"},
}
"""The same layer in containerd's store, where it has a number like any other: the names in each of its directories. All that it
holds are mount points, and the mark of docker's containers (moby, daemon/initlayer/setup_unix.go)."""
_INIT_MARK = ".dockerenv"
_IMAGES = 16
"""How many images of an engine become disks at most; the layers of more are joined in one image. Each disk takes a loop device of
the host, and some time of the guest's boot."""
_BLOCK_BITS = 12
_CHUNKED_FILES = 0x4
"""EROFS_FEATURE_INCOMPAT_CHUNKED_FILE."""
_RECORD_BYTES = 64 * 1024
"""The most that a store's record of a container's layers has; overlayfs takes 500 layers."""
_INODE_BITS = 2**32 - 1
_PROOFS = 2000
"""How many files are compared at most, to prove in which directory the names of layers are."""
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
    images: tuple[str, ...] = ()
    """EROFS images of the engine's, which the directories `lower` are mounts of, in their order. Only if all of them are, and a
    guest can have each as a disk."""
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
    facts = RootFacts(real, mounts_below=below)
    upper = options.get("upperdir", [""])[0]
    lower = [name for value in options.get("lowerdir", ()) for name in _separated(value)]
    if not all(name.startswith("/") for name in (upper or "/", *lower)):
        upper, lower = _absolute(real, upper, lower)
    facts = facts._replace(upper=upper, upper_is_engines=bool(_ENGINE_LAYER.fullmatch(upper)))
    if not lower or any(name in options for name in _UNREADABLE_OPTIONS):
        return facts
    try:
        facts = _layers(facts, [os.path.realpath(name) for name in lower], options)
    except (OSError, ValueError):
        return facts  # as one directory, which is always right
    return facts._replace(images=_images(facts.lower, mounts)) if facts.upper_is_engines else facts


def _layers(facts: RootFacts, lower: list[str], options: dict[str, list[str]]) -> RootFacts:
    """`facts` with the layers. Raises ValueError if a layer may change, OSError if one cannot be examined."""
    top = next((index for index, name in enumerate(lower) if not _is_init_layer(name)), len(lower))
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


def _images(layers: tuple[str, ...], mounts: list[MountInfo]) -> tuple[str, ...]:
    """The file of each layer's EROFS image; () unless all layers are such mounts (containerd's erofs snapshotter)."""
    at = {mount.point: mount for mount in mounts if mount.kind == "erofs" and mount.root == "/"}
    if len(layers) > _IMAGES or not all(layer in at for layer in layers):
        return ()
    images = []
    for layer in layers:
        path = at[layer].source
        if path.startswith("/dev/loop"):
            try:
                with open(f"/sys/block/{os.path.basename(path)}/loop/backing_file", encoding="utf-8") as file:
                    path = file.read().rstrip("\n")
            except (OSError, ValueError):
                return ()
        if os.path.dirname(path) != os.path.dirname(layer) or not _is_for_every_kernel(path):
            return ()
        images.append(path)
    return tuple(images)


def _is_for_every_kernel(path: str) -> bool:
    """Whether an EROFS image needs nothing of a kernel that Linux 6.1 may lack (Linux, fs/erofs/erofs_fs.h): no compression, no
    other devices, blocks of a page."""
    try:
        with open(path, "rb") as file:
            head = os.pread(file.fileno(), 128, 1024)
    except OSError:
        return False
    if len(head) < 128 or head[:4] != b"\xe2\xe1\xf5\xe0":
        return False
    return head[12] == _BLOCK_BITS and not int.from_bytes(head[80:84], "little") & ~_CHUNKED_FILES


def _is_init_layer(layer: str) -> bool:
    """Whether docker made the layer for one container, and not for an image.

    A layer of an image for which this were said would only cost time: it would be packed for each container.
    """
    if _INIT_LAYER.fullmatch(layer):
        return True
    if not os.path.lexists(f"{layer}/{_INIT_MARK}"):
        return False
    for directory, names in _INIT_FILES.items():
        with contextlib.suppress(FileNotFoundError), os.scandir(f"{layer}/{directory}") as entries:
            for entry in entries:
                if entry.name not in names or (entry.is_file(follow_symlinks=False) and entry.stat().st_size):
                    return False
    return True


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


def _absolute(top: str, upper: str, lower: list[str]) -> tuple[str, list[str]]:
    """Names of layers that are relative to a directory which the kernel does not tell; ("", []) if it cannot be found.

    All options of a mount must fit into a page. If they do not, engines change to another directory, and name the layers from
    there. With containerd that is the directory of its snapshots (`45/fs`), with an absolute upper layer. With docker and podman
    4 it is their store (`l/NAME`, upper layer `ID/diff`), where the mount is at `STORE/ID/merged`. With podman 5 it is
    /proc/self/fd of a process that has ended; its store keeps the layers' names in `STORE/ID/lower`, as docker's does.
    """
    home = os.path.dirname(upper if upper.startswith("/") else top)
    store = os.path.dirname(home)
    if all(name.isdecimal() for name in lower):
        names = _recorded(f"{home}/lower")
        if len(names) != len(lower):
            return "", []
        lower = names
    layers = [os.path.join(store, name) for name in lower]
    if not _proven(top, layers):
        return "", []
    return upper and os.path.join(store, upper), layers


def _recorded(path: str) -> list[str]:
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            return file.read(_RECORD_BYTES).strip().split(":")
    except OSError:
        return []


def _proven(top: str, layers: list[str]) -> bool:
    """Whether the overlay at `top` has a file of one of the layers. All their names are relative to one directory, or come from
    one record, so that one file proves all of them.

    Where all layers are in one file system, overlayfs shows a file's own inode number. Of several file systems it may use the
    upper bits to tell them apart (overlayfs.rst, "Inode properties").
    """
    left = _PROOFS
    for layer in layers:
        for directory, _, files in os.walk(layer):
            for name in files:
                if _same_file(f"{directory}/{name}", f"{top}{directory.removeprefix(layer)}/{name}"):
                    return True
                left -= 1
            left -= 1
            if left < 0:
                return False
    return False


def _same_file(path: str, seen: str) -> bool:
    try:
        one, other = os.lstat(path), os.lstat(seen)
    except OSError:
        return False
    if (one.st_ino ^ other.st_ino) & _INODE_BITS:
        return False
    return all(getattr(one, name) == getattr(other, name) for name in ("st_mode", "st_size", "st_mtime_ns"))


def _holds_something(directory: str) -> bool:
    with os.scandir(directory) as entries:
        return any(True for _ in entries)


def _layer_identity(path: str) -> str:
    status, home = os.stat(path), os.stat(os.path.dirname(path))
    if status.st_dev == home.st_dev:
        return f"{path}\0{status.st_dev}\0{status.st_ino}\0{status.st_ctime_ns}"
    # A file system of its own (containerd's erofs and lazy snapshotters): numbers of its root are the same in all such file
    # systems, and it has another device at each mount. The directory that it is in was made for this layer.
    return f"{path}\0{home.st_dev}\0{home.st_ino}\0{home.st_ctime_ns}\0{status.st_ino}\0{status.st_ctime_ns}"
