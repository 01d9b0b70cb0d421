"""The room layer/ and what takes its records: what a guest has written comes into the root filesystem on the host, and nothing is
lost on the way.

Two overlays of this machine play the host's and the guest's: the guest's has the host's layers below its own.
"""

import os
import shutil
import socket
import stat
import subprocess
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest

import guestbox as gb
from runx.exec.ninep import changes, layer
from runx.linux import mount

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="mounts need root")

STEPS = "rename unlink rmdir mkdir mknod symlink link fchown chown fchmod chmod utime setxattr removexattr ftruncate pwrite"
"""What changes something on the host; files are made by `open`."""
INTERRUPTED = 7
PIECE = 61440
"""Bytes that a guest sends at once."""
PARTS = ("upper", "work")
"""Of the host's directory of changes, and of the guest's."""
CAPABILITY = bytes.fromhex("0100000200040000000000000000000000000000")
"""struct vfs_cap_data, version 2: cap_net_bind_service, effective."""
ACL = bytes.fromhex("02000000 0100 0600 ffffffff 0200 0500 e8030000 0400 0400 ffffffff 1000 0700 ffffffff 2000 0000 ffffffff")
"""user::rw-, user:1000:r-x, group::r--, mask::rwx, other::--- (linux/posix_acl_xattr.h)"""


@pytest.fixture(scope="session")
def writer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    program = tmp_path_factory.mktemp("layer") / "layer"
    flags = ["-static", "-Os", "-std=gnu11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror", "-I", str(gb.INIT_SOURCES)]
    rooms = [path for path in sorted(gb.INIT_SOURCES.rglob("*.c")) if path.parent.name in ("layer", "common")]
    source = Path(gb.__file__).with_name("layer.c")
    subprocess.run(["musl-gcc", *flags, "-o", program, source, *rooms], check=True)
    return program


class Machine:
    """The host's overlay at `root`, and the guest's at `view`; both can be mounted again."""

    def __init__(self, top: Path, writer: Path) -> None:
        self.writer = writer
        self.lower, self.host, self.guest = top / "lower", top / "host", top / "guest"
        self.root, self.view = top / "root", top / "view"
        for path in (self.lower, self.root, self.view, *(one / name for one in (self.host, self.guest) for name in PARTS)):
            path.mkdir(parents=True)

    def mount_host(self) -> None:
        words = f"lowerdir={self.lower},upperdir={self.host}/upper,workdir={self.host}/work"
        mount.mount("overlay", str(self.root), 0, "overlay", words)

    def mount_guest(self) -> None:
        """The guest's kernel has none of overlayfs's features on, but those that this machine has as defaults."""
        lower = f"lowerdir={self.host}/upper:{self.lower},upperdir={self.guest}/upper,workdir={self.guest}/work"
        mount.mount("overlay", str(self.view), 0, "overlay", f"{lower},redirect_dir=off,metacopy=off,index=off")

    def sent(self) -> bytes:
        """What the guest sends."""
        done = subprocess.run([self.writer, f"{self.guest}/upper"], capture_output=True)
        assert (done.returncode, done.stderr) == (0, b"")
        return done.stdout

    def write(self, steps: int = -1, sent: bytes = b"") -> tuple[int, str]:
        """Bring the guest's changes into the host's overlay: exit status and what is said of it."""
        self.mount_host()
        status, words = take(self.root, sent or self.sent(), steps)
        mount.unmount(str(self.root))
        return status, words

    def seen(self, path: Path, mounted: Callable[[], None]) -> dict[str, object]:
        mounted()
        found = snapshot(path)
        mount.unmount(str(path))
        return found


def take(root: Path, sent: bytes, steps: int = -1, room: int = 1 << 30) -> tuple[int, str]:
    """Have a process write into a root filesystem what a guest has sent, as the server of the share does: its exit status, and
    what it says of it. steps: it is killed before the step of this number."""
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            os.umask(0)
            taken = changes.Changes(layer.Root(os.open(root, os.O_PATH)))
            taken.allow(room)
            os.chdir("/proc/self/fd")
            if steps >= 0:
                die_before(steps)
            try:
                for at in range(0, len(sent), PIECE):
                    taken.write(at, memoryview(sent)[at : at + PIECE])
            except OSError:
                pass
            os.write(theirs, taken.settled().encode())
            os._exit(0)
        finally:
            traceback.print_exc()
            os._exit(1)
    os.close(theirs)
    with open(ours, "rb") as pipe:
        words = pipe.read().decode()
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), words


def die_before(steps: int) -> None:
    left = steps

    def counting(call: Callable[..., object]) -> Callable[..., object]:
        def counted(*args: object, **named: object) -> object:
            nonlocal left
            if call is not opened or args[1] & os.O_CREAT:  # type: ignore[operator]
                if not left:
                    os._exit(INTERRUPTED)
                left -= 1
            return call(*args, **named)

        return counted

    opened = os.open
    for name in ("open", *STEPS.split()):
        setattr(os, name, counting(getattr(os, name)))


def snapshot(top: Path) -> dict[str, object]:
    """All that a program may see of a tree, but for numbers of inodes and times of access."""
    found: dict[str, object] = {}
    groups: dict[int, str] = {}
    for path in [top, *sorted(top.rglob("*"))]:
        status = path.lstat()
        name = str(path.relative_to(top))
        kind = stat.S_IFMT(status.st_mode)
        content: object = path.read_bytes() if kind == stat.S_IFREG else os.readlink(path) if kind == stat.S_IFLNK else b""
        if status.st_nlink > 1 and kind != stat.S_IFDIR:
            content = content, groups.setdefault(status.st_ino, name)
        attributes = {key: os.getxattr(path, key, follow_symlinks=False) for key in os.listxattr(path, follow_symlinks=False)}
        facts = (oct(status.st_mode), status.st_uid, status.st_gid, status.st_mtime_ns, status.st_rdev)
        found[name] = (*facts, content, {key: value for key, value in attributes.items() if not key.startswith("trusted.")})
    return found


def in_namespace(top: Path, work: Callable[[], None]) -> None:
    """Do it in a mount namespace of its own, with a file system in memory at `top`."""
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        words = ""
        try:
            mount.private_mounts()
            mount.mount("tmpfs", str(top), 0, "tmpfs", "mode=755")
            os.umask(0o022)
            work()
        except BaseException:
            words = traceback.format_exc()
        os.write(theirs, words.encode()[:60000] or b"ok")
        os._exit(0)
    os.close(theirs)
    with open(ours, "rb") as pipe:
        words = pipe.read().decode()
    os.waitpid(pid, 0)
    assert words == "ok", words


def image(lower: Path) -> None:
    """What is in the layers of the image."""
    (lower / "etc/deep/er").mkdir(parents=True)
    for name in ("changed", "removed", "kept", "becomes-directory", "owned", "renamed", "linked", "etc/deep/er/file"):
        (lower / name).write_text(f"{name} of the image\n")
    os.link(lower / "linked", lower / "linked-too")
    for name in ("tree", "hidden", "becomes-file", "again"):
        (lower / name / "below").mkdir(parents=True)
        (lower / name / "below/file").write_text("of the image\n")
        (lower / name / "other").symlink_to("below/file")


def container(root: Path) -> None:
    """What the processes of a container do."""
    (root / "changed").write_text("changed\n")
    (root / "removed").unlink()
    (root / "becomes-directory").unlink()
    (root / "becomes-directory").mkdir(0o750)
    (root / "becomes-directory/file").write_text("new\n")
    shutil.rmtree(root / "tree")
    shutil.rmtree(root / "hidden")
    (root / "hidden").mkdir(0o1777)
    (root / "hidden/new").write_text("the only one\n")
    shutil.rmtree(root / "becomes-file")
    (root / "becomes-file").write_text("a file\n")
    os.rename(root / "renamed", root / "etc/deep/renamed")
    os.chown(root / "owned", 1000, 2000)
    os.chmod(root / "owned", 0o6755)
    os.chmod(root / "etc/deep", 0o711)
    (root / "etc/deep/er/file").unlink()
    (root / "linked").write_text("one of two names\n")
    new = root / "new"
    (new / "a/b").mkdir(parents=True)
    (new / "one").write_text("several names\n")
    os.link(new / "one", new / "a/two")
    os.link(new / "one", root / "three")
    os.symlink("../\udcffnowhere", new / "link")
    os.lchown(new / "link", 3, 4)
    os.mkfifo(new / "fifo", 0o622)
    os.mknod(new / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    os.mknod(new / "disk", stat.S_IFBLK | 0o640, os.makedev(202, 17))
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(new / "socket"))
    (new / ("n" * 255)).write_bytes(b"")
    with open(new / "sparse", "wb") as file:
        file.write(b"begin")
        file.seek(40 << 20)
        file.write(b"end")
        file.truncate(41 << 20)
    (new / "capable").write_bytes(b"program")
    os.setxattr(new / "capable", "security.capability", CAPABILITY)
    (new / "listed").write_bytes(b"")
    os.chmod(new / "listed", 0o674)
    os.setxattr(new / "listed", "system.posix_acl_access", ACL)
    os.setxattr(new, "system.posix_acl_default", ACL)
    for path, ns in ((new / "a", 1234567890123456789), (root / "changed", 987654321), (new / "link", 1000000001)):
        os.utime(path, ns=(ns + 5, ns), follow_symlinks=False)
    os.utime(root, ns=(1, 1500000000123456789))


def test_a_root_becomes_what_the_container_saw(tmp_path: Path, writer: Path) -> None:
    def trial() -> None:
        machine = Machine(tmp_path, writer)
        image(machine.lower)
        machine.mount_host()
        (machine.root / "of-the-host").write_text("put there before the start\n")  # as `docker cp` does
        (machine.root / "changed").write_text("on the host\n")
        mount.unmount(str(machine.root))
        machine.mount_guest()
        container(machine.view)
        (machine.view / "of-the-host").unlink()
        expected = snapshot(machine.view)
        mount.unmount(str(machine.view))
        status, words = machine.write()
        assert (status, len(words.split())) == (0, 2), words
        assert machine.seen(machine.root, machine.mount_host) == expected
        sparse = (machine.host / "upper/new/sparse").stat()
        assert sparse.st_blocks * 512 < 1 << 20, "a hole was written"
        assert not (machine.host / "upper/.runx-layer").exists()
        status, words = machine.write()  # again: nothing else comes of it
        assert (status, len(words.split())) == (0, 2), words
        assert machine.seen(machine.root, machine.mount_host) == expected

    in_namespace(tmp_path, trial)


def test_wherever_it_ends_the_next_start_sees_the_same(tmp_path: Path, writer: Path) -> None:
    """The layer is above what has been brought so far. Before each step that changes something the writer is killed once."""

    def trial() -> None:
        machine = Machine(tmp_path, writer)
        image(machine.lower)
        machine.mount_guest()
        container(machine.view)
        os.unlink(machine.view / "new/sparse")
        expected = snapshot(machine.view)
        mount.unmount(str(machine.view))
        steps, sent = 0, machine.sent()
        while True:
            status, words = machine.write(steps, sent)
            seen = machine.seen(machine.view, machine.mount_guest)
            seen = {name: facts for name, facts in seen.items() if not name.startswith(".runx-layer")}
            assert seen == expected, f"after {steps} steps"
            if status == 0:
                break
            assert status == INTERRUPTED, words
            steps += 1
            if steps % 7:  # each time on top of another state: of an earlier interruption, or none
                for part in PARTS:
                    shutil.rmtree(machine.host / part)
                    (machine.host / part).mkdir()
        assert steps > 100
        assert machine.seen(machine.root, machine.mount_host) == expected

    in_namespace(tmp_path, trial)


def test_a_plain_directory_is_written_to_itself(tmp_path: Path, writer: Path) -> None:
    def trial() -> None:
        machine = Machine(tmp_path, writer)
        image(machine.lower)
        mount.mount(str(machine.lower), str(machine.root), mount.MS_BIND)
        shutil.copytree(machine.lower, machine.host / "upper", symlinks=True, dirs_exist_ok=True)
        shutil.rmtree(machine.lower / "tree")
        shutil.copytree(machine.host / "upper/tree", machine.lower / "tree", symlinks=True)
        machine.mount_guest()
        container(machine.view)
        expected = snapshot(machine.view)
        mount.unmount(str(machine.view))
        status, words = take(machine.root, machine.sent())
        assert (status, len(words.split())) == (0, 2), words
        found = snapshot(machine.root)
        assert set(found) == set(expected)
        assert found["new/a/two"] == expected["new/a/two"]

    in_namespace(tmp_path, trial)


def test_what_goes_wrong_is_told_with_its_place(tmp_path: Path, writer: Path) -> None:
    def trial() -> None:
        machine = Machine(tmp_path, writer)
        image(machine.lower)
        machine.mount_guest()
        (machine.view / "etc/deep/new").write_text("new\n")
        mount.unmount(str(machine.view))
        mount.mount(str(machine.lower), str(machine.root), mount.MS_BIND)
        (machine.root / ".runx-layer").mkdir()
        mount.mount("none", str(machine.root), mount.MS_REMOUNT | mount.MS_BIND | mount.MS_RDONLY)
        assert take(machine.root, machine.sent()) == (0, "0 0 /: making it: read-only file system")
        mount.unmount(str(machine.root))
        # A file system of the host that is full in the middle of a file.
        mount.mount("tmpfs", str(machine.root), 0, "tmpfs", "size=64k")
        (machine.guest / "upper/etc/deep/new").write_bytes(bytes(range(256)) * 1024)
        _, words = take(machine.root, machine.sent())
        assert words.endswith("/etc/deep/new: writing it: no space left on device"), words
        assert not (machine.root / ".runx-layer").exists()
        mount.unmount(str(machine.root))

    in_namespace(tmp_path, trial)
