"""Roots that travel as disks and in memory, through containerd's ctr: in the lab and in the double alike."""

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from containers import IMAGE, LIMIT_S, RUNX, Host, new_id, sh

DISK = ("--annotation", "org.runx.root.carrier=disk")
RAM = ("--annotation", "org.runx.root.carrier=ram")
made = pytest.mark.parametrize("carrier", [pytest.param(DISK, id="disk"), pytest.param(RAM, id="ram")])
"""A test of both carriers for which images are made."""
NOT_IN_TMPFS = ["user-attributes", "O_TMPFILE", "O_DIRECT"]
"""Checks of behaviour.c that fail in an overlay on a tmpfs before Linux 6.6."""
_START = 'ctr task start "$1"; status=$?; ctr task delete "$1" > /dev/null 2>&1; exit $status'
_CHANGE = (
    'top=$(mktemp -d) && eval "$(ctr snapshot mounts "$top" "$1")" && cd "$top" && eval "$2"; cd /; umount "$top"; rmdir "$top"'
)


class Kept:
    """A container that is started again and again, as `docker start` does it."""

    def __init__(self, host: Host, script: str, *options: str) -> None:
        self.host = host
        self.id = new_id()
        self.run = ["ctr", "run", "--runc-binary", RUNX, *options, IMAGE, self.id, "/bin/sh", "-c", script]
        self.exists = False

    def start(self) -> "subprocess.CompletedProcess[bytes]":
        if not self.exists:
            self.exists = True
            return self.host.run(self.run, timeout=LIMIT_S)
        return self.host.run(["sh", "-c", _START, "sh", self.id], timeout=LIMIT_S)

    def change(self, script: str) -> None:
        """What `docker cp` and others do to a container that does not run: in the directory of its root, by way of overlayfs."""
        self.host.run(["sh", "-ec", _CHANGE, "sh", self.id, script], check=True, timeout=LIMIT_S)

    def layers(self) -> list[str]:
        """All layers of changes in containerd's store."""
        upper = self.host.run(["ctr", "snapshot", "mounts", "/mnt", self.id]).stdout.decode()
        snapshots = upper.partition("upperdir=")[2].partition(",")[0].rpartition("/snapshots/")[0] if upper else self.snapshots
        self.snapshots = snapshots
        found = self.host.run(["find", f"{snapshots}/snapshots", "-name", "runx-layer*"], check=True)
        return found.stdout.decode().split()

    def remove(self) -> None:
        self.host.run(["ctr", "container", "delete", self.id], timeout=LIMIT_S)


_KEPT = "cat /kept /added 2>&1; ls -A /home /var /usr; echo kept >> /kept; exit 7"


@pytest.fixture
def kept(host: Host) -> Iterator[Kept]:
    container = Kept(host, _KEPT, *DISK)
    yield container
    container.remove()


@pytest.fixture
def in_memory(host: Host) -> Iterator[Kept]:
    container = Kept(host, _KEPT, *RAM)
    yield container
    container.remove()


@made
def test_a_root_that_is_made_is_a_file_system(host: Host, carrier: tuple[str, ...]) -> None:
    script = "grep ' / ' /proc/mounts; mkfifo /fifo; mknod /null c 1 3; ls -l /fifo /null; grep -c 9p /proc/mounts; exit 3"
    result = sh(host, script, options=carrier)
    assert result.returncode == 3, result.stderr
    lines = result.stdout.decode().splitlines()
    assert lines[0].startswith("overlay / overlay rw"), lines
    assert lines[1].startswith("prw"), lines
    assert lines[2].startswith("crw"), lines
    assert lines[3] == "0", "nothing is shared with the host"


def test_what_was_written_is_there_at_the_next_start(kept: Kept) -> None:
    first, second, third = kept.start(), kept.start(), kept.start()
    assert first.returncode == second.returncode == 7, first.stderr + second.stderr
    assert first.stdout.startswith(b"cat: can't open '/kept'"), first.stdout
    assert second.stdout.startswith(b"kept\ncat: "), second.stdout
    assert third.stdout.startswith(b"kept\nkept\ncat: "), third.stdout
    (layer,) = kept.layers()
    kept.remove()
    limit = time.monotonic() + LIMIT_S
    while layer in kept.layers():  # it goes with the container, as all that containerd keeps of it
        assert time.monotonic() < limit
        time.sleep(0.1)


def test_what_the_engine_changes_is_seen(kept: Kept) -> None:
    assert kept.start().returncode == 7
    kept.change("echo one > added; rm -r home/user; rm -r var; mkdir var; touch var/new; mkdir usr/more")
    first = kept.start().stdout.decode().split()
    assert first[first.index("one") :] == ["one", "/home:", "/usr:", "bin", "more", "/var:", "new"]
    kept.change("echo two > added")
    assert b"\ntwo\n" in kept.start().stdout, "also between two starts"


def test_what_is_written_in_memory_is_gone_at_the_next_start(in_memory: Kept) -> None:
    for _ in range(2):
        result = in_memory.start()
        assert (result.returncode, result.stdout.partition(b"\n")[0]) == (
            7,
            b"cat: can't open '/kept': No such file or directory",
        )


def test_what_the_engine_changes_is_in_memory_too(in_memory: Kept) -> None:
    assert in_memory.start().returncode == 7
    in_memory.change("echo one > added; rm -r home/user; rm -r var; mkdir var; touch var/new; mkdir usr/more")
    first = in_memory.start().stdout.decode().split()
    assert first[first.index("one") :] == ["one", "/home:", "/usr:", "bin", "more", "/var:", "new"]
    in_memory.change("echo two > added")
    assert b"\ntwo\n" in in_memory.start().stdout, "also between two starts"


@pytest.fixture
def behave(host: Host, scratch: str, tmp_path: Path) -> list[str]:
    """Options of `ctr run` by which a container has the program of behaviour.c as /mnt/behave."""
    source = Path(__file__).with_name("behaviour.c")
    flags = ["-O2", "-std=gnu11", "-Wall", "-Wextra", "-Werror", "-static"]
    subprocess.run(["gcc", *flags, "-o", tmp_path / "behave", source], check=True)
    host.put(tmp_path / "behave", f"{scratch}/behave")
    return ["--mount", f"type=bind,src={scratch},dst=/mnt,options=rbind:ro"]


def test_a_root_by_disk_behaves_as_under_runc(host: Host, behave: list[str]) -> None:
    result = sh(host, "/mnt/behave /test", options=[*DISK, *behave])
    assert result.returncode == 0, result.stderr
    lines = result.stdout.decode().splitlines()
    assert len(lines) == 17, result.stderr
    assert [line for line in lines if not line.endswith(" ok")] == []


def test_how_a_root_in_memory_behaves(host: Host, behave: list[str]) -> None:
    result = sh(host, "/mnt/behave /test && uname -r", options=[*RAM, *behave])
    assert result.returncode == 0, result.stderr
    *lines, release = result.stdout.decode().splitlines()
    major, minor = map(int, release.split(".")[:2])
    assert len(lines) == 17, result.stderr
    failed = [line.partition(":")[0] for line in lines if not line.endswith(" ok")]
    assert failed == ([] if (major, minor) >= (6, 6) else NOT_IN_TMPFS), lines


@made
def test_a_read_only_root_has_no_layer(host: Host, carrier: tuple[str, ...]) -> None:
    result = sh(host, "touch /x; grep -c ' ext4 ' /proc/mounts; cat /etc/motd", options=[*carrier, "--read-only"])
    assert b"Read-only file system" in result.stderr
    assert result.stdout == b"0\nrunx test image\n"
