"""The trees of bind mounts, assembled for real in a mount namespace of a child: what they hold, and that the host sees none."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from runx.exec.storage import shares

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces and mounts need root")

CHILD = """
import os, sys
sys.path[:0] = {path!r}
from runx.exec.storage import shares
from runx.errors import RunxError
try:
    shares.enter({directory!r})
except RunxError as error:
    sys.exit("error: " + error.message)
os.execv("/bin/sh", ["sh", "-c", {script!r}])
"""


def plan(root: Path, *mounts: dict[str, Any]) -> dict[str, Any]:
    full = [
        {
            "carrier": "9p",
            "slot": n,
            "is_file": False,
            "recursive": True,
            "read_only": False,
            "flags": [],
            "origin": f"mounts[{n}]",
        }
        | mount
        for n, mount in enumerate(mounts)
    ]
    return {"domain": {"disks": []}, "root": {"carrier": "9p", "path": str(root), "served_read_only": False}, "mounts": full}


def inside(directory: Path, content: dict[str, Any], script: str) -> "subprocess.CompletedProcess[str]":
    """Assemble the shares of a plan in a child and run a script there, in the share's directory."""
    directory.mkdir()
    (directory / "plan.json").write_text(json.dumps(content))
    shares.prepare(str(directory), content)
    code = CHILD.format(path=sys.path, directory=str(directory), script=f"cd {directory}/shares; {script}")
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    assert str(directory) not in Path("/proc/self/mountinfo").read_text()
    assert not [path for path in (directory / "shares").rglob("*") if path.is_file() and path.stat().st_size]
    return result


@pytest.fixture
def source(tmp_path: Path) -> Path:
    source = tmp_path / 'a, "source" with\nawkward = \' characters'
    source.mkdir()
    (source / "file").write_text("content")
    return source


def test_the_root_and_binds_are_seen_inside_only(tmp_path: Path, source: Path) -> None:
    root = tmp_path / "rootfs"
    root.mkdir()
    (root / "etc").mkdir()
    content = plan(root, {"source": str(source)}, {"source": str(source / "file"), "is_file": True})
    result = inside(tmp_path / "state", content, "ls root; cat mounts/0/file mounts/1; echo new > mounts/0/new; echo $?")
    assert result.stdout == "etc\ncontentcontent0\n", result.stderr
    assert (source / "new").read_text() == "new\n"


def test_read_only_is_enforced_here(tmp_path: Path, source: Path) -> None:
    content = plan(
        tmp_path, {"source": str(source), "read_only": True}, {"source": str(source / "file"), "is_file": True, "read_only": True}
    )
    result = inside(tmp_path / "state", content, "echo x > mounts/0/new; echo x > mounts/1; rm mounts/0/file")
    assert result.stderr.count("Read-only file system") == 3, result.stderr
    assert (source / "file").read_text() == "content"


def test_an_image_is_bound_like_a_share(tmp_path: Path, source: Path) -> None:
    content = plan(tmp_path)
    place = tmp_path / "state/shares/image"
    content["domain"]["disks"] = [{"source": str(source / "file"), "path": str(place), "read_only": False, "holds": "image"}]
    assert inside(tmp_path / "state", content, "cat image").stdout == "content"
    assert place.is_file(), "it is there when the disk is taken away, outside of the mount namespace"


def test_a_root_that_the_guest_would_not_make_read_only(tmp_path: Path) -> None:
    root = tmp_path / "rootfs"
    (root / "tmp").mkdir(parents=True)
    content = plan(root)
    content["root"]["served_read_only"] = True
    result = inside(tmp_path / "state", content, "ls root; echo x > root/tmp/new")
    assert (result.stdout, result.stderr.count("Read-only file system")) == ("tmp\n", 1), result.stderr


def test_read_only_holds_for_the_mounts_below(tmp_path: Path, source: Path) -> None:
    (source / "below me").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "nosuid", "below", str(source / "below me")], check=True)
    try:
        script = "echo x > 'mounts/0/below me/new'; echo x > 'mounts/1/below me/new' && cat /proc/self/mountinfo"
        content = plan(tmp_path, {"source": str(source), "read_only": True}, {"source": str(source)})
        result = inside(tmp_path / "state", content, script)
    finally:
        subprocess.run(["umount", str(source / "below me")], check=True)
    assert result.stderr.count("Read-only file system") == 1, result.stderr
    below = [line for line in result.stdout.splitlines() if "mounts/0/below" in line]
    assert below[0].split()[5].startswith("ro,nosuid"), "its other flags stay"


def test_without_rbind_the_mounts_below_stay_away(tmp_path: Path) -> None:
    content = plan(tmp_path, {"source": "/dev", "recursive": False})
    assert inside(tmp_path / "state", content, "ls mounts/0/pts").stdout == ""


def test_a_bind_that_fails_is_named(tmp_path: Path) -> None:
    result = inside(tmp_path / "state", plan(tmp_path, {"source": "/no/such"}), "true")
    assert result.returncode == 1
    assert result.stderr == "error: mounts[0]: cannot bind /no/such: No such file or directory\n"
    assert os.geteuid() == 0
