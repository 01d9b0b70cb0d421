"""A container's seccomp filter: its profile as a program for the guest's kernel, kept for later containers with the same profile.

Containers of an engine share a profile, and building the program takes longer than the rest of the compiler. A kept program is
used without loading libseccomp.
"""

import hashlib
import json
import os
import sys
from typing import Any

from runx import __version__, paths
from runx.compiler.host.facts import NoFilters
from runx.linux.files import write_atomically

KEPT = 64
"""The most programs in the cache. The oldest is removed first."""
SIZE_LIMIT = 4096 * 8
"""Bytes: the largest program that the kernel loads."""
_DIGEST = 32
_LIBRARY = "libseccomp.so.2"


def host_filter(profile: dict[str, Any], cache: str, keep: bool = True) -> bytes:
    """The program of a profile for guests of this host, by this host's libseccomp.

    cache: the directory of kept programs; "" for none. keep: put the program there, and make the directory if it is missing.
    Raises NoFilters, or FilterError for a profile that libseccomp refuses.
    """
    library = find_library()
    if not library:
        raise NoFilters(f"{_LIBRARY} is not installed")
    key = _key(profile, library)
    if keep and cache:
        _make_cache(cache)
    directory = _open_cache(cache)
    try:
        return _find(directory, key) or _made(profile, library, directory if keep else -1, key)
    finally:
        if directory >= 0:
            os.close(directory)


def _made(profile: dict[str, Any], library: str, directory: int, key: str) -> bytes:
    from runx.compiler.host.libseccomp import ARCHITECTURES, build  # loads ctypes, which a hit does not need

    if paths.machine() not in ARCHITECTURES:
        raise NoFilters(f"{paths.machine()} is not known here")
    try:
        program = build(profile, paths.machine(), library)
    except (OSError, AttributeError) as error:
        raise NoFilters(f"{library}: {error}") from None
    if directory >= 0:
        _keep(directory, key, program)
    return program


def find_library() -> str:
    """The path of libseccomp, as the dynamic linker would find it; "" for none. Not by ctypes.util, which starts a compiler."""
    triplet = getattr(sys.implementation, "_multiarch", "")
    for directory in (f"/usr/lib/{triplet}", f"/lib/{triplet}", "/usr/lib64", "/usr/lib", "/lib64", "/lib", "/usr/local/lib"):
        path = os.path.realpath(f"{directory}/{_LIBRARY}")
        if os.path.exists(path):
            return path
    return ""


def _key(profile: dict[str, Any], library: str) -> str:
    """A hash of everything that a program depends on. The library's file stands for its version."""
    status = os.stat(library)
    facts = [__version__, paths.machine(), library, status.st_size, status.st_mtime_ns, profile]
    return hashlib.sha256(json.dumps(facts).encode()).hexdigest()


def _make_cache(cache: str) -> None:
    try:
        os.makedirs(os.path.dirname(cache), 0o755, exist_ok=True)
        os.mkdir(cache, 0o700)
    except OSError:  # it exists, or there will be none
        pass


def _open_cache(cache: str) -> int:
    """A descriptor of the directory; -1 if there is none, or if others than this user have access to it."""
    if not cache:
        return -1
    try:
        directory = os.open(cache, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except OSError:
        return -1
    status = os.fstat(directory)
    if status.st_uid == os.geteuid() and not status.st_mode & 0o077:
        return directory
    os.close(directory)
    return -1


def _find(directory: int, key: str) -> bytes:
    """The program kept under `key`; empty if there is none, or if its file is not complete."""
    if directory < 0:
        return b""
    try:
        with open(os.open(key, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory), "rb") as file:
            content = file.read(_DIGEST + SIZE_LIMIT + 1)
    except OSError:
        return b""
    digest, program = content[:_DIGEST], content[_DIGEST:]
    return program if hashlib.sha256(program).digest() == digest else b""


def _keep(directory: int, key: str, program: bytes) -> None:
    """Keep a program, completely or not at all. A cache that cannot be written is not an error."""
    try:
        write_atomically(key, hashlib.sha256(program).digest() + program, directory=directory)
        names = os.listdir(directory)
        if len(names) > KEPT:
            names.sort(key=lambda name: os.stat(name, dir_fd=directory, follow_symlinks=False).st_mtime_ns)
            for name in names[: len(names) - KEPT]:
                os.unlink(name, dir_fd=directory)
    except OSError:
        pass  # also when another process removed the oldest file first
