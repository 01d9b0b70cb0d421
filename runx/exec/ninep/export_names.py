"""Names that the server of shares and the supervisor have in common; the supervisor loads no more of the server than this."""

SHARES = "exports"
"""File of a container's directory: the shares while it runs."""
LAYER = "exports-layer"
"""The same for the share that takes what the container has written, at its end. Another server serves that."""
LAYER_TAG = "layer"
SCRATCH = ".runx-layer"
"""The directory in that share in which the guest makes entries complete. It may be left if the guest, or dom0, is killed."""
