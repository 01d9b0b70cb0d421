"""Files inside a root filesystem that does what it can to lead outside."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from runx.errors import RunxError
from runx.linux import in_root


@pytest.fixture
def root(tmp_path: Path) -> Path:
    top = tmp_path / "root"
    (top / "boot").mkdir(parents=True)
    (top / "boot/kernel").write_bytes(b"inside")
    (tmp_path / "kernel").write_bytes(b"outside")
    return top


def copied(root: Path, path: str, limit: int = 100) -> bytes:
    target = root.parent / "copy"
    in_root.copy(str(root), path, str(target), limit)
    assert stat.S_IMODE(target.stat().st_mode) == 0o600
    return target.read_bytes()


@pytest.mark.parametrize("path", ["/boot/kernel", "boot/kernel", "/../../boot/kernel", "/boot/../boot/./kernel"])
def test_a_file(root: Path, path: str) -> None:
    assert copied(root, path) == b"inside"
    assert stat.S_ISREG(in_root.mode(str(root), path))


@pytest.mark.parametrize("target", ["/boot/kernel", "../boot/kernel", "../../../boot/kernel", "/../boot/kernel"])
def test_links_stay_inside(root: Path, target: str) -> None:
    (root / "boot/link").symlink_to(target)
    assert copied(root, "/boot/link") == b"inside"


def test_a_link_that_would_lead_outside_finds_nothing(root: Path) -> None:
    (root / "absolute").symlink_to(root.parent / "kernel")
    (root / "relative").symlink_to("../kernel")
    (root / "above").symlink_to("..")
    for path in ("absolute", "relative", "above/kernel", "../kernel"):
        with pytest.raises(RunxError, match="no such file"):
            copied(root, path)
        with pytest.raises(FileNotFoundError):
            in_root.mode(str(root), path)
    assert not (root.parent / "copy").exists()


def test_a_loop_and_magic_links(root: Path) -> None:
    (root / "loop").symlink_to("loop")
    with pytest.raises(RunxError, match="too many levels"):
        copied(root, "loop")
    with pytest.raises(OSError):
        in_root.mode("/", "/proc/self/root/etc/passwd")


def test_only_regular_files(root: Path) -> None:
    os.mkfifo(root / "fifo")  # to open it would wait for a writer
    assert stat.S_ISFIFO(in_root.mode(str(root), "fifo"))
    for path in ("fifo", "boot", "/"):
        with pytest.raises(RunxError, match="not a file"):
            copied(root, path)


def test_the_size_has_a_limit(root: Path) -> None:
    assert copied(root, "/boot/kernel", 6) == b"inside"
    (root.parent / "copy").unlink()
    with pytest.raises(RunxError, match="larger than 0 MiB"):
        copied(root, "/boot/kernel", 5)
    os.truncate(root / "boot/kernel", 1 << 40)
    with pytest.raises(RunxError, match="larger than 1 MiB"):
        copied(root, "/boot/kernel", 1 << 20)


def test_an_existing_target_is_never_followed(root: Path) -> None:
    (root.parent / "copy").symlink_to(root.parent / "kernel")
    with pytest.raises(RunxError, match=f"cannot write {root.parent}/copy: file exists"):
        copied(root, "/boot/kernel")
    assert (root.parent / "kernel").read_bytes() == b"outside"


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts a small file system")
def test_a_full_state_directory_is_named(root: Path) -> None:
    full = root.parent / "full"
    full.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", full], check=True)
    try:
        (root / "boot/kernel").write_bytes(b"x" * (1 << 20))
        with pytest.raises(RunxError, match=f"^cannot write {full}/copy: no space left on device"):
            in_root.copy(str(root), "/boot/kernel", f"{full}/copy", 1 << 21)
    finally:
        subprocess.run(["umount", full], check=True)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts need root")
def test_mounts_elsewhere_hinder_no_path_with_dots(root: Path) -> None:
    """The kernel gives EAGAIN for such a path while anything is mounted on the machine (openat2(2))."""
    script = "\n".join(
        (
            "from runx.linux import mount",
            "mount.unshare(mount.CLONE_NEWNS)",
            "mount.mount('none', '/', mount.MS_REC | mount.MS_PRIVATE)",
            "while True:",
            "    mount.mount('/tmp', '/mnt', mount.MS_BIND)",
            "    mount.unmount('/mnt')",
        )
    )
    command = [sys.executable, "-c", script]
    other = subprocess.Popen(command, stderr=subprocess.DEVNULL, start_new_session=True)
    try:
        for _ in range(8000):
            os.close(in_root.find(str(root), "/" + "boot/../" * 450 + "boot/kernel"))
    finally:
        os.killpg(other.pid, 9)
        other.wait()


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts need root")
@pytest.mark.parametrize("path", ["/boot/proc/version", "/boot/link"])
def test_files_of_the_hosts_kernel_are_none_of_it(root: Path, path: str) -> None:
    """An image's variable may name what an engine or the administrator has mounted below its root filesystem."""
    (root / "boot/proc").mkdir()
    (root / "boot/link").symlink_to("/boot/proc/version")
    subprocess.run(["mount", "-t", "proc", "proc", root / "boot/proc"], check=True)
    try:
        with pytest.raises(RunxError, match=f"^{path} in {root}: it is on a proc of the host's kernel"):
            copied(root, path)
    finally:
        subprocess.run(["umount", root / "boot/proc"], check=True)
    assert not (root.parent / "copy").exists()
