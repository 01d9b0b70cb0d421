"""Standard output in quantity, with readers that stop and readers that go, through the real ring, link and PID 1."""

import contextlib
import hashlib
import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from runxtools.double.host import Double
from runxtools.testing.bundles import LIMIT_S, Bundle

BLOCK_SIZE = 8 << 20
BLOCKS = 128
STOP_AFTER = 3 * BLOCK_SIZE + 12345
"""Bytes; the reader stops here for a while."""
MEMORY_LIMIT_KIB = 20 * 1024


@pytest.fixture
def bundle(double: Double, tmp_path: Path) -> Iterator[Bundle]:
    bundle = Bundle(double, tmp_path)
    yield bundle
    bundle.runx("delete", "--force", "c")


@contextlib.contextmanager
def start(bundle: Bundle, script: str) -> "Iterator[subprocess.Popen[bytes]]":
    bundle.write("/bin/sh", "-c", script)
    pipe = subprocess.PIPE
    with bundle.host.popen(bundle.argv("run", "c"), stdin=pipe, stdout=pipe, stderr=pipe) as process:
        try:
            yield process
        finally:
            process.kill()  # a test that has failed reads no more


def supervisor_kib(bundle: Bundle) -> int:
    """The most memory that the supervisor ever had (proc(5), VmHWM)."""
    pid = json.loads(bundle.runx("state", "c").stdout)["pid"]
    status = bundle.host.run(["cat", f"/proc/{pid}/status"], check=True).stdout.decode().splitlines()
    return next(int(line.split()[1]) for line in status if line.startswith("VmHWM:"))


def written(bundle: Bundle) -> bytes:
    """How much the guest's `cat` has written so far (proc(5), wchar); empty between two of them."""
    script = "for p in /proc/[0-9]*; do read name < $p/comm && [ $name = cat ] && grep wchar $p/io; done 2> /dev/null"
    return bundle.host.run(["sh", "-c", script]).stdout


def await_stall(bundle: Bundle) -> None:
    """Until the writer in the guest gets no further."""
    limit = time.monotonic() + LIMIT_S
    before, now = b"", written(bundle)
    while before != now or not now:
        assert time.monotonic() < limit, now
        time.sleep(0.5)
        before, now = now, written(bundle)


def test_a_gibibyte_for_a_reader_that_stops_for_a_while(bundle: Bundle) -> None:
    block = os.urandom(BLOCK_SIZE)
    (bundle.directory / "rootfs/block").write_bytes(block)
    script = f"for i in $(seq {BLOCKS}); do /bin/cat /block; done; read line; echo end; exit 5"
    with start(bundle, script) as process:
        assert process.stdout is not None and process.stdin is not None
        got, seen = hashlib.sha256(), 0
        while seen < BLOCKS * BLOCK_SIZE:
            data = process.stdout.read(65536)
            assert data, seen
            got.update(data)
            before, seen = seen, seen + len(data)
            if before < STOP_AFTER <= seen:
                await_stall(bundle)
                assert supervisor_kib(bundle) < MEMORY_LIMIT_KIB
        expected = hashlib.sha256()
        for _ in range(BLOCKS):
            expected.update(block)
        assert got.digest() == expected.digest()
        assert supervisor_kib(bundle) < MEMORY_LIMIT_KIB
        process.stdin.write(b"\n")
        assert process.stdout.read() == b"end\n"
        assert process.wait(LIMIT_S) == 5


@pytest.mark.parametrize(
    ("script", "said"),
    [
        ("yes; echo $? >&2", b"141\n"),  # 128 and SIGPIPE
        ("trap '' PIPE; yes 2>&1 >&3 3>&- | cat >&2", b"Broken pipe\n"),  # EPIPE
    ],
)
def test_a_reader_that_goes_is_a_broken_pipe(bundle: Bundle, script: str, said: bytes) -> None:
    with start(bundle, f"echo ready; exec 3>&1; {script}; exit 6") as process:
        assert process.stdout is not None and process.stderr is not None
        assert process.stdout.read(6) == b"ready\n"
        process.stdout.close()
        assert process.stderr.read().endswith(said)
        assert process.wait(LIMIT_S) == 6
