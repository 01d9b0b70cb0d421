"""Loop devices, made for real where the machine has them."""

import errno
import os
import subprocess
import time
from pathlib import Path

import pytest

from runx import paths
from runx.errors import RunxError
from runx.exec.storage import loop_marks
from runx.linux import loop

needs_loop = pytest.mark.skipif(
    bool(os.geteuid()) or not os.path.exists("/dev/loop-control"), reason="needs root and loop devices"
)


def test_the_structure_is_the_kernels(tmp_path: Path) -> None:
    (tmp_path / "size.c").write_text(
        "#include <linux/loop.h>\n#include <stdio.h>\n#include <stddef.h>\n"
        "int main() { struct loop_config c = { .fd = 0x01020304, .info.lo_flags = 0x05060708 };\n"
        "fwrite(&c, sizeof c, 1, stdout); return 0; }\n"
    )
    subprocess.run(["gcc", "-o", tmp_path / "size", tmp_path / "size.c"], check=True)
    printed = subprocess.run([tmp_path / "size"], capture_output=True, check=True).stdout
    assert printed == loop._CONFIG.pack(0x01020304, 0x05060708)


@needs_loop
@pytest.mark.parametrize("read_only", [True, False])
def test_a_device_lives_as_long_as_it_is_open(tmp_path: Path, read_only: bool) -> None:
    (tmp_path / "disk").write_bytes(b"content".ljust(4096, b"\0"))
    file = os.open(tmp_path / "disk", os.O_RDONLY if read_only else os.O_RDWR)
    device, path = loop.attach(file, read_only)
    os.close(file)
    block = Path("/sys/block") / os.path.basename(path)
    assert os.pread(device, 7, 0) == b"content"
    assert (block / "ro").read_text() == f"{int(read_only)}\n"
    assert (block / "loop/backing_file").read_text() == f"{tmp_path}/disk\n"
    if not read_only:
        os.pwrite(device, b"changed", 0)
        os.fsync(device)
        assert (tmp_path / "disk").read_bytes()[:7] == b"changed"
    os.close(device)
    limit = time.monotonic() + 60
    while (block / "loop/backing_file").exists():
        assert time.monotonic() < limit
        time.sleep(0.01)


@needs_loop
def test_no_device_can_be_made(tmp_path: Path) -> None:
    directory = os.open(tmp_path, os.O_RDONLY)
    with pytest.raises(RunxError, match="no loop device could be made: invalid argument"):
        loop.attach(directory, True)
    os.close(directory)


@needs_loop
def test_nobody_else_can_keep_a_device(tmp_path: Path) -> None:
    """A mount, RAID and logical volumes claim a device as O_EXCL does. Xen's backend opens it without."""
    subprocess.run(["truncate", "-s", "8M", tmp_path / "disk"], check=True)
    subprocess.run(["mkfs.ext4", "-q", "-F", tmp_path / "disk"], check=True)
    file = os.open(tmp_path / "disk", os.O_RDWR)
    device, path = loop.attach(file, read_only=False)
    try:
        (tmp_path / "at").mkdir()
        mounted = subprocess.run(["mount", path, tmp_path / "at"], check=False, capture_output=True)
        assert mounted.returncode, "mounted"
        os.close(os.open(path, os.O_RDWR))
    finally:
        os.close(device)
        os.close(file)


@pytest.fixture
def marks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(paths, "LOOPS", str(tmp_path / "marks"))
    return tmp_path / "marks"


@needs_loop
def test_a_device_is_marked_before_it_has_its_file(tmp_path: Path, marks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "disk").write_bytes(bytes(4096))
    configured, seen = loop._configured, []

    def look(path: str, flags: int, config: bytes) -> int:
        seen.append((os.path.basename(path), os.readlink(marks / os.path.basename(path))))
        return configured(path, flags, config)

    monkeypatch.setattr(loop, "_configured", look)
    file = os.open(tmp_path / "disk", os.O_RDONLY)
    device, path = loop_marks.attach(str(tmp_path), file, read_only=True)
    os.close(file)
    assert seen[-1] == (os.path.basename(path), str(tmp_path))
    assert os.listdir(marks) == [os.path.basename(path)]
    (marks / "loop9999").symlink_to("/another")
    os.close(device)
    loop_marks.release(str(tmp_path))
    assert os.listdir(marks) == ["loop9999"]


@needs_loop
def test_no_mark_stays_of_a_device_that_was_not_made(tmp_path: Path, marks: Path) -> None:
    directory = os.open(tmp_path, os.O_RDONLY)
    with pytest.raises(RunxError, match="no loop device could be made: invalid argument"):
        loop_marks.attach(str(tmp_path), directory, read_only=True)
    os.close(directory)
    assert os.listdir(marks) == []


@needs_loop
def test_a_device_that_another_process_takes_first(tmp_path: Path, marks: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "disk").write_bytes(bytes(4096))
    configured, others = loop._configured, []

    def taken_first(path: str, flags: int, config: bytes) -> int:
        if not others:
            others.append(configured(path, flags, config))
            raise OSError(errno.EBUSY, "busy")
        return configured(path, flags, config)

    monkeypatch.setattr(loop, "_configured", taken_first)
    file = os.open(tmp_path / "disk", os.O_RDWR)
    device, path = loop_marks.attach(str(tmp_path), file, read_only=False)
    assert os.listdir(marks) == [os.path.basename(path)]
    for fd in (file, device, *others):
        os.close(fd)
