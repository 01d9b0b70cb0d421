"""Roots that travel as disks, in virtual machines: all that tests/shared has, and what only dom0 shows."""

import time

from containers import IMAGE, LIMIT_S, new_id
from root_tests import *  # noqa: F403
from root_tests import DISK
from runxtools.lab import Lab


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
