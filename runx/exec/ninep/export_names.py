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


LAYER = "exports-layer"
"""The same for the share that takes what the container has written, at its end. Another server serves that."""
LAYER_TAG = "layer"
SCRATCH = ".runx-layer"
"""The directory in that share in which the guest makes entries complete. It may be left if the guest, or dom0, is killed."""
