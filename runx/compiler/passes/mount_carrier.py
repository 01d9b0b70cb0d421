"""The bind mounts that need no share: small files that an engine manages, and directories in memory, which the guest makes
itself.

A rule consists of two patterns as in fnmatch(3), DESTINATION SOURCE. A * stands for any characters. Ids of engines are
hexadecimal.
"""

from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import NamedTuple

from runx.compiler.frontends.oci.linux import DEFAULT_DEVICES
from runx.compiler.host.config import HostConfig
from runx.compiler.host.facts import Facts, SmallFile
from runx.compiler.model.request import Container, MountRequest


class Unshared(NamedTuple):
    """By the index in Container.mounts: the files to copy, and the size in KiB of directories that the guest makes."""

    files: dict[int, SmallFile]
    memory_kib: dict[int, int]


def unshared_mounts(container: Container, host: HostConfig, facts: Facts) -> Unshared:
    """The container's bind mounts that need no share, by the host's rules. With a ramdisk of the container's own, all are in the
    share."""
    files: dict[int, SmallFile] = {}
    memory_kib: dict[int, int] = {}
    for index, mount in enumerate(() if container.ramdisk else container.mounts):
        if mount.type != "bind":
            continue
        kind = facts.kind(mount.source)
        if kind == "file" and is_named(mount, host.by_value):
            file = facts.small_file(mount.source)
            if file:
                files[index] = file
        elif kind == "directory" and is_named(mount, host.in_memory):
            size = facts.size_kib(mount.source)
            if size:
                memory_kib[index] = size
    return Unshared(files, memory_kib)


def is_node_of_guest(mount: MountRequest, facts: Facts) -> bool:
    """Whether a bind mount is of a device that the guest has, too: the guest's own is bound."""
    nodes = (device.path for device in DEFAULT_DEVICES)
    return mount.type == "bind" and mount.source in nodes and facts.kind(mount.source) == "device"


def is_engines(mount: MountRequest, host: HostConfig) -> bool:
    """Whether the rules of the host take the bind mount for a file or directory that an engine has made for the container."""
    return is_named(mount, host.by_value) or is_named(mount, host.in_memory)


def is_named(mount: MountRequest, rules: Iterable[str]) -> bool:
    """Whether one of the rules holds for a bind mount."""
    for rule in rules:
        destination, source = rule.split(" ", 1)
        if fnmatchcase(mount.destination, destination) and fnmatchcase(mount.source, source):
            return True
    return False
