"""Settings of dom0's programs that `./build install` installs (host-assets/)."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from runx import paths
from runxtools.checkout import CHECKOUT, HOST_SETTINGS

RULES = CHECKOUT / "host-assets/udev.rules"


def test_udev_and_the_supervisor_agree_on_the_place_of_marks() -> None:
    assert f'TEST=="{paths.LOOPS}/%k"' in RULES.read_text()


def test_the_rules_come_before_udev_s_own() -> None:
    """These are 60-persistent-storage.rules and what reads its findings: 64-btrfs, 64-md-raid-assembly, 69-lvm."""
    assert Path(HOST_SETTINGS[RULES]).name < "60-"


def test_every_file_of_settings_is_installed() -> None:
    scripts = {"block", "vif"}
    assert {path.name for path in HOST_SETTINGS} | scripts == {path.name for path in (CHECKOUT / "host-assets").iterdir()}


def test_the_filter_of_lvm_is_one_pattern_that_refuses() -> None:
    (pattern,) = re.findall(r'"(.*)" \]', (CHECKOUT / "host-assets/lvmlocal.conf").read_text())
    assert pattern[:2] == "r|" and pattern[-1] == "|"
    refused = re.compile(pattern[2:-1])
    assert refused.search("/dev/loop7") and not refused.search("/dev/sda1") and not refused.search("/dev/mapper/loop")


@pytest.mark.skipif(not shutil.which("udevadm"), reason="udev is not installed")
def test_udev_understands_the_rules(tmp_path: Path) -> None:
    if subprocess.run(["udevadm", "verify", "--help"], check=False, capture_output=True).returncode:
        pytest.skip("this udevadm has no verify (systemd 254)")
    shutil.copy(RULES, tmp_path / "40-runx.rules")
    done = subprocess.run(["udevadm", "verify", tmp_path / "40-runx.rules"], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


USES_RULES = """
mount -t tmpfs none /run
mkdir -p /run/udev/rules.d /run/runx-loops
cp "$1" /run/udev/rules.d/40-runx.rules
for marked in no yes; do
    [ $marked = no ] || ln -s /tmp "/run/runx-loops/$(basename "$2")"
    echo "marked $marked"
    udevadm test --action change "/sys/block/$(basename "$2")" 2>/dev/null
done
"""


@pytest.mark.skipif(
    bool(os.geteuid()) or not shutil.which("udevadm") or not os.path.exists("/dev/loop-control"),
    reason="needs root, udev and loop devices",
)
def test_a_marked_device_is_not_looked_at(tmp_path: Path) -> None:
    """An ext4 file system in a file; with the mark, udev does not learn its UUID."""
    image = tmp_path / "image"
    subprocess.run(["truncate", "-s", "8M", image], check=True)
    subprocess.run(["mkfs.ext4", "-q", "-F", image], check=True)
    device = subprocess.run(["losetup", "-f", "--show", image], check=True, capture_output=True, text=True).stdout.strip()
    try:
        words = ["unshare", "--mount", "sh", "-euc", USES_RULES, "sh", RULES, device]
        shown = subprocess.run(words, check=True, capture_output=True, text=True).stdout
    finally:
        subprocess.run(["losetup", "-d", device], check=True)
    without, marked = shown.split("marked yes")
    assert "ID_FS_TYPE=ext4" in without
    assert "ID_FS" not in marked and "SYSTEMD_READY=0" in marked
