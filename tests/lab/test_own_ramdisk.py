"""A ramdisk that the container brings in its root filesystem: its guest is its own, and hvc0 is its streams."""

import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from runx.cpio import OverlayFile, archive
from runxtools.lab.lab import Lab
from runxtools.testing.containers import IMAGE, LIMIT_S, RUNX, new_id

BASE = "/usr/local/share/runx/x86_64/initrd"
"""Its busybox serves here as well; of its /init nothing is left."""

INIT = b"""#!/bin/sh
mount -t proc proc /proc
mount -t devtmpfs dev /dev
mount -t 9p -o trans=xen,version=9p2000.L root /newroot
# What /sbin/poweroff sends, which the kernel runs when the host asks for it.
trap 'echo stopping; poweroff -f' USR2
echo "ready $(cat /newroot/etc/motd)"
touch /newroot/written 2>&1
while read -r line; do
	case $line in
	off) echo bye; poweroff -f ;;
	again) reboot -f ;;
	'do '*) eval "${line#do }" 2>&1; echo "done $?" ;;
	*) echo "got $line" ;;
	esac
done
"""

ROOT = """\
set -e
mkdir {top}/root {top}/image
ctr image mount {image} {top}/image
cp -a {top}/image/. {top}/root/
ctr image unmount {top}/image
mkdir -p {top}/root/boot
cat {base} {top}/own.cpio > {top}/root/boot/ramdisk
"""


class Container:
    """A container of `ctr run` whose guest has said that it is ready."""

    def __init__(self, lab: Lab, root: str, *options: str, tty: bool = False) -> None:
        self.lab = lab
        self.id = new_id()
        argv = ["ctr", "run", "--rm", "--runc-binary", RUNX, "--env", "RUNX_RAMDISK=/boot/ramdisk", *options]
        argv += [*(["-t"] if tty else []), "--rootfs", root, self.id, "/never/run"]
        errors = subprocess.STDOUT if tty else subprocess.PIPE
        self.process = lab.popen(
            ["sh", "-c", f"exec {shlex.join(argv)}"], tty=tty, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors
        )
        self.seen = b""
        self.until(b"ready ")

    def until(self, text: bytes) -> None:
        assert self.process.stdout is not None
        while text not in self.seen:
            data = self.process.stdout.read(4096)
            assert data, self.seen
            self.seen += data

    def type(self, line: bytes) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(line)
        self.process.stdin.flush()

    def kill(self, signal: str) -> None:
        self.lab.run(["ctr", "task", "kill", "-s", signal, self.id], check=True, timeout=LIMIT_S)

    def end(self) -> int:
        output, self.errors = self.process.communicate(timeout=LIMIT_S)
        self.seen += output
        return self.process.returncode


@pytest.fixture
def root(lab: Lab, scratch: str, tmp_path: Path) -> str:
    """A root filesystem with a ramdisk in it."""
    (tmp_path / "own.cpio").write_bytes(archive([OverlayFile("init", 0o755, INIT)]))
    lab.put(tmp_path / "own.cpio", f"{scratch}/own.cpio")
    lab.run(["sh", "-c", ROOT.format(top=scratch, image=IMAGE, base=BASE)], check=True, timeout=LIMIT_S)
    return f"{scratch}/root"


def test_its_console_is_the_streams(lab: Lab, root: str) -> None:
    container = Container(lab, root)
    container.type(b"hello\n")
    container.until(b"got hello\r\n")
    container.type(b"off\n")
    assert (container.end(), container.errors) == (0, b"")
    assert container.seen.endswith(b"bye\r\n") or b"bye\r\n[" in container.seen, container.seen[-300:]
    assert b"Linux version" in container.seen, "the kernel was not told to be quiet"
    lab.run(["test", "-e", f"{root}/written"], check=True)


POLICY = "/etc/runx/runx.toml"


@pytest.fixture
def allowed(lab: Lab) -> Iterator[None]:
    """Policy of dom0 that allows such a container writable bind mounts."""
    text = "[policy]\\nown_boot_writable_binds = true\\n"
    lab.run(["sh", "-euc", f"mkdir -p /etc/runx; printf '{text}' > {POLICY}"], check=True)
    yield
    lab.run(["rm", POLICY], check=True)


def volume(lab: Lab, scratch: str) -> list[str]:
    """Options for a bind mount of a new directory of dom0, and for a process that is never root."""
    lab.run(["install", "-d", "-m", "755", "-o", "1000", f"{scratch}/volume"], check=True)
    return ["--mount", f"type=bind,src={scratch}/volume,dst=/vol,options=rbind:rw", "--user", "1000"]


def test_a_writable_bind_needs_a_permission(lab: Lab, root: str, scratch: str) -> None:
    """The image decides what root does in its guest, whatever the engine said."""
    argv = ["ctr", "run", "--rm", "--runc-binary", RUNX, "--env", "RUNX_RAMDISK=/boot/ramdisk", *volume(lab, scratch)]
    result = lab.run([*argv, "--rootfs", root, new_id(), "/never/run"], timeout=LIMIT_S)
    assert result.returncode == 1
    assert b"not allowed writable bind mounts by policy.own_boot_writable_binds" in result.stderr


@pytest.mark.usefixtures("allowed")
def test_the_host_withholds_what_the_process_could_not_make(lab: Lab, root: str, scratch: str) -> None:
    container = Container(lab, root, *volume(lab, scratch))
    container.type(b"do mkdir /m; mount -t 9p -o trans=xen,version=9p2000.L mounts /m; cd /m/0\n")
    container.until(b"done 0\r\n")
    for command, status in (
        (b"echo x > file; chown 0:0 file; chmod 755 file", b"0"),
        (b"chmod 4755 file", b"1"),
        (b"mknod disk b 254 0", b"1"),
        (b"mknod fifo p", b"0"),
    ):
        container.seen = b""
        container.type(b"do " + command + b"\n")
        container.until(b"done " + status + b"\r\n")
    container.type(b"off\n")
    assert container.end() == 0
    found = lab.run(["sh", "-c", f"cd {scratch}/volume; stat -c '%n %a' *"], check=True).stdout
    assert found == b"fifo 644\nfile 755\n"


def test_an_end_that_is_no_power_off(lab: Lab, root: str) -> None:
    container = Container(lab, root, "--read-only")
    container.until(b"Read-only file system")
    container.type(b"again\n")
    assert container.end() == 255
    assert b"did not power off, it ended otherwise (reboot)" in container.errors


def test_signals(lab: Lab, root: str) -> None:
    container = Container(lab, root)
    container.kill("SIGCONT")
    container.type(b"hello\n")
    container.until(b"got hello\r\n")
    container.kill("SIGTERM")
    assert container.end() == 0, container.seen[-300:]
    assert b"stopping\r\n" in container.seen

    container = Container(lab, root)
    container.kill("SIGKILL")
    assert container.end() == 137


def test_a_terminal(lab: Lab, root: str) -> None:
    container = Container(lab, root, tty=True)
    container.type(b"hello\r")
    container.until(b"got hello\r\n")
    assert b"hello\r\ngot hello" in container.seen, "the guest's console echoes"
    container.type(b"off\r")
    assert container.end() == 0
