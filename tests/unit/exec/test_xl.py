"""What xl says and how it ends, where the two do not agree."""

import pytest

from commandhost import Host
from runx.errors import RunxError
from runx.exec.xen import xl


def test_a_domain_that_has_gone(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", host.xen.environment()["PATH"])
    xl.destroy("999")
    xl.destroy("nobody")
    assert xl.domid("nobody") is None
    for command in (xl.pause, xl.unpause):
        with pytest.raises(RunxError, match="Non-existant domain"):
            command(999)


def test_a_host_without_qemu() -> None:
    """Debian has none for Xen on Arm: what to do is not xl's advice."""
    said = "libxl: error: libxl_dm.c:2909:libxl__spawn_local_dm: Domain 1:device model /qemu-system-i386 is not executable"
    assert "use a raw image" in xl.failure("xl create", 3, said).hint
