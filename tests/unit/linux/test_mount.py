"""Mounts and namespaces, made for real in a child."""

import errno
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from runx.linux import mount

TOP = Path(__file__).parents[3]
HEADERS = Path("/usr/include/linux")

pytestmark = pytest.mark.skipif(bool(os.geteuid()), reason="only root may mount")


def in_child(code: str, *words: str) -> str:
    """What the code prints; its arguments are in `words`."""
    head = "import os, sys; words = sys.argv[1:]; from runx.linux.mount import *\n"
    done = subprocess.run([sys.executable, "-c", head + code, *words], capture_output=True, text=True, cwd=TOP)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_bind_is_seen_inside_alone(tmp_path: Path) -> None:
    for name in ("a, b", "target"):
        (tmp_path / name).mkdir()
    (tmp_path / "a, b/file").write_text("content")
    code = """
private_mounts()
mount(words[0], words[1], MS_BIND)
mount("none", words[1], MS_REMOUNT | MS_BIND | MS_RDONLY | MS_NOSUID)
flags = os.statvfs(words[1]).f_flag
print(open(words[1] + "/file").read(), bool(flags & os.ST_RDONLY), bool(flags & os.ST_NOSUID), bool(flags & os.ST_NOEXEC))
"""
    assert in_child(code, str(tmp_path / "a, b"), str(tmp_path / "target")) == "content True True False\n"
    assert not list((tmp_path / "target").iterdir())


def test_a_file_system_with_options(tmp_path: Path) -> None:
    code = """
private_mounts()
mount("none", words[0], MS_NODEV, "tmpfs", "size=8192,mode=711")
status = os.statvfs(words[0])
print(status.f_blocks * status.f_frsize, oct(os.stat(words[0]).st_mode), bool(status.f_flag & os.ST_NODEV))
"""
    assert in_child(code, str(tmp_path)) == "8192 0o40711 True\n"


def test_another_network_namespace() -> None:
    code = """
before = os.open("/proc/self/ns/net", os.O_RDONLY)
unshare(CLONE_NEWNET)
print(len(os.listdir("/proc/self/net/dev_snmp6")) if os.path.exists("/proc/self/net/dev_snmp6") else 1)
setns(before, CLONE_NEWNET)
print(os.path.samestat(os.fstat(before), os.stat("/proc/self/ns/net")))
"""
    assert in_child(code) == "1\nTrue\n"


def test_errors_name_what_failed(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        mount.mount("/no/such", str(tmp_path), mount.MS_BIND)
    assert caught.value.filename == "/no/such"
    with pytest.raises(OSError, match="setns") as other, (tmp_path / "file").open("w") as file:
        mount.setns(file.fileno(), mount.CLONE_NEWNET)
    assert other.value.errno == errno.EINVAL


@pytest.mark.skipif(not (HEADERS / "mount.h").exists(), reason="no headers of the kernel")
def test_numbers_are_the_kernels() -> None:
    known = {}
    for line in ((HEADERS / "mount.h").read_text() + (HEADERS / "sched.h").read_text()).splitlines():
        if match := re.match(r"#define\s+((?:MS|CLONE)_\w+)\s+(\(1\s*<<\s*\d+\)|0x\w+|\d+)", line):
            number, _, shift = match[2].strip("()").partition("<<")
            known[match[1]] = int(number.rstrip("UL"), 0) << int(shift or 0)
    ours = {name: value for name, value in vars(mount).items() if name.startswith(("MS_", "CLONE_"))}
    assert {name: known[name] for name in ours} == ours
