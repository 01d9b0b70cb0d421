"""A dom0 as a real host's: started by systemd, with udev, lvm2 and Debian's services of Xen (tools/test --only lab-systemd)."""

import json
import subprocess
import time
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


DISK = """
cd "$1"
mkdir bundle bundle/rootfs
truncate -s 64M disk
loop=$(losetup -f --show disk)
pvcreate -q "$loop"; vgcreate -q guestvg "$loop"; lvcreate -q -y -Zn -Wn -l 4 -n volume guestvg
# udev's rules of LVM may activate the group at any time.
while [ "$(losetup -j disk)" ]; do
    vgchange -q -an guestvg || true
    losetup -d "$loop" || true
    udevadm settle --timeout=120; sleep 1
done
"""
FILTER = "/etc/lvm/lvmlocal.conf"


def configuration(**members: object) -> bytes:
    config = {
        "ociVersion": "1.2.0",
        "process": {"args": ["/bin/sleep", "1000"], "cwd": "/", "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0}},
        "root": {"path": "rootfs"},
        "linux": {"namespaces": [{"type": kind} for kind in ("pid", "network", "mount")]},
    }
    return json.dumps(config | members).encode()


def created(lab: Lab, bundle: str, name: str, config: bytes) -> str:
    """Create a container of a bundle: the supervisor's pid."""
    lab.run(["sh", "-c", 'cat > "$1/config.json"', "sh", bundle], stdin=config, check=True)
    script = '"$1" create --bundle "$2" --pid-file "$2/pid" "$3" </dev/null >"$2/out" 2>&1 || { cat "$2/out" >&2; exit 1; }'
    lab.run(["sh", "-c", script, "sh", RUNX, bundle, name], check=True, timeout=LIMIT_S)
    return lab.run(["cat", f"{bundle}/pid"], check=True).stdout.decode()


def properties(lab: Lab, device: str) -> list[str]:
    lab.run(["udevadm", "settle", "--timeout=120"], check=True, timeout=LIMIT_S)
    shown = lab.run(["udevadm", "info", "--query=property", device], check=True, timeout=LIMIT_S).stdout
    return sorted(line.partition("=")[0] for line in shown.decode().splitlines() if line.startswith("ID_FS_"))


def loops_of(lab: Lab, file: str) -> list[str]:
    return lab.run(["losetup", "--noheadings", "--output", "NAME", "-j", file], check=True).stdout.decode().split()


@pytest.fixture
def volume_group(lab: Lab, scratch: str) -> Iterator[str]:
    """A file with a volume group, as a guest could write it to its disk. LVM has the filter of runx."""
    lab.run(["sh", "-euc", DISK, "sh", scratch], check=True, timeout=LIMIT_S)
    lab.run(["cp", "--backup", "/usr/local/share/runx/lvmlocal.conf", FILTER], check=True)
    yield f"{scratch}/disk"
    lab.run(["sh", "-c", '[ ! -e "$1~" ] || mv "$1~" "$1"', "sh", FILTER])


def test_dom0_reads_nothing_of_a_guest_s_disk(lab: Lab, scratch: str, volume_group: str) -> None:
    """udev finds no file system and makes no link, LVM finds no volume group, and nobody else can keep the device."""
    bundle = f"{scratch}/bundle"
    created(lab, bundle, "pv", configuration(vm={"image": {"path": volume_group, "format": "raw"}}))
    try:
        (loop,) = loops_of(lab, volume_group)
        assert properties(lab, loop) == []
        name = loop.removeprefix("/dev/")
        seen = lab.run(["udevadm", "test-builtin", "blkid", f"/sys/block/{name}"], check=True, timeout=LIMIT_S)
        assert b"ID_FS_TYPE=LVM2_member" in seen.stdout + seen.stderr, "udev would have found it"
        links = lab.run(["find", "/dev/disk", "-lname", f"*/{name}"], timeout=LIMIT_S).stdout
        assert links == b""
        assert lab.run(["pvs", "--noheadings"], check=True, timeout=LIMIT_S).stdout == b""
        assert b"guestvg" not in lab.run(["dmsetup", "ls"], check=True, timeout=LIMIT_S).stdout
        for words in (["dmsetup", "create", "held", "--table", f"0 8192 linear {loop} 0"], ["mount", loop, "/mnt"]):
            assert lab.run(words, timeout=LIMIT_S).returncode, words
        # A reader keeps it only as long as it reads.
        lab.run(["sh", "-c", f"exec sleep 5 < {loop} > /dev/null 2>&1 &"], check=True)
    finally:
        lab.run([RUNX, "delete", "--force", "pv"], check=True, timeout=LIMIT_S)
    until(lambda: not loops_of(lab, volume_group), lambda: loops_of(lab, volume_group))


ALL_LINKS = "/etc/systemd/network/zz-all.network"


def test_the_backend_of_a_killed_supervisor_stays_down(lab: Lab, scratch: str) -> None:
    """Its namespace ends, and the backend comes to dom0's. networkd, which brings all other interfaces up, leaves it alone."""
    bundle = f"{scratch}/bundle"
    lab.run(["sh", "-euc", 'mkdir -p "$1/rootfs/bin"; cp /bin/busybox "$1/rootfs/bin/sleep"', "sh", bundle], check=True)
    everything = b"[Match]\nName=*\n[Network]\nLinkLocalAddressing=ipv6\n"
    lab.run(["sh", "-c", f"cat > {ALL_LINKS} && networkctl reload"], stdin=everything, check=True, timeout=LIMIT_S)
    try:
        pid = created(lab, bundle, "stray", configuration())
        veth = f"""
            ip link add stray0 type veth peer name eth0 netns {pid}
            nsenter -t {pid} -n ip addr add 10.9.9.2/24 dev eth0; nsenter -t {pid} -n ip link set eth0 up
        """
        lab.run(["sh", "-euc", veth], check=True)
        # Its other end shows that networkd works.
        until(lambda: b"UP" in lab.run(["ip", "-br", "link", "show", "stray0"], check=True).stdout)
        lab.run([RUNX, "start", "stray"], check=True, timeout=LIMIT_S)
        lab.run(["kill", "-KILL", pid], check=True)
        end = time.monotonic() + 20
        while time.monotonic() < end:
            shown = lab.run(["sh", "-c", "ip -o link | grep ' vif' || true"], check=True).stdout
            assert b"UP" not in shown, shown
            time.sleep(1)
    finally:
        lab.run([RUNX, "delete", "--force", "stray"], timeout=LIMIT_S)
        lab.run(["sh", "-c", f"rm -f {ALL_LINKS}; networkctl reload; ip link del stray0"], timeout=LIMIT_S)
