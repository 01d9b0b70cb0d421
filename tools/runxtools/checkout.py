"""Where the files of this checkout are."""

from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
HOST_SCRIPTS = tuple(CHECKOUT / "host-assets" / name for name in ("block", "vif"))
"""Hotplug scripts for Xen; they are installed beside the guest."""
