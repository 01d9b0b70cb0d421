"""Roots that travel as disks and in memory, in virtual machines: all that tests/shared has, and what only dom0 shows."""

import time

import pytest

from root_tests import *  # noqa: F403
from root_tests import DISK, killed_and_started
from runxtools.lab.lab import Lab
from runxtools.testing.containers import IMAGE, LIMIT_S, new_id, sh


@pytest.mark.needs_qemu_9p
def test_a_root_by_disk_behaves_as_under_runc(lab: Lab, behave: list[str]) -> None:
    """In place of the one of tests/shared: overlayfs of Linux 6.1, the guest's and dom0's, has no O_TMPFILE. So runc is asked."""
    script = "/mnt/behave /test 2> /dev/null"
    under_runx = sh(lab, script, options=[*DISK, *behave])
    command = ["ctr", "run", "--rm", *behave, IMAGE, new_id(), "/bin/sh", "-c", script]
    under_runc = lab.run(command, timeout=LIMIT_S)
    assert (under_runx.returncode, under_runc.returncode) == (0, 0), (under_runx.stderr, under_runc.stderr)
    assert under_runx.stdout == under_runc.stdout
    lines = under_runx.stdout.decode().splitlines()
    assert len(lines) == 17
    assert [line.partition(":")[0] for line in lines if not line.endswith(" ok")] == ["O_TMPFILE"], lines


NOT_OVER_9P = {
    "unix-sockets": "No such device or address",
    "fifos": "No such device or address",
    "device-nodes": "No such device or address",
    "file-capabilities": "",
    "O_TMPFILE": "",
    "fallocate": "",
    "flock-fcntl": "Resource temporarily unavailable",
    "rename-flags": "",
    "unlinked-files": "No such file or directory",
    "owner-mode-times": "",
}
"""Checks of behaviour.c that fail over 9p, and how where docs/roots.md says it."""


@pytest.mark.needs_qemu_9p
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
