"""Roots that travel as disks and in memory, in virtual machines: all that tests/shared has, and what only dom0 shows."""

import subprocess
import time
from pathlib import Path

from root_tests import *  # noqa: F403
from root_tests import DISK, compiled, killed_and_started
from runxtools.lab.lab import Lab
from runxtools.testing.containers import IMAGE, LIMIT_S, RUNX, new_id, sh

NOT_OVER_9P = {
    "O_TMPFILE": "",
    "fallocate": "",
    "flock-fcntl": "Resource temporarily unavailable",
    "rename-flags": "",
    "owner-mode-times": "",
}
"""Checks of behaviour.c that fail over 9p, and how where docs/roots.md says it."""


def test_what_9p_does_not(lab: Lab, behave: list[str]) -> None:
    """This and no more. Ten thousand files would take minutes there."""
    options = ["--annotation", "org.runx.root.carrier=9p", *behave]
    result = sh(lab, "grep -c ' / 9p ' /proc/mounts; /mnt/behave /test 300", options=options)
    assert result.returncode == 0, result.stderr
    first, *lines = result.stdout.decode().splitlines()
    assert (first, len(lines)) == ("1", 17), result.stderr
    failed = {line.partition(":")[0]: line for line in lines if not line.endswith(" ok")}
    assert sorted(failed) == sorted(NOT_OVER_9P), lines
    assert all(failed[name].endswith(why) for name, why in NOT_OVER_9P.items()), lines


LOCKED = """
import fcntl, sys
file = open(sys.argv[1], "r+")
try:
    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
except BlockingIOError:
    sys.exit(5)
"""
"""A process of dom0 that tries to lock a file: status 5 if another one has it."""


def test_locks_hold_between_containers_and_against_the_host(lab: Lab, scratch: str, tmp_path: Path) -> None:
    lab.run(["sh", "-c", f"mkdir {scratch}/volume; touch {scratch}/volume/file"], check=True)
    lab.run(["sh", "-c", "cat > $0/locked.py", scratch], stdin=LOCKED.encode(), check=True)
    lab.put(compiled("lockfile", tmp_path), f"{scratch}/volume/lockfile")
    options = ["--mount", f"type=bind,src={scratch}/volume,dst=/data,options=rbind:rw"]
    hold = "/data/lockfile hold /data/file /data/end"
    command = ["ctr", "run", "--rm", "--runc-binary", RUNX, *options, IMAGE, new_id(), "/bin/sh", "-c", hold]
    holder = lab.popen(command, stdout=subprocess.PIPE)
    try:
        assert holder.stdout
        assert holder.stdout.readline() == b"locked\n"
        assert lab.run(["python3", f"{scratch}/locked.py", f"{scratch}/volume/file"]).returncode == 5
        other = sh(lab, f"/data/lockfile try /data/file; echo $?; touch /data/end; {hold}", options=options)
        assert other.stdout == b"1\nlocked\n", other.stderr
    finally:
        lab.run(["touch", f"{scratch}/volume/end"], check=True)
        assert holder.wait(LIMIT_S) == 0
    assert lab.run(["python3", f"{scratch}/locked.py", f"{scratch}/volume/file"]).returncode == 0


def test_what_was_synced_is_there_after_a_kill(lab: Lab) -> None:
    """In place of the one of tests/shared: the guest's kernel replays the journal of a file system that nobody has unmounted."""
    result = killed_and_started(lab)
    assert result.returncode == 7, result.stderr
    lines = result.stdout.decode().splitlines()
    assert lines[:1] == ["synced"], lines
    assert int(lines[1]) in (300, 301)
    assert "recovery complete" in lines[2], lines


def test_no_qemu_and_no_loop_device_is_left(lab: Lab) -> None:
    container = new_id()
    words = ["ctr", "run", "--detach", "--runc-binary", "/usr/local/bin/runx", *DISK, IMAGE, container, "sleep", "1000"]
    before = lab.run(["losetup", "-a"]).stdout
    try:
        lab.run(words, check=True, timeout=LIMIT_S)
        domains = lab.run(["xl", "list"], check=True).stdout.decode()
        assert container in domains
        assert not lab.run(["sh", "-c", f"pgrep -a qemu | grep {container}"]).stdout
        assert lab.run(["losetup", "-a"]).stdout.count(b"\n") == before.count(b"\n") + 2
    finally:
        lab.run(["ctr", "task", "kill", "-s", "KILL", container], timeout=LIMIT_S)
        lab.run(
            ["sh", "-c", f"until ctr task delete {container}; do sleep 1; done; ctr container delete {container}"],
            timeout=LIMIT_S,
        )
    limit = time.monotonic() + LIMIT_S
    while lab.run(["losetup", "-a"]).stdout != before:
        assert time.monotonic() < limit
