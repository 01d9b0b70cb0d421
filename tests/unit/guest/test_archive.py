"""The guest's reader of archives of cpio, by which a container comes to the machine of its pod."""

import os
import subprocess
from pathlib import Path
from random import Random

import pytest

from guestbox import CHECKOUT, INIT_SOURCES
from runx.cpio import OverlayFile, archive, links

SOURCES = ("child/archive.c", "common/records.c", "common/error_text.c")


@pytest.fixture(scope="module")
def reader(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With the compiler's checks of memory."""
    program = tmp_path_factory.mktemp("archive") / "archive"
    flags = ["-std=gnu11", "-D_GNU_SOURCE", "-g", "-Wall", "-Wextra", "-Werror", "-fsanitize=address,undefined"]
    sources = [CHECKOUT / "tests/support/archive.c", *(INIT_SOURCES / name for name in SOURCES)]
    subprocess.run(["gcc", *flags, "-fno-sanitize-recover", "-I", INIT_SOURCES, "-o", program, *sources], check=True)
    return program


def read(reader: Path, data: bytes, *words: str) -> tuple[int, bytes]:
    environment = {**os.environ, "ASAN_OPTIONS": "detect_leaks=0"}
    done = subprocess.run([reader, *words], input=data, capture_output=True, env=environment, check=False)
    assert not done.stderr, done.stderr
    return done.returncode, done.stdout


FILES = archive([OverlayFile("runx/setup", 0o600, b"one\0two"), OverlayFile("runx/files/0", 0o644, b"x" * 5, 7, 8)])
LINKS = links([("runx/disks/0", "/dev/xvdb"), ("runx/shares/root", "/shares/pod/d3")])


def test_what_the_host_writes(reader: Path) -> None:
    status, said = read(reader, LINKS + FILES)
    assert status == 0
    assert said.splitlines() == [
        b"runx 40755 0:0 ",
        b"runx/disks 40755 0:0 ",
        b"runx/disks/0 120777 0:0 /dev/xvdb",
        b"runx/shares 40755 0:0 ",
        b"runx/shares/root 120777 0:0 /shares/pod/d3",
        b"runx 40755 0:0 ",
        b"runx/setup 100600 0:0 one\0two",
        b"runx/files 40755 0:0 ",
        b"runx/files/0 100644 7:8 xxxxx",
    ]


def test_the_last_of_several_files_counts(reader: Path) -> None:
    newer = archive([OverlayFile("runx/files/0", 0o600, b"newer")])
    assert read(reader, FILES + newer, "runx/files/0") == (0, b"newer")
    assert read(reader, FILES, "runx/process") == (3, b"")


@pytest.mark.parametrize("size", range(1, len(FILES) - 400, 7))
def test_one_that_ends_early(reader: Path, size: int) -> None:
    status, said = read(reader, FILES[:size])
    assert status == 2 or said  # it may end between two entries
    assert status in (0, 2)


def test_damage(reader: Path) -> None:
    """Whatever the bytes are, none is read beyond them."""
    random = Random(20)
    for _ in range(300):
        data = bytearray(FILES)
        for _ in range(random.randint(1, 6)):
            data[random.randrange(len(data))] = random.choice((0, 0x30, 0x46, 0xFF, random.randrange(256)))
        assert read(reader, bytes(data))[0] in (0, 2)
