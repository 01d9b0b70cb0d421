"""Images and disks of a root filesystem, made before the domain is created and kept for other containers.

    PATHS.images/images/KEY             image of layers that never change, for all containers that have these layers
    PATHS.images/images/once-DOMAIN-…   image of one container alone; removed once its domain has it open
    PATHS.images/layers/IDENTITY/       changes of a container whose root is a directory, and the path of that directory
    …/runx-layer                        beside an engine's upper directory: changes of that container

A file gets its name when it is complete. A process that makes or uses a file holds a shared lock of it (flock(2)); a file that
nobody holds may be removed. A process that makes an image also holds an exclusive lock of KEY.lock until the image is complete.
"""

import contextlib
import errno
import fcntl
import os
import shutil
import stat
from typing import TYPE_CHECKING

from runx.errors import RunxError, reason
from runx.exec.storage import mkfs, room
from runx.exec.storage.disk_lock import ONCE
from runx.linux.files import write_atomically
from runx.linux.in_root import directory_identity

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from runx.exec.plan_json import Disk, Root, RootImage, VmPlan


def collect(plan: "VmPlan") -> None:
    """Remove what killed processes have left, and changes of directories of the host that do not exist any more.

    Raises RunxError.
    """
    images, layers = _places(plan)
    if images:
        _own_directory(images)
        _collect(images, layers)


def directories(plan: "VmPlan") -> list[str]:
    """Directories of the host in which `make` makes files."""
    images, _ = _places(plan)
    layers = [os.path.dirname(disk["source"]) for disk in _disks(plan) if disk["holds"] == "layer"]
    return [*([os.path.dirname(images)] if images else []), *layers]


def sources(plan: "VmPlan") -> list[str]:
    """Directories of the host that are made into images."""
    root = plan["root"]
    return [root["path"], *root["lower"], *(disk["made_of"] for disk in _disks(plan) if disk["made_of"])]


def _disks(plan: "VmPlan") -> "Sequence[Disk | RootImage]":
    machine = plan["domain"] or plan["joined"]
    assert machine, "a plan with images has a machine"
    return plan["root"]["images"] or [disk for disk in machine["disks"] if disk["holds"] not in ("image", "engine")]


def _places(plan: "VmPlan") -> tuple[str, str]:
    """Where images are, and layers of plain directories."""
    # With the engine's own images there may be none of ours. The layer is beside the engine's directory then.
    images = next((os.path.dirname(disk["source"]) for disk in _disks(plan) if disk["holds"] != "layer"), "")
    return images, f"{os.path.dirname(images)}/layers" if images else ""


def make(directory: str, plan: "VmPlan") -> list[int]:
    """Make the disks, or images for the ramdisk, that do not exist yet; descriptors of the images, in the plan's order.

    The descriptors keep the images until they are closed. directory: the container's. Raises RunxError.
    """
    root, cache_mib = plan["root"], plan["root"]["cache_mib"]
    keep_free_mib = root["keep_free_mib"]
    assert cache_mib is not None and keep_free_mib is not None, "a plan with images has all"
    images, layers = _places(plan)
    held: list[int] = []
    try:
        if images:
            _own_directory(images)
        with contextlib.suppress(FileNotFoundError):
            shutil.rmtree(f"{directory}/pack")
        for disk in _disks(plan):
            if disk["holds"] == "layer":
                _layer(disk["source"], directory, root, layers)
                continue
            tree = mkfs.Tree(
                f"{directory}/pack",
                directory=disk["made_of"] or root["path"],
                layers=tuple(root["lower"]) if disk["holds"] == "base" else (),
                options=tuple(root["lower_options"]),
            )
            held.append(_image(disk["source"], tree, cache_mib << 20, keep_free_mib))
        if images:
            _evict(images, lambda size: size <= cache_mib << 20)
    except OSError as error:
        _close(held)
        what = f"{error.filename}: " if error.filename else ""
        raise RunxError(f"root.path: the images of the root filesystem: {what}{reason(error)}") from None
    except BaseException:
        _close(held)
        raise
    finally:
        shutil.rmtree(f"{directory}/pack", ignore_errors=True)
    return held


def _close(fds: list[int]) -> None:
    for fd in fds:
        os.close(fd)


def _own_directory(path: str) -> None:
    """Make a directory whose files guests get as their root: for root alone. Raises RunxError when another user could exchange
    it, and FileNotFoundError when it is removed meanwhile."""
    from runx.linux import closed_path

    missing = []
    above = path
    while not os.path.lexists(above):
        missing.append(above)
        above = os.path.dirname(above)
    closed = os.path.realpath(path)
    try:
        os.close(closed_path.find(above, closed))
        for directory in reversed(missing):
            os.makedirs(directory, 0o700 if directory == path else 0o755, exist_ok=True)
    except closed_path.OpenToOthers as error:
        raise _open_to_others(path, error) from None
    except OSError as error:
        message = f"cannot make {path}, for images of root filesystems: {reason(error)}"
        raise RunxError(message, "paths.images of runx.toml names another directory") from None
    try:
        os.close(closed_path.find(path, closed))
    except closed_path.OpenToOthers as error:
        raise _open_to_others(path, error) from None


def _open_to_others(path: str, error: Exception) -> RunxError:
    message = f"{path}, for images of root filesystems, is not root's alone: {error}"
    return RunxError(message, "close it, or name another directory with paths.images of runx.toml")


# -- images ------------------------------------------------------------------------------------------------------------


def _image(path: str, tree: mkfs.Tree, limit: int, keep_free_mib: int) -> int:
    """The image at `path`, made of `tree` when there is none; a descriptor that keeps it.

    Of several processes that want the same image at once, one makes it and the others wait.
    """
    if (fd := _used(path)) >= 0:
        return fd
    lock = _locked(f"{path}.lock")
    try:
        fd = _used(path)  # another process made it while we waited
        return fd if fd >= 0 else _made(path, tree, limit, keep_free_mib)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(f"{path}.lock")
        os.close(lock)


def _used(path: str) -> int:
    """A descriptor that keeps the image at `path`; -1 when there is none."""
    fd = _held(path, fcntl.LOCK_SH)
    if fd >= 0:
        os.utime(fd)  # the least recently used image is removed first
    return fd


def _made(path: str, tree: mkfs.Tree, limit: int, keep_free_mib: int) -> int:
    """Make the image at `path`; a descriptor that keeps it. The caller holds the lock for that."""
    made = f"{path}.new"
    fits = _make_room(os.path.dirname(path), tree, limit, keep_free_mib)
    fd = _new(made)
    try:
        kept = not os.path.basename(path).startswith(ONCE)
        try:
            mkfs.image(tree, made, min(limit, fits), to_disk=kept)
        except mkfs.TooLarge:
            raise _too_large(limit) if limit <= fits else _no_room(made, fits, keep_free_mib) from None
        except mkfs.NoSpace:
            raise _no_room(made, os.path.getsize(made), keep_free_mib) from None
        if kept:
            os.fsync(fd)  # a power failure must not leave a name for what is not there
        os.rename(made, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(made)
        os.close(fd)
        raise
    return fd


def _make_room(images: str, tree: mkfs.Tree, limit: int, keep_free_mib: int) -> int:
    """How many bytes an image of the tree may take. Removes unused images if it would not fit. Raises RunxError if it still
    would not."""
    fits = room.for_an_image(images, keep_free_mib)
    if fits >= limit:
        return fits  # it is not worth to look at each file
    needed = room.estimate(tree.layers or (tree.directory,))
    if fits < needed <= limit:
        _evict(images, lambda _: room.for_an_image(images, keep_free_mib) >= needed)
        fits = room.for_an_image(images, keep_free_mib)
        if fits < needed:
            raise room.none(_AN_IMAGE, images, needed, keep_free_mib)
    return fits


_AN_IMAGE = "an image of the root filesystem"


def _no_room(made: str, size: int, keep_free_mib: int) -> RunxError:
    """The error for a full file system, when the image had this size and was not complete."""
    os.unlink(made)  # the error tells what is free without it
    return room.none(_AN_IMAGE, os.path.dirname(made), size + 1, keep_free_mib)


def _too_large(limit: int) -> RunxError:
    hint = "raise root.cache_size in /etc/runx/runx.toml, or use the carrier 9p"
    return RunxError(f"root.path: the image of the root filesystem is larger than {limit >> 20} MiB, root.cache_size", hint)


def _new(path: str) -> int:
    """A descriptor that keeps a new file at `path`. One that is there was left by a process that was killed."""
    while True:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path)  # and not used again: a mkfs.erofs that the other process started may still write to it
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        fcntl.flock(fd, fcntl.LOCK_SH)
        if _is(fd, path):
            return fd
        os.close(fd)  # another process collected it before it was locked


def _locked(path: str) -> int:
    """A descriptor that holds the lock of the file at `path`, which is made when missing; waits for it."""
    while True:
        fd = os.open(path, os.O_RDONLY | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
        except BaseException:
            os.close(fd)
            raise
        if _is(fd, path):
            return fd
        os.close(fd)  # the process that held it before has removed it


def _held(path: str, operation: int) -> int:
    """A descriptor with the lock of the file at `path`; -1 when there is none."""
    while True:
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
        except FileNotFoundError:
            return -1
        try:
            fcntl.flock(fd, operation)
        except BaseException:
            os.close(fd)
            raise
        if _is(fd, path):
            return fd
        os.close(fd)


def _is(fd: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(fd), os.stat(path, follow_symlinks=False))
    except FileNotFoundError:
        return False


def _evict(images: str, is_enough: "Callable[[int], bool]") -> None:
    """Remove images that nobody uses, the least recently used first, until it is enough.

    is_enough: given the bytes of all images that are left.
    """
    found = []
    for name in os.listdir(images):
        with contextlib.suppress(FileNotFoundError):  # another process removed it, or gave it its last name
            status = os.lstat(f"{images}/{name}")
            if stat.S_ISREG(status.st_mode) and not name.endswith(".lock"):
                found.append((status, f"{images}/{name}"))
    total = sum(status.st_blocks * 512 for status, _ in found)
    for status, path in sorted(found, key=lambda one: one[0].st_mtime_ns):
        if is_enough(total):
            return
        if _remove_unused(path):
            total -= status.st_blocks * 512


def _collect(images: str, layers: str) -> None:
    """Remove files left by processes that were killed, and changes of directories that do not exist any more."""
    for name in os.listdir(images):
        if name.startswith(ONCE) or name.endswith((".new", ".lock")):
            _remove_unused(f"{images}/{name}")
    with contextlib.suppress(FileNotFoundError):
        for name in os.listdir(layers):
            _collect_layer(f"{layers}/{name}", name)


def _collect_layer(place: str, identity: str) -> None:
    try:
        held = _held(place, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return  # it is being filled
    if held < 0:
        return  # another process has collected it
    try:
        if not _is_of_use(place, identity) and all(_remove_unused(f"{place}/{name}") for name in os.listdir(place)):
            os.rmdir(place)
    finally:
        os.close(held)


def _is_of_use(place: str, identity: str) -> bool:
    try:
        with open(f"{place}/directory", encoding="utf-8", errors="surrogateescape", newline="\n") as file:
            return directory_identity(file.read()) == identity
    except OSError:
        return False  # the directory has gone, or the process that filled this place was killed


def _remove_unused(path: str) -> bool:
    try:
        fd = _held(path, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    if fd >= 0:
        os.unlink(path)
        os.close(fd)
    return True


# -- the layer for changes ----------------------------------------------------------------------------------------------


def _layer(path: str, directory: str, root: "Root", layers: str) -> None:
    """Make the layer at `path`, unless it exists: then it has the files that the container wrote before."""
    place = os.path.dirname(path)
    held = _held_directory(place) if os.path.dirname(place) == layers else -1
    try:
        if held >= 0:
            write_atomically(f"{place}/directory", os.fsencode(root["layer_of"]))
        if not os.path.lexists(path):
            _make_layer(path, directory, root)
    finally:
        if held >= 0:
            os.close(held)


def _held_directory(path: str) -> int:
    """A descriptor of a directory of ours, made when missing, that keeps others from collecting it."""
    while True:
        with contextlib.suppress(FileNotFoundError):  # another process collected it just now
            _own_directory(path)
            if (held := _held(path, fcntl.LOCK_SH)) >= 0:
                return held


LAYER_MIN = 2 * mkfs.JOURNAL_MIB << 20
"""Room for a new layer: for its journal, and to write something."""
_A_LAYER = "the layer that the container writes to"


def _make_layer(path: str, directory: str, root: "Root") -> None:
    assert root["layer_mib"] is not None, "a root with a layer has its size"
    place, keep_free_mib = os.path.dirname(path), root["keep_free_mib"] or 0
    if room.on(place, keep_free_mib) < LAYER_MIN:
        raise room.none(_A_LAYER, place, LAYER_MIN, keep_free_mib)
    made = f"{path}.{os.getpid()}"
    fd = os.open(made, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        mkfs.layer(f"{directory}/pack", root["path"], root["layer_mib"] << 20, fd)
        with contextlib.suppress(FileExistsError):  # another container with this root was quicker
            os.link(made, path)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        os.ftruncate(fd, 0)  # the error tells what is free without it
        raise room.none(_A_LAYER, place, LAYER_MIN, keep_free_mib) from None
    finally:
        os.close(fd)
        os.unlink(made)
