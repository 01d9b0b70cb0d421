"""Many containers on one volume at once: no write is lost. The locks of guests themselves are in tests/unit/ninep."""

import json
import shutil
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from runxtools.double.host import Double
from runxtools.testing.bundles import Bundle
from runxtools.testing.containers import LIMIT_S

COUNT, TURNS = 20, 10
COUNTER = """
i=0
while [ $i -lt {turns} ]; do
    /usr/bin/flock /volume/lock sh -c 'read n < /volume/counter; echo $((n + 1)) > /volume/counter' || exit 1
    i=$((i + 1))
done
"""
UPDATES = 25
DATABASE = """
update='BEGIN IMMEDIATE; UPDATE t SET n = n + 1; INSERT INTO l VALUES(hex(zeroblob(250))); COMMIT'
i=0
while [ $i -lt {updates} ]; do
    /usr/bin/sqlite3 -bail -cmd '.timeout 60000' /volume/db "$update" || exit 1
    i=$((i + 1))
done
"""


class Containers:
    """Containers of one root filesystem, with one volume."""

    def __init__(self, double: Double, directory: Path) -> None:
        for folder in (directory, directory.parent, directory.parent.parent):
            folder.chmod(0o755)
        self.one = Bundle(double, directory)
        self.volume = directory / "volume"
        self.volume.mkdir()

    def run(self, number: int, script: str) -> tuple[int, bytes]:
        """Status and messages of one."""
        directory = self.one.directory / f"bundle-{number}"
        directory.mkdir()
        config = json.loads(json.dumps(self.one.config))
        config["root"] = {"path": str(self.one.directory / "rootfs"), "readonly": True}
        config["linux"]["cgroupsPath"] = f"/runx-volume-{number}"
        config["process"]["args"] = ["/bin/sh", "-c", script]
        config["mounts"].append(
            {"destination": "/volume", "source": str(self.volume), "type": "bind", "options": ["rbind", "rw"]}
        )
        (directory / "config.json").write_text(json.dumps(config))
        options = ["--root", str(self.one.state), "run", "--bundle", str(directory), f"c{number}"]
        result = self.one.host.run([self.one.argv("run")[0], *options], timeout=2 * LIMIT_S)
        return result.returncode, result.stderr

    def at_once(self, count: int, script: str) -> None:
        with ThreadPoolExecutor(count) as threads:
            ends = list(threads.map(lambda number: self.run(number, script), range(count)))
        assert ends == [(0, b"")] * count


def test_twenty_containers_count_together(double: Double, tmp_path: Path) -> None:
    containers = Containers(double, tmp_path)
    give(containers.one.directory / "rootfs", "flock")
    (containers.volume / "counter").write_text("0\n")
    containers.at_once(COUNT, COUNTER.format(turns=TURNS))
    assert (containers.volume / "counter").read_text() == f"{COUNT * TURNS}\n"


@pytest.mark.skipif(not shutil.which("sqlite3"), reason="sqlite3 is not installed")
@pytest.mark.parametrize("journal", ["delete", "wal"])
def test_two_containers_write_to_one_database(double: Double, tmp_path: Path, journal: str) -> None:
    """In the lab, a database with a write-ahead log is one machine's at a time (tests/lab/test_shares.py)."""
    containers = Containers(double, tmp_path)
    give(containers.one.directory / "rootfs", "sqlite3")
    database = str(containers.volume / "db")
    make = f"PRAGMA journal_mode = {journal}; CREATE TABLE t(n); CREATE TABLE l(x); INSERT INTO t VALUES(0)"
    subprocess.run(["sqlite3", database, make], check=True, stdout=subprocess.DEVNULL)
    containers.at_once(2, DATABASE.format(updates=UPDATES))
    look = "SELECT n FROM t; SELECT count(*) FROM l; PRAGMA integrity_check"
    found = subprocess.run(["sqlite3", database, look], check=True, capture_output=True, text=True).stdout
    assert found.split() == [str(2 * UPDATES), str(2 * UPDATES), "ok"]


def give(root: Path, name: str) -> None:
    """Copy a program of this machine with its libraries."""
    program = shutil.which(name) or ""
    linked = subprocess.run(["ldd", program], check=True, capture_output=True, text=True).stdout
    for path in [program, *(word for word in linked.split() if word.startswith("/"))]:
        (root / path.lstrip("/")).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, root / path.lstrip("/"))


HOLDERS = """
for pid in $(lsns --type mnt --noheadings --output PID); do
    grep -a -q /bin/xl /proc/$pid/cmdline || grep -l "$1" /proc/$pid/mountinfo
done
true
"""
"""Processes, one for each mount namespace, that have a mount of this name; but for what stands for virtual machines."""


def test_what_the_host_unmounts_is_free(double: Double, bundle: Bundle, scratch: str) -> None:
    """No process of a container's keeps another mount of the host, which is mounted when the container is made."""
    volume, other = f"{scratch}/volume", f"{scratch}/other"
    double.run(["mkdir", volume, other], check=True)
    double.run(["mount", "-t", "tmpfs", "tmpfs", other], check=True)
    mount = {"destination": "/volume", "source": volume, "type": "bind", "options": ["rbind", "rw"]}
    bundle.config["mounts"].append(mount)
    process = bundle.popen("echo ready; read line")
    try:
        holders = ["sh", "-c", HOLDERS, "sh", other]
        assert double.run(holders, check=True).stdout != b"", "the host has it"
        double.run(["umount", other], check=True)
        assert double.run(holders, check=True).stdout == b""
    finally:
        process.communicate(b"end\n", timeout=LIMIT_S)
    assert process.returncode == 0
