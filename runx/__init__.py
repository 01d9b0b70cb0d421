"""An OCI runtime that runs every container as its own Xen virtual machine."""

__version__ = "0.2.0"

SPEC_VERSION = "1.3.0"
"""The newest version of the OCI runtime specification whose terms are known."""
