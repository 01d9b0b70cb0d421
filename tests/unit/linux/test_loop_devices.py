"""Loop devices, made for real where the machine has them."""

import os
import subprocess
import time
from pathlib import Path

import pytest

from runx.errors import RunxError
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
