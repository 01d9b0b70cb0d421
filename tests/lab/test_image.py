"""vm.image: a container whose root is a disk. dom0 never mounts it: what is in it is looked at from the outside."""

import json
import subprocess
from pathlib import Path

import pytest

from runxtools.lab.lab import Lab
from runxtools.testing.containers import IMAGE, LIMIT_S, RUNX, new_id

ROOT = """\
set -e
mkdir {top}/root {top}/image {top}/empty
ctr image mount {image} {top}/image
cp -a {top}/image/. {top}/root/
ctr image unmount {top}/image
mke2fs -q -t ext4 -d {top}/root {top}/root.img 16M
"""


class Bundle:
    """A bundle whose vm.image is a file below `top`."""

    def __init__(self, lab: Lab, top: str) -> None:
        self.lab = lab
        self.top = top

    def run(
        self, image: str, image_format: str, script: str, container: str = "", **root: bool
    ) -> "subprocess.CompletedProcess[bytes]":
        self.configure(image, image_format, script, **root)
        return self.lab.run([RUNX, "run", "--bundle", self.top, container or new_id()], timeout=LIMIT_S)

    def configure(self, image: str, image_format: str, script: str, **root: bool) -> None:
        mounts = [
            {"destination": "/proc", "type": "proc", "source": "proc"},
            {"destination": "/not/there", "type": "bind", "source": f"{self.top}/root/etc", "options": ["rbind", "ro"]},
        ]
        config = {
            "ociVersion": "1.2.0",
            "process": {"args": ["/bin/sh", "-c", script], "cwd": "/", "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0}},
            "root": {"path": f"{self.top}/empty", **root},
            "mounts": mounts,
            "linux": {"namespaces": [{"type": kind} for kind in ("pid", "network", "mount")]},
            "vm": {"image": {"path": f"{self.top}/{image}", "format": image_format}},
        }
        write = ["sh", "-c", 'cat > "$1"', "sh", f"{self.top}/config.json"]
        self.lab.run(write, stdin=json.dumps(config).encode(), check=True)

    def convert(self, tmp_path: Path, image_format: str = "qcow2") -> None:
        """Make root.qcow2 or root.vhd of root.img. dom0 has no qemu-img, this machine has."""
        self.lab.get(f"{self.top}/root.img", tmp_path)
        target = tmp_path / f"root.{image_format}"
        # qemu-img's name of vhd is that of its first program, Virtual PC.
        words = ["-O", "vpc", "-o", "force_size=on"] if image_format == "vhd" else ["-O", image_format]
        subprocess.run(["qemu-img", "convert", *words, tmp_path / "root.img", target], check=True)
        self.lab.put(target, self.top)

    def file(self, path: str) -> bytes:
        """A file of the raw image."""
        shown: bytes = self.lab.run(["debugfs", "-R", f"cat {path}", f"{self.top}/root.img"], check=True).stdout
        return shown


@pytest.fixture
def bundle(lab: Lab, scratch: str) -> Bundle:
    lab.run(["sh", "-c", ROOT.format(top=scratch, image=IMAGE)], check=True, timeout=LIMIT_S)
    return Bundle(lab, scratch)


def test_writes_are_in_the_image(lab: Lab, bundle: Bundle) -> None:
    script = "grep ' / ' /proc/mounts; ls /not/there/motd; echo kept > /kept; mkfifo /fifo && echo fifo; exit 3"
    result = bundle.run("root.img", "raw", script)
    assert result.returncode == 3, result.stderr
    lines = result.stdout.decode().splitlines()
    assert lines[0].startswith("/dev/xvda / ext4 rw"), result.stdout
    assert lines[1:] == ["/not/there/motd", "fifo"], "a disk holds what 9p does not"
    assert bundle.file("/kept") == b"kept\n"
    assert lab.run(["losetup", "-j", f"{bundle.top}/root.img"], check=True).stdout == b"", "no loop device is left"
    lab.run(["e2fsck", "-fn", f"{bundle.top}/root.img"], check=True)

    result = bundle.run("root.img", "raw", "cat /kept")
    assert result.stdout == b"kept\n", "the next container finds it"


def test_a_read_only_image_is_not_written_to(lab: Lab, bundle: Bundle) -> None:
    before = lab.run(["sha256sum", f"{bundle.top}/root.img"]).stdout
    script = "cat /etc/motd; touch /etc/x 2>&1; ls /not/there/motd; exec 3> /dev/xvda; echo not writable"
    result = bundle.run("root.img", "raw", script, readonly=True)
    assert b"touch: /etc/x: Read-only file system" in result.stdout, (result.stdout, result.stderr)
    assert b"/not/there/motd" in result.stdout, "mount points are made all the same"
    assert lab.run(["sha256sum", f"{bundle.top}/root.img"]).stdout == before


@pytest.mark.needs_qemu
@pytest.mark.parametrize("image_format", ["qcow2", "vhd"])
def test_an_image_by_qemu(bundle: Bundle, tmp_path: Path, image_format: str) -> None:
    bundle.convert(tmp_path, image_format)
    result = bundle.run(f"root.{image_format}", image_format, "echo kept > /kept; exit 4")
    assert result.returncode == 4, result.stderr
    assert bundle.run(f"root.{image_format}", image_format, "cat /kept").stdout == b"kept\n"


@pytest.mark.needs_qemu
@pytest.mark.parametrize("image", ["root.img", "root.qcow2"])
def test_a_guest_without_supervisor_keeps_its_image(lab: Lab, bundle: Bundle, tmp_path: Path, image: str) -> None:
    bundle.convert(tmp_path)
    first, second = new_id(), new_id()
    image_format = {"img": "raw"}.get(image.partition(".")[2], "qcow2")
    bundle.configure(image, image_format, "sleep 1000")
    create = ["sh", "-c", 'exec "$@" > /dev/null 2> "$0"', f"{bundle.top}/errors", RUNX, "create", "--bundle", bundle.top]
    try:
        lab.run([*create, "--pid-file", f"{bundle.top}/pid", first], check=True, timeout=LIMIT_S)
        lab.run([RUNX, "start", first], check=True, timeout=LIMIT_S)
        lab.run(["sh", "-c", f"kill -9 $(cat {bundle.top}/pid)"], check=True)
        assert lab.run([*create, second], timeout=LIMIT_S).returncode == 1
        errors = lab.run(["cat", f"{bundle.top}/errors"]).stdout
        assert b"is in use by another container" in errors or b"xl create failed" in errors, errors
    finally:
        for container in (first, second):
            lab.run([RUNX, "delete", "--force", container], check=True, timeout=LIMIT_S)


def test_what_is_no_file_system_is_a_clear_error(lab: Lab, bundle: Bundle) -> None:
    lab.run(["truncate", "-s", "8M", f"{bundle.top}/nothing.img"], check=True)
    result = bundle.run("nothing.img", "raw", "true")
    assert result.returncode == 125
    assert b"a writable image is one ext4 file system, without a partition table" in result.stderr
