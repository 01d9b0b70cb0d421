"""What a supervisor may do and see in a dom0 of Xen: what docs/security.md names, and all that xl needs there."""

import pytest

from runxtools.lab.lab import Lab
from runxtools.testing.containers import LIMIT_S, Running
from runxtools.testing.rights import table, too_many


@pytest.mark.parametrize(("carrier", "row"), [("9p", "supervisor"), ("disk", "supervisor that writes back")])
def test_a_supervisor_in_its_own_root_directory(lab: Lab, carrier: str, row: str) -> None:
    """It pauses, resumes and ends the domain by xl from there."""
    tenant = lab.run(["mktemp", "-d", "/tmp/tenant.XXXXXX"], check=True).stdout.decode().strip()
    lab.run(["mount", "-t", "tmpfs", "tenant", tenant], check=True)
    container = Running(lab, "echo ready; cat", ["--annotation", f"org.runx.root.carrier={carrier}"])
    try:
        tasks = lab.run(["ctr", "task", "ls"], check=True).stdout.decode().splitlines()
        pid = next(int(line.split()[1]) for line in tasks if line.split()[0] == container.id)
        assert too_many(lab, pid, table()[row]) == []
        for path in ("/etc/shadow", "/home", "/boot", tenant):
            assert lab.run(["test", "-e", f"/proc/{pid}/root{path}"]).returncode != 0, path
        assert lab.run(["test", "-e", f"/proc/{pid}/root/usr/bin/env"]).returncode == 0
        lab.run(["umount", tenant], check=True)
        assert lab.run(["grep", "-c", tenant, f"/proc/{pid}/mountinfo"]).returncode == 1
        for command in ("pause", "resume"):
            lab.run(["ctr", "task", command, container.id], check=True, timeout=LIMIT_S)
        assert container.end(b"the end\n")[:2] == (0, b"the end\n")
    finally:
        container.stop()
        lab.run(["sh", "-c", f"umount -q {tenant}; rmdir {tenant}"])
