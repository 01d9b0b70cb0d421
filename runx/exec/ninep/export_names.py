"""Names that the server of shares and the supervisor have in common; the supervisor loads no more of the server than this."""

SHARES = "exports"
"""File of a container's directory: the shares while it runs."""
POD_TAG = "pod"
"""The share of a pod's machine, whose entries come and go with the pod's containers."""
JOINED = "exports-joined"
"""File of a container's directory that joins its pod's machine: its entries."""
SLOTS = 256
"""Entries of each kind that the share of a pod may have at once."""


def slot(number: int, *, is_file: bool) -> str:
    """The name of an entry of that share: a directory, or a file."""
    return f"{'f' if is_file else 'd'}{number}"


LAYERS = 128
"""As many containers of a pod may end at once: one for each session of the link (console/frames.py)."""


def changes_of(session: int) -> str:
    """The entry of that share to which the guest writes what the container of a session has written, when it has ended."""
    return f"c{session}"


def root_of(session: int) -> str:
    """The entry beside it which is the container's root filesystem. The guest does not see it."""
    return f"r{session}"


LAYER = "exports-layer"
"""The same for the share that takes what the container has written, at its end. Another server serves that."""
LAYER_TAG = "layer"


def root_of_the_layer(directory: str) -> str:
    """The root filesystem to which that share leads, of a container by its directory (exports.py)."""
    with open(f"{directory}/{LAYER}", encoding="utf-8", errors="surrogateescape", newline="\n") as file:
        return file.read().split("\0")[2]


CHANGES = "changes"
"""The file in that share to which the guest writes, and all that it sees there (changes.py)."""
NOT_ALL = "not all of it has come"
"""What the server says of changes that are not complete, if nothing went wrong with those that have come."""
LAYER_ROOT = "root"
"""The root filesystem beside it, in the tree of the server."""
SCRATCH = ".runx-layer"
"""The directory of the root filesystem in which entries are made complete. It may be left if the server, or dom0, is killed."""
