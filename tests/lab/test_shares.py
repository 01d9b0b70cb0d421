"""9p shares in virtual machines, over real rings: several kernels on one volume, and a server that goes."""

from pathlib import Path

import pytest

from root_tests import programs_of_debian  # noqa: F401
from runxtools.lab.lab import Lab
from runxtools.testing.containers import Running

WRITER = """
set -e
tar -x -C / -f /data/tree.tar
echo ready
read line
(
    echo .timeout 300000
    for i in $(seq 8); do
        echo 'BEGIN IMMEDIATE; UPDATE t SET n = n + 1; INSERT INTO rows VALUES (randomblob(2000)); COMMIT;'
    done
) | /usr/bin/sqlite3 -bail /data/db
"""
PREPARE = """
import sqlite3
sqlite3.connect("db").executescript("CREATE TABLE t(n); CREATE TABLE rows(x); INSERT INTO t VALUES (0)")
"""
LOOK = """
import sqlite3
database = sqlite3.connect("db")
for question in ("SELECT n FROM t", "SELECT count(*) FROM rows", "PRAGMA integrity_check"):
    print(*database.execute(question).fetchone())
"""


def volume(lab: Lab, scratch: str) -> list[str]:
    """Options for a volume, which is `scratch`/volume in dom0."""
    lab.run(["mkdir", f"{scratch}/volume"], check=True)
    return ["--mount", f"type=bind,src={scratch}/volume,dst=/data,options=rbind:rw"]


def test_a_database_of_two_containers(lab: Lab, scratch: str, programs_of_debian: Path) -> None:  # noqa: F811
    """Each sees what the other one has written, and none gets in the other one's way."""
    options = volume(lab, scratch)
    lab.put(programs_of_debian, f"{scratch}/volume/tree.tar")

    def python(program: str) -> bytes:
        return lab.run(["sh", "-c", 'cd "$0" && exec python3 -c "$1"', f"{scratch}/volume", program], check=True).stdout

    python(PREPARE)
    writers = [Running(lab, WRITER, options) for _ in range(2)]
    try:
        assert writers[0].process.stdin
        writers[0].process.stdin.write(b"go\n")
        writers[0].process.stdin.flush()
        ends = [writers[1].end(b"go\n"), writers[0].end()]
        assert [status for status, _, _ in ends] == [0, 0], ends
    finally:
        for writer in writers:
            writer.stop()
    assert python(LOOK) == b"16\n16\nok\n"


@pytest.mark.parametrize("while_it", ["writes", "waits"])
def test_a_server_that_is_killed_ends_the_container(lab: Lab, scratch: str, while_it: str) -> None:
    """At once, whatever the guest does, and with the reason. Nothing is left of the share."""
    script = "echo ready; while :; do date > /data/time; done" if while_it == "writes" else "cd /data; echo ready; read line"
    container = Running(lab, script, volume(lab, scratch))
    lab.run(["sh", "-c", 'kill -KILL $(pgrep -f "^runx-shares $0\\$")', container.id], check=True)
    status, _, errors = container.end()
    assert status == 255
    assert b"the server of the container's shares has ended: signal 9" in errors
    assert container.id not in lab.run(["xl", "list"], check=True).stdout.decode()
    assert b"runx_9pfs" not in lab.run(["xenstore-ls", "-f"], check=True).stdout
