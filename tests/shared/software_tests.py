"""Real software on a volume, with containerd's ctr, in the lab and in the double: what it has acknowledged is there, and whole,
when its machine is killed."""

import shlex
import subprocess
from pathlib import Path

import pytest

from runxtools import apt, tree
from runxtools.errors import ToolError
from runxtools.machine import Machine
from runxtools.testing.containers import Running, sh

COPY = """
cd "$1"
mkdir "$2/software"
programs="$(ls -d usr/lib/postgresql/*/bin/*) usr/bin/git usr/bin/redis-* usr/bin/setpriv"
find $programs usr/lib/git-core usr/share/git-core usr/share/postgresql usr/lib/postgresql/*/lib \\
    ! -name 'llvmjit*' ! -name '*.bc' ! -type d > "$2/files"
tar -cf - -T "$2/files" | tar -xf - -C "$2/software"
chroot . ldd $programs usr/lib/postgresql/*/lib/dict_snowball.so 2> /dev/null | grep -o '/[^ ]*[.]so[^ :]*' | sort -u |
    while read library; do
        mkdir -p "$2/software$(dirname "$library")"
        [ -e "$2/software$library" ] || cp -L ".$library" "$2/software$library"
    done
tar -C "$2/software" -cf "$2/software.tar" .
"""
"""Copies what PostgreSQL, redis and git need from a root of Debian to a tar file."""
AS_USER = (
    "export PATH=$(echo /usr/lib/postgresql/*/bin):/usr/bin:/bin HOME=/tmp; "
    "exec /usr/bin/setpriv --reuid 1000 --regid 1000 --clear-groups /bin/sh -c "
)


@pytest.fixture(scope="session")
def software(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("software")
    try:
        root = tree.make(apt.machine_release(), ["postgresql", "redis-server", "git"])
    except ToolError as error:
        pytest.skip(f"there are no packages: {error}")
    subprocess.run(["sh", "-ec", COPY, "sh", str(root), str(directory)], check=True)
    return directory / "software.tar"


@pytest.fixture
def options(host: Machine, scratch: str, software: Path) -> list[str]:
    """Of a container that has the software, and a volume of its user's, /data. Both travel over 9p."""
    host.put(software, f"{scratch}/software.tar")
    script = 'cd "$1"; mkdir software data; chown 1000:1000 data; tar -x -C software -f software.tar; rm software.tar'
    host.run(["sh", "-ec", script, "sh", scratch], check=True, timeout=300)
    binds = {"software/usr": "/usr", "software/lib": "/lib", "software/lib64": "/lib64", "data": "/data"}
    mounts = [f"type=bind,src={scratch}/{source},dst={target},options=rbind:rw" for source, target in binds.items()]
    memory = ["--memory-limit", str(384 << 20)]
    return [*memory, *(word for mount in mounts for word in ("--mount", mount))]


def killed(host: Machine, script: str, options: list[str]) -> list[str]:
    """Kill the container when it says `ready`, after its script: what else it has said."""
    script = f"{{ {script}\n}} > /data/said 2>&1 || {{ cat /data/said >&2; exit 1; }}; echo ready; exec sleep 1000"
    container = Running(host, AS_USER + shlex.quote(script), options)
    container.kill("KILL")
    container.end()
    return said(host, "cat /data/said", options)


def said(host: Machine, script: str, options: list[str]) -> list[str]:
    result = sh(host, AS_USER + shlex.quote(script), options=options)
    assert result.returncode == 0, result
    return result.stdout.decode().splitlines()


CLUSTER = """
    initdb -D /data/cluster -A trust -U bench -k --locale C > /tmp/log || { cat /tmp/log; false; } &&
    printf '%s\\n' "listen_addresses = ''" "unix_socket_directories = '/tmp'" >> /data/cluster/postgresql.conf &&
"""
START = "pg_ctl -D /data/cluster -w -t 600 -l /data/log start > /dev/null || { cat /data/log; false; }"
BENCH = "pgbench -h /tmp -U bench"
SUMS = (
    "psql -h /tmp -U bench -At -c 'SELECT count(*), sum(abalance) FROM pgbench_accounts' "
    "-c 'SELECT count(*), sum(delta) FROM pgbench_history' bench"
)


def test_a_database_server(host: Machine, options: list[str]) -> None:
    """pgbench by four clients, and a machine that is killed. Each page has a checksum."""
    work = f"createdb -h /tmp -U bench bench && {BENCH} -i -q bench 2> /tmp/log && {BENCH} -c 4 -t 20 bench 2>&1"
    before = killed(host, f"{CLUSTER} {START} && {work} && {SUMS}", options)
    assert "number of transactions actually processed: 80/80" in before, before
    count, balance = before[-1].split("|")
    assert before[-2:] == [f"100000|{balance}", f"80|{balance}"], (before, count)
    after = said(host, f"{START} && {SUMS} && pg_ctl -D /data/cluster -w stop && pg_checksums -D /data/cluster", options)
    assert after[:2] == before[-2:]
    assert "Bad checksums:  0" in after


def test_a_log_of_commands(host: Machine, options: list[str]) -> None:
    """redis, which writes each command to its append-only file before it answers. The file is rewritten meanwhile."""
    server = (
        "redis-server --dir /data --appendonly yes --appendfsync always --save '' --port 0 --unixsocket /tmp/s --daemonize yes"
    )
    client = "redis-cli -s /tmp/s"
    begin = f"{server} > /dev/null && until {client} ping; do sleep 0.1; done > /dev/null 2>&1"
    work = (
        f"for i in $(seq 60); do {client} set key$i $i; [ $i != 30 ] || {client} bgrewriteaof > /dev/null; done | sort | uniq -c"
    )
    before = killed(host, f"{begin} && {work}", options)
    assert [line.split() for line in before] == [["60", "OK"]]
    after = said(host, f"redis-check-aof /data/appendonlydir/*.manifest | tail -n 1; {begin} && {client} dbsize", options)
    assert after == ["All AOF files and manifest are valid", "60"]


REPOSITORY = """
    git config --global user.email a@localhost && git config --global user.name a && git config --global gc.auto 0 &&
    git init -q -b main /data/one && cd /data/one &&
    for commit in 1 2 3; do
        mkdir -p directory$commit && for file in $(seq 30); do echo $commit $file > directory$commit/$file; done &&
        ln -s directory$commit link$commit && git add . && git commit -q -m $commit || exit
    done &&
    git clone -q --no-local /data/one /data/two && cd /data/two &&
    git rm -q -r directory1 && git commit -q -m removed && git gc -q --prune=now && git status --short &&
    git rev-parse HEAD && sync
"""


def test_a_repository(host: Machine, options: list[str]) -> None:
    before = killed(host, REPOSITORY, options)
    assert len(before) == 1 and len(before[0]) == 40, before
    look = "cd /data/two && git fsck --full --no-progress && git status --short && git rev-parse HEAD && git ls-files | wc -l"
    assert said(host, look, options) == [before[0], "63"]
