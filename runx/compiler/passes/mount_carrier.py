"""Which bind mounts need no share: small files that an engine manages, and memory of the host that the guest has of its own.

A rule is two patterns as in fnmatch(3), DESTINATION SOURCE, where * stands for any characters. Ids of engines are hexadecimal.
"""

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import NamedTuple

from runx.compiler.host.config import HostConfig
from runx.compiler.host.facts import Facts, SmallFile
from runx.compiler.model.request import Container, MountRequest


class Unshared(NamedTuple):
    """By their indices in Container.mounts: the content of files, the size in KiB of directories that the guest makes."""

    files: dict[int, SmallFile]
    memory_kib: dict[int, int]


def unshared_mounts(container: Container, host: HostConfig, facts: Facts) -> Unshared:
    """What the host's rules say of the container's bind mounts. A ramdisk of the container's own finds all in the share."""
    files: dict[int, SmallFile] = {}
    memory_kib: dict[int, int] = {}
    for index, mount in enumerate(() if container.ramdisk else container.mounts):
        if mount.type != "bind":
            continue
        kind = facts.kind(mount.source)
        if kind == "file" and _named(mount, host.by_value):
            file = facts.small_file(mount.source)
            if file:
                files[index] = file
        elif kind == "directory" and _named(mount, host.in_memory):
            size = facts.size_kib(mount.source)
            if size:
                memory_kib[index] = size
    return Unshared(files, memory_kib)


def _named(mount: MountRequest, rules: Iterable[str]) -> bool:
    for rule in rules:
        destination, source = rule.split(" ", 1)
        if fnmatchcase(mount.destination, destination) and fnmatchcase(mount.source, source):
            return True
    return False
