"""Containers of podman whose storage is a small file system of dom0 (docs/roots.md, "A full file system")."""

from collections.abc import Iterator

import pytest

from runxtools.lab.lab import Lab
from runxtools.testing.containers import IMAGE, LIMIT_S, RUNX, new_id, until

SIZE_MIB = 300
SCRIPT = """
if [ -e /kept ]; then
    cat /kept; echo changed > /kept; cat /kept; mount | grep -c ' / .*rw,'; exit
fi
echo good > /kept; sync
dd if=/dev/zero of=/big bs=1M count=400 conv=fsync 2>&1 | grep -o 'No space.*'
rm /big && dd if=/dev/zero of=/again bs=1M count=20 conv=fsync 2> /dev/null && echo again
rm /again; sync; echo removed
[ "$1" ] || exit 0
while ! [ -e /end/end ]; do touch /alive; sync; sleep 1; done
"""


@pytest.fixture
def podman(lab: Lab, scratch: str) -> Iterator[list[str]]:
    """podman's command line, with a storage of its own. Its layers are those of overlayfs."""
    lab.run(["truncate", "-s", f"{SIZE_MIB}M", f"{scratch}/small.img"], check=True)
    lab.run(["mkdir", f"{scratch}/small", f"{scratch}/end"], check=True)
    lab.run(["mke2fs", "-q", "-t", "ext4", "-E", "lazy_itable_init=0", f"{scratch}/small.img"], check=True)
    lab.run(["mount", "-o", "loop", f"{scratch}/small.img", f"{scratch}/small"], check=True)
    command = ["podman", "--root", f"{scratch}/small/storage", "--runroot", f"{scratch}/run", "--storage-driver", "overlay"]
    command += ["--cgroup-manager", "cgroupfs", "--events-backend", "file", "--runtime", RUNX]
    lab.run([*command, "load", "-i", "/var/lib/runx-lab/test-image.tar"], check=True, timeout=LIMIT_S)
    yield command
    lab.run([*command, "rm", "--all", "--force"], check=True, timeout=LIMIT_S)
    lab.run(["sh", "-c", f"umount {scratch}/small/storage/overlay; umount {scratch}/small"], check=True)


def on_disk_mib(lab: Lab, scratch: str) -> int:
    """What the layers hold of dom0's file system."""
    found = lab.run(["sh", "-c", f"find {scratch}/small -name runx-layer -exec du -m {{}} + | cut -f 1"], check=True)
    return sum(map(int, found.stdout.split()))


def test_containers_on_a_full_disk(lab: Lab, scratch: str, podman: list[str]) -> None:
    """One after the other fills it. What they remove goes back, also while they run. They start again."""
    volume = ["-v", f"{scratch}/end:/end:ro"]
    name = new_id()
    run = [*podman, "run", "--network", "none", *volume]
    result = lab.run([*run, "--name", name, IMAGE, "/bin/sh", "-c", SCRIPT], timeout=LIMIT_S)
    lines = [b"No space left on device", b"again", b"removed"]
    assert (result.returncode, result.stdout.splitlines()) == (0, lines), result
    again = lab.run([*podman, "start", "--attach", name], timeout=LIMIT_S)
    assert (again.returncode, again.stdout.split()) == (0, [b"good", b"changed", b"1"]), again

    other = new_id()
    lab.run([*run, "--detach", "--name", other, IMAGE, "/bin/sh", "-c", SCRIPT, "sh", "stay"], check=True, timeout=LIMIT_S)
    until(lambda: b"removed" in lab.run([*podman, "logs", other]).stdout)
    assert lab.run([*podman, "logs", other]).stdout.splitlines() == lines
    until(lambda: on_disk_mib(lab, scratch) < 100, lambda: on_disk_mib(lab, scratch))
    lab.run(["touch", f"{scratch}/end/end"], check=True)
    assert lab.run([*podman, "wait", other], check=True, timeout=LIMIT_S).stdout.strip() == b"0"
