"""An OCI runtime that runs every container as its own Xen virtual machine."""

__version__ = "0.1.0"
