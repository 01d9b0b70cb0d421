#!/usr/bin/python3
"""Make a root filesystem of two layers and an upper directory, by overlayfs, as engines do.

    make_layers.py TOP PROGRAM MIB SPARSE_MIB CHANGED

TOP/snapshots/1/fs and 2/fs are the layers, 3/fs is the upper directory of the overlay, which stays mounted at TOP/bundle/rootfs.
The upper directory has files if CHANGED is `1`. PROGRAM is a static program for the root's /bin. One file has MIB of random
bytes, a sparse one SPARSE_MIB.
"""

import os
import shutil
import socket
import stat
import subprocess
import sys
from pathlib import Path

CAPABILITY = bytes.fromhex("0100000200040000000000000000000000000000")
"""struct vfs_cap_data, version 2: cap_net_bind_service, effective (capabilities(7))."""
ANY_BYTE = bytes(byte for byte in range(1, 256) if byte != ord("/"))


def main(top: Path, program: str, mib: int, sparse_mib: int, changed: bool) -> None:
    for number in "123":
        (top / "snapshots" / number / "fs").mkdir(parents=True)
        (top / "snapshots" / number / "work").mkdir()
    root = top / "bundle/rootfs"
    root.mkdir(parents=True)
    lowest = top / "snapshots/1/fs"
    image(lowest, program, mib, sparse_mib)
    mount(root, "1", "2")
    change(root)
    subprocess.run(["umount", root], check=True)
    mount(root, "2:1", "3")
    if changed:
        change_again(root)


def mount(root: Path, lower: str, upper: str) -> None:
    store = root.parents[1] / "snapshots"
    below = ":".join(f"{store}/{number}/fs" for number in lower.split(":"))
    options = f"lowerdir={below},upperdir={store}/{upper}/fs,workdir={store}/{upper}/work"
    subprocess.run(["mount", "-t", "overlay", "-o", options, "overlay", root], check=True)


def write(path: Path, text: str = "text", mode: int = 0o644) -> None:
    path.write_text(text)
    path.chmod(mode)


def image(root: Path, program: str, mib: int, sparse_mib: int) -> None:
    """The lowest layer."""
    for name in ("dev", "proc", "sys", "bin", "gone", "opaque/below", "file-to-be", "many", "sticky", "kept"):
        (root / name).mkdir(parents=True)
    shutil.copy(program, root / "bin/treehash")
    write(root / "empty", "")
    write(root / "set-user-id", mode=0o4755)
    write(root / "set-group-id", mode=0o2711)
    (root / "sticky").chmod(0o1777)
    os.chown(root / "set-group-id", 70000, 4_000_000_000)
    (root / "set-group-id").chmod(0o2711)
    write(root / "capable", mode=0o755)
    os.setxattr(root / "capable", "security.capability", CAPABILITY)
    write(root / "attributes")
    os.setxattr(root / "attributes", "user.of-the-image", b"\0any byte\xff")
    (root / "random").write_bytes(os.urandom(mib << 20))
    with (root / "sparse").open("wb") as file:
        file.write(b"begin")
        file.seek((sparse_mib << 19) + 123)
        file.write(b"in the middle")
        file.truncate(sparse_mib << 20)
    (root / "link").symlink_to("no/\nwhere")
    (root / "absolute").symlink_to("/etc/passwd")
    os.mkfifo(root / "fifo", 0o640)
    os.mknod(root / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod(root / "disk", stat.S_IFBLK | 0o600, os.makedev(259, 1_000_000))
    with socket.socket(socket.AF_UNIX) as listener:
        os.chdir(root)  # the path of a socket must be short
        listener.bind("socket")
    for name in ("linked", "linked-across", "linked-gone"):
        write(root / name, name)
        os.link(root / name, root / f"{name}-too")
    for number in range(0, len(ANY_BYTE), 100):
        write(root / os.fsdecode(b"bytes-" + ANY_BYTE[number : number + 100]))
    write(root / ("n" * 254))  # mkfs.erofs refuses 255
    for number in range(2000):
        write(root / f"many/{number}", str(number))
    for name in (
        "gone/a",
        "gone-file",
        "opaque/a",
        "opaque/below/b",
        "file-to-be/a",
        "directory-to-be",
        "changed",
        "owned",
        "moved",
    ):
        write(root / name, name)
    os.utime(root / "changed", ns=(1, 1_000_000_000_123_456_789))
    os.utime(root / "kept", ns=(1, 2_000_000_001))


def change(root: Path) -> None:
    """The second layer hides, replaces and adds files."""
    shutil.rmtree(root / "gone")  # whiteouts
    (root / "gone-file").unlink()
    (root / "linked-gone").unlink()
    shutil.rmtree(root / "opaque")  # an opaque directory
    (root / "opaque").mkdir(mode=0o750)
    write(root / "opaque/new")
    shutil.rmtree(root / "file-to-be")
    write(root / "file-to-be")
    (root / "directory-to-be").unlink()
    (root / "directory-to-be").mkdir()
    write(root / "directory-to-be/new")
    with (root / "changed").open("a") as file:
        file.write(" and more")
    os.chown(root / "owned", 12, 34)
    os.link(root / "linked-across", root / "linked-across-layers")
    os.rename(root / "moved", root / "many/moved")
    (root / "many/7").unlink()
    os.setxattr(root / "attributes", "user.of-the-second-layer", b"value")
    (root / "added/deep/er").mkdir(parents=True)
    write(root / "added/deep/er/file", "", 0o000)


def change_again(root: Path) -> None:
    """The upper directory: files of `docker cp` and the like."""
    (root / "added/deep/er/file").unlink()
    shutil.rmtree(root / "opaque")
    write(root / "opaque", "a file now")
    write(root / "gone", "again")
    os.link(root / "linked", root / "linked-again")
    (root / "many/8").unlink()
    (root / "socket").unlink()
    (root / "kept").chmod(0o700)
    (root / "set-user-id").chmod(0o6711)


main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), int(sys.argv[4]), sys.argv[5] == "1")
