"""Control groups of Linux: the trees that are mounted, and what they allow this process (cgroups(7))."""

import os
from typing import NamedTuple

from runx.linux import mountinfo

_NO_LIMIT = 1 << 62
"""Bytes. The memory controller of version 1 says more than that without a limit."""


class Hierarchy(NamedTuple):
    """A mounted tree of groups, of `version` 1 or 2. `own`: our group in it, as a path below the mount point."""

    mount_point: str
    version: int
    controllers: frozenset[str]
    own: str

    @property
    def memory_limit_file(self) -> str:
        """The file of a group that has its memory limit, where the memory controller is."""
        return "memory.limit_in_bytes" if self.version == 1 else "memory.max"


def mounted(mounts: str = "/proc/self/mountinfo", groups: str = "/proc/self/cgroup") -> list[Hierarchy]:
    """Mounted trees of groups, each once (cgroups(7), /proc/PID/cgroup)."""
    own: dict[frozenset[str], str] = {}
    for line in lines(groups):
        _, controllers, path = line.split(":", 2)
        own[frozenset(filter(None, controllers.split(",")))] = path
    found: dict[frozenset[str], Hierarchy] = {}
    for mount in mountinfo.read(mounts):
        if mount.kind == "cgroup2":
            key: frozenset[str] = frozenset()
        elif mount.kind == "cgroup":
            words = set(mount.options)
            key = next((controllers for controllers in own if controllers and controllers <= words), frozenset())
            if not key:
                continue
        else:
            continue
        if key in own and key not in found:
            found[key] = Hierarchy(mount.point, 1 if key else 2, key, _below(own[key], mount.root))
    return list(found.values())


def lines(path: str) -> list[str]:
    """The lines of a file of a group; none if there is no such file, as on a kernel without groups."""
    try:
        return read(path).splitlines()
    except FileNotFoundError:
        return []


def _below(path: str, root: str) -> str:
    """The path of a group below a mount whose root is another group."""
    if root != "/" and (path + "/").startswith(root + "/"):
        path = path[len(root) :]
    return "/" if ".." in path.split("/") else path or "/"


def read(path: str) -> str:
    """The text of a file of a group. Raises OSError."""
    with open(path, encoding="utf-8", errors="surrogateescape") as file:
        return file.read()


def memory_limit(text: str) -> int:
    """Bytes that the text of a group's memory limit means; a very large number without a limit."""
    word = text.strip()
    return _NO_LIMIT if word == "max" else int(word)


def allowed_memory(trees: "list[Hierarchy] | None" = None) -> int:
    """Bytes that the group of this process, and those above it, may have at most together.

    trees: as `mounted` finds them.
    """
    least = _NO_LIMIT
    for tree in mounted() if trees is None else trees:
        group = f"{tree.mount_point}/{tree.own.strip('/')}".rstrip("/")
        while len(group) >= len(tree.mount_point):
            least = min((least, *(memory_limit(line) for line in lines(f"{group}/{tree.memory_limit_file}"))))
            group = os.path.dirname(group)
    return least
