"""A dom0 as a real host's: started by systemd, with udev, lvm2 and Debian's services of Xen (tools/test --only lab-systemd)."""

import json
import subprocess
from collections.abc import Iterator

import pytest

from runxtools.lab.lab import Lab
from runxtools.testing.containers import IMAGE, LIMIT_S, RUNX, Running, until

pytestmark = pytest.mark.systemd


def units(lab: Lab) -> dict[str, str]:
    """State of every service, scope and slice that systemd knows."""
    words = ["systemctl", "list-units", "--all", "--output=json", "--type=service,scope,slice"]
    return {unit["unit"]: unit["active"] for unit in json.loads(lab.run(words, check=True, timeout=LIMIT_S).stdout)}


def failed(lab: Lab) -> list[str]:
    return sorted(name for name, state in units(lab).items() if state == "failed")


@pytest.fixture(autouse=True)
def nothing_is_disturbed(lab: Lab) -> Iterator[None]:
    """A container makes no unit fail, and leaves no unit."""
    # Sessions of logins and transient units come and go by themselves.
    before = {name for name in units(lab) if "runx" in name or name.endswith(".scope")}
    faults = failed(lab)
    yield
    assert failed(lab) == faults
    until(lambda: {name for name in units(lab) if "runx" in name or name.endswith(".scope")} <= before, lambda: units(lab))


def test_debian_s_services_run_xen(lab: Lab) -> None:
    """They have started, and none of their units has failed."""
    assert lab.run(["cat", "/proc/1/comm"], check=True).stdout == b"systemd\n"
    assert units(lab)["xen.service"] == "active"
    assert "systemd-udevd.service" in units(lab)
    assert not failed(lab)


def test_ctr(lab: Lab) -> None:
    """udev handles the events of the domain's devices before the container has ended; lvm does not look into its disks."""
    container = Running(lab, "echo ready; cat; exit 3")
    lab.run(["udevadm", "settle", "--timeout=120"], check=True, timeout=LIMIT_S)
    assert lab.run(["pvs", "--noheadings"], check=True, timeout=LIMIT_S).stdout == b""
    status, output, errors = container.end(b"said\n")
    assert (status, output) == (3, b"said\n"), errors
    journal = lab.run(
        ["journalctl", "--no-pager", "--unit", "systemd-udevd", "--priority", "warning"], check=True, timeout=LIMIT_S
    )
    assert b"xen-backend" not in journal.stdout, journal.stdout


def test_podman_with_groups_of_systemd(lab: Lab, scratch: str) -> None:
    """The supervisor is in a scope of systemd's, which goes with the container."""
    podman = ["podman", "--root", f"{scratch}/storage", "--runroot", f"{scratch}/run", "--storage-driver", "overlay"]
    podman += ["--cgroup-manager", "systemd", "--events-backend", "file", "--runtime", RUNX]
    lab.run([*podman, "load", "-i", "/var/lib/runx-lab/test-image.tar"], check=True, timeout=LIMIT_S)
    script = "echo ready; read line; echo said $line; exit 4"
    run = [*podman, "run", "-i", "--name", "one", "--publish", "8081:80", IMAGE, "/bin/sh", "-c", script]
    process = lab.popen(run, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    assert process.stdout is not None
    line = process.stdout.readline()
    assert line == b"ready\n", process.communicate(timeout=LIMIT_S)
    container = lab.run([*podman, "inspect", "--format", "{{.ID}}", "one"], check=True, timeout=LIMIT_S).stdout.decode().strip()
    scopes = [name for name, state in units(lab).items() if container in name and name.endswith(".scope") and state == "active"]
    assert f"libpod-{container}.scope" in scopes
    output, errors = process.communicate(b"good day\n", timeout=LIMIT_S)
    assert (process.returncode, output) == (4, b"said good day\n"), errors
    lab.run([*podman, "rm", "--all", "--force"], check=True, timeout=LIMIT_S)
    lab.run(["sh", "-c", "! mountpoint -q /run/netns || umount -R /run/netns"], check=True)
