"""Where the files of this checkout are."""

from pathlib import Path

CHECKOUT = Path(__file__).resolve().parents[2]
HOST_SCRIPTS = tuple(CHECKOUT / "host-assets" / name for name in ("block", "vif"))
"""Hotplug scripts for Xen; they are installed beside the guest."""
HOST_SETTINGS = {
    CHECKOUT / "host-assets/udev.rules": "lib/udev/rules.d/40-runx.rules",
    CHECKOUT / "host-assets/runx.network": "lib/systemd/network/05-runx.network",
    CHECKOUT / "host-assets/lvmlocal.conf": "share/runx/lvmlocal.conf",
}
"""Settings of dom0's programs, and their places below the prefix."""
