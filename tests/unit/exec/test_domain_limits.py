"""The memory that xl may have, for a kernel that an image has brought."""

import json
import os
from pathlib import Path
from typing import Any

import pytest

from runx.errors import RunxError
from runx.exec.xen import domain

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="xl gets a mount namespace of its own")

MIB = 1 << 20
XL = "#!/bin/sh\nwhile read -r line; do case $line in 'Max data size'*) echo \"$line\";; esac; done < /proc/self/limits\nexit 1\n"


def limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory_mib: int, own_kernel: str | None) -> str:
    """The limit that a program in xl's place has: it says it, and fails."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/xl").write_text(XL)
    (tmp_path / "bin/xl").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    plan = {"domain": {"memory_mib": memory_mib, "own_kernel": own_kernel, "disks": []}}
    (tmp_path / "plan.json").write_text(json.dumps(plan))
    network = os.open("/proc/self/ns/net", os.O_RDONLY)
    store: Any = None  # not asked when xl fails
    try:
        with pytest.raises(RunxError, match="Max data size") as caught:
            domain.create(store, str(tmp_path), "name", network, [], [])
    finally:
        os.close(network)
    return caught.value.message.split("Max data size")[1].split()[0]


@pytest.mark.parametrize(("memory_mib", "mib"), [(256, 513), (65536, 768)])
def test_a_kernel_of_the_image_bounds_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, memory_mib: int, mib: int) -> None:
    """It unpacks to a GiB, whatever the guest's memory. Beside it, xl needs memory for the list of the guest's pages."""
    assert limit(tmp_path, monkeypatch, memory_mib, "/boot/vmlinuz") == str(mib * MIB)


def test_runxs_own_does_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert limit(tmp_path, monkeypatch, 256, None) == "unlimited"
