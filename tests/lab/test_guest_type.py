"""`type = "auto"` on hardware with hvm and hap, which Xen sees here: a PVH guest."""

from collections.abc import Iterator

import pytest

from runx.paths import VIRT_CAPS
from runxtools.lab.lab import Lab
from runxtools.testing.containers import LIMIT_S, Running


@pytest.fixture
def measured(lab: Lab) -> Iterator[None]:
    """A host that has not asked xl yet. The lab's setting, which keeps to PV guests, is away meanwhile."""
    lab.run(["mv", VIRT_CAPS, f"{VIRT_CAPS}.lab"], check=True)
    yield
    lab.run(["mv", f"{VIRT_CAPS}.lab", VIRT_CAPS], check=True)


@pytest.mark.usefixtures("measured")
def test_a_pvh_guest(lab: Lab) -> None:
    container = Running(lab, "echo ready; nproc; cat", ["--memory-limit", str(64 << 20)])
    try:
        assert lab.run(["cat", VIRT_CAPS], check=True).stdout.split()[:2] == [b"pv", b"hvm"]
        shown = lab.run(["runx", "features"], check=True).stdout
        assert b'"runx.guest.type": "pvh"' in shown and b"virt_caps) has hvm and hap" in shown
        domains = lab.run(["xl", "list", "-l"], check=True, timeout=LIMIT_S).stdout
        assert f"runx-{container.id}-".encode() in domains and b'"type": "pvh"' in domains
        assert container.end(b"over\n")[:2] == (0, b"1\nover\n")
    finally:
        container.stop()
