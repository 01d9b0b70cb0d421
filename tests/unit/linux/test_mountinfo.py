"""What the kernel says of mounts, as it says it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from runx.linux import mountinfo
from runx.linux.mountinfo import MountInfo

LINES = rb"""
22 27 0:21 / /sys rw,nosuid shared:7 - sysfs sysfs rw
36 35 98:0 /mnt1\040x /mnt\0112\012\134\043 ro,noatime master:1 propagate_from:2 - ext3 /dev/root\040 rw,errors=continue
40 35 0:40 / /m rw - overlay overlay rw,lowerdir=/a\134:b:/c\054d,upperdir=/u\075\040
41 35 0:41 / /empty rw - tmpfs  rw
42 35 0:42 / /latin-\351\015 rw - fuse.sshfs host: rw
""".lstrip()


def test_lines(tmp_path: Path) -> None:
    (tmp_path / "mountinfo").write_bytes(LINES.replace(rb"\351\015", b"\xe9\r"))
    assert mountinfo.read(str(tmp_path / "mountinfo")) == [
        MountInfo("/", "/sys", "sysfs", ("rw",), "sysfs"),
        MountInfo("/mnt1 x", "/mnt\t2\n\\#", "ext3", ("rw", "errors=continue"), "/dev/root "),
        MountInfo("/", "/m", "overlay", ("rw", "lowerdir=/a\\:b:/c,d", "upperdir=/u= "), "overlay"),
        MountInfo("/", "/empty", "tmpfs", ("rw",)),
        MountInfo("/", "/latin-\udce9\r", "fuse.sshfs", ("rw",), "host:"),
    ]


def test_this_machine() -> None:
    assert "/proc" in [mount.point for mount in mountinfo.read() if mount.kind == "proc"]


@pytest.mark.skipif(bool(os.geteuid()), reason="only root may mount")
def test_an_awkward_mount_point(tmp_path: Path) -> None:
    """Every character that can confuse: the kernel escapes some of them, and ends no line at the others."""
    point = tmp_path / 'a b\tc\nd\\e#f\rg"h\x0b\x85 - \udcff'
    point.mkdir()
    code = "from runx.linux import mountinfo; print(ascii(mountinfo.read()[-1].point))"
    script = 'mount -t tmpfs none "$1" && exec "$2" -c "$3"'
    words = ["unshare", "--mount", "sh", "-ec", script, "sh", os.fsencode(point), sys.executable, code]
    done = subprocess.run(words, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[3])
    assert done.stdout == ascii(os.fspath(point)) + "\n"
