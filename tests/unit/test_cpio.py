"""The overlay's archive, read back by a reader written from the format's description, and by cpio(1)."""

import io
import shutil
import stat
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from runx.cpio import BLOCK, TRAILER, OverlayFile, archive
from runx.errors import RunxError

NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0/"), min_size=1, max_size=12).filter(
    lambda name: name not in (".", "..", TRAILER)
)
FILES = st.dictionaries(
    st.lists(NAMES, min_size=2, max_size=4).map("/".join), st.tuples(st.integers(0, 0o7777), st.binary(max_size=2000)), max_size=5
)


def read(data: bytes) -> list[tuple[str, int, bytes, int]]:
    """Name, mode, content and inode of each entry up to the trailer."""
    stream = io.BytesIO(data)
    entries = []
    while True:
        header = stream.read(110)
        assert header[:6] == b"070701"
        fields = [int(header[6 + 8 * index : 14 + 8 * index], 16) for index in range(13)]
        name = stream.read(fields[11])
        assert name[-1:] == b"\0"
        stream.seek(-stream.tell() % 4, io.SEEK_CUR)
        content = stream.read(fields[6])
        stream.seek(-stream.tell() % 4, io.SEEK_CUR)
        if name == b"TRAILER!!!\0":
            assert not stream.read().strip(b"\0")
            return entries
        entries.append((name[:-1].decode(), fields[1], content, fields[0]))


@given(FILES)
def test_round_trip(files: dict[str, tuple[int, bytes]]) -> None:
    # A path cannot be a file and a directory above another.
    paths = [path for path in files if not any(other.startswith(path + "/") for other in files)]
    data = archive([OverlayFile(path, *files[path]) for path in paths])
    entries = read(data)
    assert len(data) % BLOCK == 0
    regular = {name: (stat.S_IMODE(mode), content) for name, mode, content, _ in entries if stat.S_ISREG(mode)}
    assert regular == {path: files[path] for path in paths}
    assert len({inode for *_, inode in entries}) == len(entries)
    seen: set[str] = set()
    for name, mode, _, _ in entries:
        assert "/" not in name or name.rpartition("/")[0] in seen
        if stat.S_ISDIR(mode):
            seen.add(name)


def test_the_same_files_give_the_same_bytes() -> None:
    files = [OverlayFile("runx/setup", 0o700, b"x"), OverlayFile("runx/process", 0o600, b"")]
    assert archive(files) == archive(files)


def test_the_name_that_ends_an_archive_ends_no_archive() -> None:
    with pytest.raises(RunxError, match="TRAILER"):
        archive([OverlayFile("TRAILER!!!/x", 0o600, b"")])


@pytest.mark.skipif(not shutil.which("cpio"), reason="cpio is not installed")
def test_cpio_unpacks_it(tmp_path: Path) -> None:
    data = archive([OverlayFile("runx/setup", 0o700, b"#!/bin/sh\n"), OverlayFile("runx/process", 0o600, b"a\0b\0")])
    subprocess.run(["cpio", "-idm", "--quiet"], cwd=tmp_path, input=data, check=True)
    assert (tmp_path / "runx/setup").read_bytes() == b"#!/bin/sh\n"
    assert (tmp_path / "runx/process").read_bytes() == b"a\0b\0"
    assert stat.S_IMODE((tmp_path / "runx/setup").stat().st_mode) == 0o700
    assert stat.S_IMODE((tmp_path / "runx").stat().st_mode) == 0o755
