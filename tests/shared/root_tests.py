"""Root filesystems by disk and in memory, with containerd's ctr, in the lab and in the double."""

import json
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from programs import compiled
from runxtools.machine import Machine
from runxtools.testing.containers import IMAGE, LIMIT_S, RUNX, new_id, sh, until

DISK = ("--annotation", "org.runx.root.carrier=disk")
RAM = ("--annotation", "org.runx.root.carrier=ram")
NEVER = ("--annotation", "org.runx.root.write_back=never")
"""What a container writes stays in its layer."""
made = pytest.mark.parametrize("carrier", [pytest.param(DISK, id="disk"), pytest.param(RAM, id="ram")])
"""Run a test with both carriers that need images."""
NOT_IN_TMPFS = ["user-attributes", "O_TMPFILE", "O_DIRECT"]
"""Checks of behaviour.c that fail in an overlay on a tmpfs before Linux 6.6."""
_START = 'ctr task start "$1"; status=$?; ctr task delete "$1" > /dev/null 2>&1; exit $status'
_CHANGE = (
    'top=$(mktemp -d) && eval "$(ctr snapshot mounts "$top" "$1")" && cd "$top" && eval "$2"; cd /; umount "$top"; rmdir "$top"'
)


class Kept:
    """A container that is started several times, as by `docker start`."""

    def __init__(self, host: Machine, script: str, *options: str) -> None:
        self.host = host
        self.id = new_id()
        self.run = ["ctr", "run", "--runc-binary", RUNX, *options, IMAGE, self.id, "/bin/sh", "-c", script]
        self.exists = False
        self.in_memory = False

    def start(self) -> "subprocess.CompletedProcess[bytes]":
        if not self.exists:
            self.exists = True
            return self.host.run(self.run, timeout=LIMIT_S)
        return self.host.run(["sh", "-c", _START, "sh", self.id], timeout=LIMIT_S)

    def change(self, script: str) -> bytes:
        """Change the stopped container's root through overlayfs, like `docker cp`; what the script prints."""
        return self.host.run(["sh", "-ec", _CHANGE, "sh", self.id, script], check=True, timeout=LIMIT_S).stdout

    def upper(self) -> str:
        """The directory of containerd's store that has the container's changes, and its layer."""
        mounts = self.host.run(["ctr", "snapshot", "mounts", "/mnt", self.id], check=True).stdout.decode()
        return mounts.partition("upperdir=")[2].partition(",")[0].removesuffix("/fs") + "/"

    def layers(self) -> list[str]:
        """Paths of all layers of changes in containerd's store."""
        upper = self.host.run(["ctr", "snapshot", "mounts", "/mnt", self.id]).stdout.decode()
        snapshots = upper.partition("upperdir=")[2].partition(",")[0].rpartition("/snapshots/")[0] if upper else self.snapshots
        self.snapshots = snapshots
        # containerd removes the snapshots of ended containers meanwhile.
        found = self.host.run(["find", f"{snapshots}/snapshots", "-ignore_readdir_race", "-name", "runx-layer*"], check=True)
        return found.stdout.decode().split()

    def remove(self) -> None:
        self.host.run(["ctr", "container", "delete", self.id], timeout=LIMIT_S)


_KEPT = "cat /kept /added 2>&1; ls -A /home /var /usr; echo kept >> /kept; exit 7"


@pytest.fixture(params=[pytest.param(DISK, id="disk"), pytest.param(RAM, id="ram")])
def kept(host: Machine, request: pytest.FixtureRequest) -> Iterator[Kept]:
    container = Kept(host, _KEPT, *request.param)
    yield container
    container.remove()


@pytest.fixture(params=[pytest.param(DISK, id="disk"), pytest.param(RAM, id="ram")])
def not_written_back(host: Machine, request: pytest.FixtureRequest) -> Iterator[Kept]:
    container = Kept(host, _KEPT, *request.param, *NEVER)
    container.in_memory = request.param is RAM
    yield container
    container.remove()


@made
def test_a_root_that_is_made_is_a_file_system(host: Machine, carrier: tuple[str, ...]) -> None:
    script = "grep ' / ' /proc/mounts; mkfifo /fifo; mknod /null c 1 3; ls -l /fifo /null; grep -c 9p /proc/mounts; exit 3"
    result = sh(host, script, options=carrier)
    assert result.returncode == 3, result.stderr
    lines = result.stdout.decode().splitlines()
    assert lines[0].startswith("overlay / overlay rw"), lines
    assert lines[1].startswith("prw"), lines
    assert lines[2].startswith("crw"), lines
    assert lines[3] == "0", "nothing is shared with the host"


def test_what_was_written_is_there_at_the_next_start(kept: Kept) -> None:
    first, second, third = kept.start(), kept.start(), kept.start()
    assert first.returncode == second.returncode == 7, first.stderr + second.stderr
    assert first.stdout.startswith(b"cat: can't open '/kept'"), first.stdout
    assert second.stdout.startswith(b"kept\ncat: "), second.stdout
    assert third.stdout.startswith(b"kept\nkept\ncat: "), third.stdout
    assert not any(kept.upper() in layer for layer in kept.layers()), "what it wrote is the host's now, and the space is free"
    assert kept.change("cat kept") == b"kept\nkept\nkept\n"


def test_what_is_not_written_back_stays_in_the_layer(not_written_back: Kept) -> None:
    """With the layer it is there at the next start; in memory it is lost."""
    container = not_written_back
    first, second = container.start(), container.start()
    assert first.returncode == second.returncode == 7, first.stderr + second.stderr
    assert second.stdout.startswith(b"cat: can't open '/kept'" if container.in_memory else b"kept\ncat: "), second.stdout
    assert container.change("ls -A home var; cat kept || echo nothing").endswith(b"nothing\n")
    mine = [layer for layer in container.layers() if container.upper() in layer]
    assert len(mine) == (0 if container.in_memory else 1)
    container.remove()
    until(lambda: not any(layer in container.layers() for layer in mine))  # as all of its state in containerd


_WRITES = """
[ ! -e /synced ] || { cat /synced; ls /many | wc -l; dmesg | grep 'EXT4-fs.*recovery complete'; exit 7; }
mkdir /many; i=0
while [ $i -lt 300 ]; do echo $i > /many/$i; i=$((i + 1)); done
echo synced > /synced; sync; echo ready
while :; do echo $i > /many/$i; rm /many/$i; echo more >> /synced-not; done
"""


def killed_and_started(host: Machine) -> "subprocess.CompletedProcess[bytes]":
    """Start a container again whose domain was destroyed while it wrote, after a sync(2)."""
    container = Kept(host, _WRITES, *DISK, "--cap-add", "CAP_SYSLOG")  # for dmesg
    process = host.popen(container.run, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        find = f"xl list | grep -o 'runx-{container.id}[^ ]*'"
        name = host.run(["sh", "-c", find], check=True, timeout=LIMIT_S).stdout.decode().strip()
        host.run(["xl", "destroy", name], check=True, timeout=LIMIT_S)
        process.communicate(timeout=LIMIT_S)
        container.exists = True
        return container.start()
    finally:
        process.kill()
        container.remove()


def test_what_was_synced_is_there_after_a_kill(host: Machine) -> None:
    result = killed_and_started(host)
    assert result.returncode == 7, result.stderr
    synced, files = result.stdout.decode().split()[:2]
    assert synced == "synced"
    assert int(files) in (300, 301)


def test_what_the_engine_changes_is_seen(kept: Kept) -> None:
    assert kept.start().returncode == 7
    kept.change("echo one > added; rm -r home/user; rm -r var; mkdir var; touch var/new; mkdir usr/more")
    first = kept.start().stdout.decode().split()
    assert first[first.index("one") :] == ["one", "/home:", "/usr:", "bin", "more", "/var:", "new"]
    kept.change("echo two > added")
    assert b"\ntwo\n" in kept.start().stdout, "also between two starts"


@pytest.fixture
def behave(host: Machine, scratch: str, tmp_path: Path) -> list[str]:
    """Options of `ctr run` that give a container the program of behaviour.c as /mnt/behave. Writing back its thousands of files
    would take minutes in the lab."""
    host.put(compiled("behaviour", tmp_path), f"{scratch}/behave")
    return ["--mount", f"type=bind,src={scratch},dst=/mnt,options=rbind:ro", *NEVER]


def test_a_root_by_disk_behaves_as_under_runc(host: Machine, behave: list[str]) -> None:
    result = sh(host, "/mnt/behave /test", options=[*DISK, *behave])
    assert result.returncode == 0, result.stderr
    lines = result.stdout.decode().splitlines()
    assert len(lines) == 17, result.stderr
    assert [line for line in lines if not line.endswith(" ok")] == []


def test_how_a_root_in_memory_behaves(host: Machine, behave: list[str]) -> None:
    result = sh(host, "/mnt/behave /test && uname -r", options=[*RAM, *behave])
    assert result.returncode == 0, result.stderr
    *lines, release = result.stdout.decode().splitlines()
    major, minor = map(int, release.split(".")[:2])
    assert len(lines) == 17, result.stderr
    failed = [line.partition(":")[0] for line in lines if not line.endswith(" ok")]
    assert failed == ([] if (major, minor) >= (6, 6) else NOT_IN_TMPFS), lines


@made
def test_a_read_only_root_has_no_layer(host: Machine, carrier: tuple[str, ...]) -> None:
    result = sh(host, "touch /x; grep -c ' ext4 ' /proc/mounts; cat /etc/motd", options=[*carrier, "--read-only"])
    assert b"Read-only file system" in result.stderr
    assert result.stdout == b"0\nrunx test image\n"


CAPABILITIES = b" security.capability="
"""Entries that 9p does not show in a virtual machine (docs/roots.md)."""


class Layers:
    """A bundle whose root filesystem has layers with all kinds of files (make_layers.py)."""

    def __init__(self, host: Machine, top: str, directory: Path) -> None:
        self.host = host
        self.top = top
        self.program = compiled("treehash", directory)
        host.put(self.program, f"{top}/treehash")
        host.put(Path(__file__).with_name("make_layers.py"), f"{top}/make_layers.py")

    def make(self, mib: int, sparse_mib: int, changed: bool) -> None:
        words = [f"{self.top}/tree", f"{self.top}/treehash", str(mib), str(sparse_mib), str(int(changed))]
        self.host.run(["python3", f"{self.top}/make_layers.py", *words], check=True, timeout=LIMIT_S)
        self.execute(["/bin/treehash", "/", "dev"])

    def execute(self, args: list[str], capabilities: tuple[str, ...] = ("DAC_READ_SEARCH",)) -> None:
        """What the next container does."""
        held = [f"CAP_{name}" for name in capabilities]
        config = {
            "ociVersion": "1.2.0",
            "process": {
                "cwd": "/",
                "args": args,
                "capabilities": dict.fromkeys(("bounding", "effective", "permitted"), held),
            },
            "root": {"path": "rootfs"},
            "linux": {"namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount")]},
        }
        write = ["sh", "-c", 'cat > "$1"', "sh", f"{self.top}/tree/bundle/config.json"]
        self.host.run(write, stdin=json.dumps(config).encode(), check=True)

    def seen_from_the_host(self) -> list[bytes]:
        return self._lines([f"{self.top}/treehash", f"{self.top}/tree/bundle/rootfs", "dev"])

    def seen_in_the_container(self, carrier: str) -> list[bytes]:
        words = [RUNX, "--root", f"{self.top}/state", "run", "--root-carrier", carrier, "--bundle", f"{self.top}/tree/bundle"]
        return self._lines([*words, new_id()])

    def _lines(self, argv: list[str]) -> list[bytes]:
        result = self.host.run(argv, timeout=LIMIT_S)
        assert result.returncode == 0, result.stderr
        return result.stdout.splitlines()

    def remove(self) -> None:
        self.host.run(["umount", f"{self.top}/tree/bundle/rootfs"])


@pytest.fixture
def layers(host: Machine, scratch: str, tmp_path: Path) -> Iterator[Layers]:
    layers = Layers(host, scratch, tmp_path)
    yield layers
    layers.remove()


@pytest.mark.parametrize("changed", [False, True])
def test_a_container_sees_what_overlayfs_shows_to_the_host(layers: Layers, changed: bool) -> None:
    """Compare content, owner, mode, times, links and attributes of every file on each carrier."""
    layers.make(mib=8, sparse_mib=16, changed=changed)
    expected = layers.seen_from_the_host()
    assert len(expected) > 2000
    assert any(CAPABILITIES in line for line in expected)
    for carrier in ("ram", "disk"):
        assert layers.seen_in_the_container(carrier) == expected, carrier
    by_9p = layers.seen_in_the_container("9p")
    assert by_9p in (expected, [line for line in expected if CAPABILITIES not in line])


ALL_OF_FILES = ("CHOWN", "DAC_OVERRIDE", "DAC_READ_SEARCH", "FOWNER", "FSETID", "MKNOD", "SETFCAP")


@pytest.mark.parametrize("carrier", ["disk", "ram"])
def test_the_host_has_what_the_container_has_left(layers: Layers, tmp_path: Path, carrier: str) -> None:
    """Every file, with all that can be seen of it, and the same when the next container looks."""
    layers.make(mib=8, sparse_mib=16, changed=True)
    layers.host.put(compiled("changes", tmp_path), f"{layers.top}/changes")
    layers.host.run(["cp", f"{layers.top}/changes", f"{layers.top}/tree/bundle/rootfs/bin"], check=True)
    layers.execute(["/bin/changes", "/bin/treehash", "/", "dev"], ALL_OF_FILES)
    seen = layers.seen_in_the_container(carrier)
    assert any(line.startswith(b"./new/sparse ") for line in seen) and any(CAPABILITIES in line for line in seen)
    assert layers.seen_from_the_host() == seen
    assert layers.host.run(["find", f"{layers.top}/tree", "-name", "*runx-layer*"], check=True).stdout == b""
    layers.execute(["/bin/treehash", "/", "dev"])
    assert layers.seen_in_the_container(carrier) == seen


PACKAGE_SCRIPT = """\
set -e
mkdir -p tree/var/lib/dpkg/info tree/var/lib/dpkg/updates tree/tmp tree/usr/bin tree/lib64
touch tree/var/lib/dpkg/status tree/var/lib/dpkg/available
for program in dpkg dpkg-deb dpkg-split dpkg-query tar sqlite3; do
    path=$(command -v $program)
    cp "$path" tree/usr/bin/
    for library in $(ldd "$path" | grep -o '/[^ ]*'); do
        mkdir -p "tree$(dirname "$library")"
        cp -L "$library" "tree$library"
    done
done
for version in 1 2; do
    mkdir -p made/DEBIAN made/usr/share/made made/etc
    printf '%s\\n' 'Package: made' "Version: $version" 'Architecture: all' 'Maintainer: nobody <nobody@localhost>' \\
        'Description: made for a test' > made/DEBIAN/control
    echo /etc/made.conf > made/DEBIAN/conffiles
    printf '#!/bin/sh\\necho configured %s >> /configured\\n' $version > made/DEBIAN/postinst
    chmod 755 made/DEBIAN/postinst
    echo conf > made/etc/made.conf
    echo version $version > made/usr/share/made/version
    ln -f made/usr/share/made/version made/usr/share/made/linked
    ln -sf version made/usr/share/made/symbolic
    echo $version > made/usr/share/made/only-in-$version
    install -m 4755 made/etc/made.conf made/usr/share/made/set-user-id
    dpkg-deb --root-owner-group --build made tree/made-$version.deb > /dev/null
    rm -r made
done
tar -C tree -cf tree.tar .
"""
"""Debian's dpkg and sqlite3 with their libraries, and two versions of a package."""

SQLITE_SCRIPT = """
set -e
export PATH=/usr/bin:/bin
tar -x -C / -f /mnt/tree.tar
numbers='WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 500)'
sqlite3 /db 'PRAGMA journal_mode = wal; CREATE TABLE t(n INTEGER PRIMARY KEY, x BLOB)'
for i in 1 2 3 4; do
    sqlite3 -cmd '.timeout 100000' /db "$numbers INSERT INTO t(x) SELECT randomblob(500) FROM c" &
done
wait
sqlite3 /db 'SELECT count(*) FROM t; PRAGMA integrity_check; PRAGMA journal_mode = delete'
sqlite3 /db 'BEGIN; DELETE FROM t; ROLLBACK; DELETE FROM t WHERE n % 2; VACUUM; SELECT count(*) FROM t; PRAGMA integrity_check'
"""
DPKG_SCRIPT = """
/usr/bin/dpkg --force-bad-path -i /made-1.deb > /log
/usr/bin/dpkg --force-bad-path -i /made-2.deb >> /log
cat /configured /usr/share/made/symbolic
ls /usr/share/made
stat -c '%a %h' /usr/share/made/version /usr/share/made/set-user-id
/usr/bin/dpkg -V made
echo changed >> /etc/made.conf
/usr/bin/dpkg --force-bad-path -r made >> /log 2>&1
cat /etc/made.conf
/usr/bin/dpkg --force-bad-path -P made >> /log 2>&1
ls -d /etc/made.conf /usr/share/made 2>&1
"""
"""Two containers one after the other."""
SAID = """\
wal
2000
ok
delete
1000
ok
configured 1
configured 2
version 2
linked
only-in-2
set-user-id
symbolic
version
644 2
4755 1
conf
changed
"""


@pytest.fixture(scope="session")
def programs_of_debian(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tar file that PACKAGE_SCRIPT makes."""
    directory = tmp_path_factory.mktemp("debian")
    subprocess.run(["sh", "-c", PACKAGE_SCRIPT], cwd=directory, check=True)
    return directory / "tree.tar"


@pytest.mark.skipif(not shutil.which("sqlite3"), reason="sqlite3 is not installed")
@pytest.mark.parametrize("carrier", ["disk", "ram", "9p"])
def test_a_database_and_a_package_manager(host: Machine, scratch: str, programs_of_debian: Path, carrier: str) -> None:
    """sqlite3 has several writers in both modes of its journal. dpkg installs, upgrades and removes a package."""
    host.put(programs_of_debian, f"{scratch}/tree.tar")
    options = [
        "--annotation",
        f"org.runx.root.carrier={carrier}",
        "--mount",
        f"type=bind,src={scratch},dst=/mnt,options=rbind:ro",
    ]
    result = sh(host, SQLITE_SCRIPT + DPKG_SCRIPT, options=options)
    said = result.stdout.decode()
    assert said.startswith(SAID), (said, result.stderr)
    assert "made.conf" in said.removeprefix(SAID), result.stderr
    assert said.count("No such file") == 2, said
