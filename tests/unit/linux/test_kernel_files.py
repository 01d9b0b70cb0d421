"""Files that are the host's kernel, by whatever path."""

import os
import select
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from runx.compiler.host.facts import KernelFiles
from runx.compiler.host.host_facts import HostFacts
from runx.linux.kernel_files import Mounts

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root may mount")


def test_by_any_path(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to("/proc")
    (tmp_path / "file").symlink_to("/proc/self/../sys/kernel/ostype")
    mounts = Mounts()
    for path in ("/proc", tmp_path / "link", "/proc/self/root/proc", "/proc/"):
        assert mounts.type_at(str(path)) == ("proc", True)
    for path in ("/proc/sys", tmp_path / "file", tmp_path / "link/self/status"):
        assert mounts.type_at(str(path)) == ("proc", False)
    assert mounts.type_at("/sys") == ("sysfs", True)
    assert mounts.type_at(str(tmp_path)) == mounts.type_at("/") == ("", False)
    with pytest.raises(FileNotFoundError):
        mounts.type_at(str(tmp_path / "none"))


def test_what_is_below() -> None:
    facts = HostFacts()
    assert {"/proc", "/sys"} <= set(facts.kernel_files("/").below)
    assert "/proc" not in facts.kernel_files("/proc").below
    assert facts.kernel_files("/none") == KernelFiles()


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[str]:
    """A directory with mounts of another mount namespace: p is a proc, and b is a part of this proc."""
    for name in ("p", "b", "a b"):
        (tmp_path / name).mkdir()
    script = "mount -t proc proc p && mount --bind /proc/sys b && echo ready && read end"
    argv = ["unshare", "--mount", "sh", "-c", script]
    with subprocess.Popen(argv, cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin and process.stdout
        assert select.select([process.stdout], [], [], 300)[0] and process.stdout.readline() == b"ready\n"
        yield f"/proc/{process.pid}/root{tmp_path}"
        process.stdin.write(b"\n")


@needs_root
def test_a_mount_of_another_namespace(elsewhere: str) -> None:
    mounts = Mounts()
    assert mounts.type_at(f"{elsewhere}/p") == mounts.type_at(f"{elsewhere}/b/kernel") == ("proc", False)
    assert mounts.type_at(elsewhere) == ("", False)


@needs_root
def test_a_part_that_is_mounted_is_not_the_whole(tmp_path: Path) -> None:
    point = tmp_path / "a b\\c"
    point.mkdir()
    subprocess.run(["mount", "--bind", "/proc/sys", point], check=True)
    try:
        assert Mounts().type_at(str(point)) == ("proc", False)
        assert HostFacts().kernel_files(str(tmp_path)) == KernelFiles("", False, (str(point),))
    finally:
        subprocess.run(["umount", point], check=True)
