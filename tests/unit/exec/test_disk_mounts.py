"""The files of disks, mounted for real in a mount namespace of a child: xl sees them there, and the host does not."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from runx.exec.storage import disk_mounts

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces and mounts need root")

CHILD = """
import os, sys
sys.path[:0] = {path!r}
from runx.exec.storage import disk_mounts
from runx.errors import RunxError
try:
    disk_mounts.enter({directory!r})
except RunxError as error:
    sys.exit("error: " + error.message)
os.execv("/bin/sh", ["sh", "-c", {script!r}])
"""


def inside(directory: Path, source: Path, script: str) -> "subprocess.CompletedProcess[str]":
    """Mount a disk with this file in a child, and run a script there."""
    directory.mkdir()
    disk = {"source": str(source), "path": f"{directory}/shares/image", "read_only": False, "holds": "image"}
    content: Any = {"domain": {"disks": [disk]}}
    (directory / "plan.json").write_text(json.dumps(content))
    disk_mounts.prepare(str(directory), content)
    code = CHILD.format(path=sys.path, directory=str(directory), script=f"cd {directory}/shares; {script}")
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert str(directory) not in Path("/proc/self/mountinfo").read_text()
    return result


def test_an_image_is_bound(tmp_path: Path) -> None:
    source = tmp_path / 'an, "image" with\nawkward = \' characters'
    source.write_text("content")
    assert inside(tmp_path / "state", source, "cat image").stdout == "content"
    place = tmp_path / "state/shares/image"
    assert place.is_file(), "it is there when the disk is taken away, outside of the mount namespace"
    assert not place.stat().st_size


def test_an_image_that_is_not_there_is_named(tmp_path: Path) -> None:
    result = inside(tmp_path / "state", Path("/no/such"), "true")
    assert result.returncode == 1
    assert result.stderr == "error: vm.image.path: cannot bind /no/such: No such file or directory\n"
