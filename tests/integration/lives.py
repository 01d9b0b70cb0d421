"""The life of a container on the double, step by step, and what is left of one in dom0."""

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from runxtools.double.host import Double
from runxtools.testing.bundles import Bundle
from runxtools.testing.containers import LIMIT_S, until

GONE_S = 10
"""Processes that were killed, and what they held, take a moment to go."""
LEFT = """
xl list | tail -n +2 | cut -d ' ' -f 1
losetup -ln -O BACK-FILE | grep -F "$1"
cut -d ' ' -f 2,3 /proc/self/mounts
ls -A /run/runx-macs /run/runx /run/runx-loops 2> /dev/null
xenstore-ls -f /local/domain | cut -d / -f 4 | sort -u
xenstore-ls -f /local/domain/0/backend | cut -d ' ' -f 1
ip -br link | cut -d ' ' -f 1
find /sys/fs/cgroup -type d
"""
"""Domains, loop devices and their marks, mounts, claims of MAC addresses, nodes of xenstore, interfaces, control groups."""


def left(double: Double) -> list[str]:
    """What there is in dom0, but for what every double has."""
    words = ["sh", "-c", f"{{ {LEFT} }} 2>&1 | sort", "sh", str(double.directory)]
    processes = [line for line in double.run(["ps", "-eo", "args="]).stdout.decode().splitlines() if "ps -eo args=" not in line]
    return processes + double.run(words, check=True).stdout.decode().splitlines()


class Life:
    """A container with a disk, a bind mount and an interface on a bridge, and the processes that it has in dom0."""

    def __init__(self, double: Double, bundle: Bundle, netconf: str) -> None:
        self.double, self.bundle = double, bundle
        (bundle.directory / "volume").mkdir()
        bundle.config["annotations"] = {"org.runx.root.carrier": "disk"}
        mount = {"destination": "/volume", "source": str(bundle.directory / "volume"), "type": "bind", "options": ["rbind", "rw"]}
        bundle.config["mounts"].append(mount)
        bundle.config["process"]["env"].append(netconf)
        bundle.write("/bin/sh", "-c", "echo ready; echo x > /volume/x; echo x > /written; read line; echo over")
        self.command: subprocess.Popen[bytes] | None = None
        self.faults: list[str] = []

    def fault(self, name: str) -> None:
        self.double.fault(name)
        self.faults.append(name)

    def begin(self, command: str) -> None:
        pipe = subprocess.PIPE
        self.command = self.double.popen(self.bundle.argv(command, "c"), stdin=pipe, stdout=pipe, stderr=subprocess.STDOUT)

    def says(self, line: bytes) -> None:
        assert self.command and self.command.stdout
        got = self.command.stdout.readline()
        assert got == line, got + self.command.stdout.read()

    def tell(self) -> None:
        assert self.command and self.command.stdin
        self.command.stdin.write(b"go\n")
        self.command.stdin.flush()

    def run(self) -> None:
        self.begin("run")
        self.says(b"ready\n")

    # -- steps: each returns when the container has come there

    def creating(self) -> None:
        self.fault("create-hangs")
        self.begin("create")
        until((self.double.directory / "hung").exists)

    def created(self) -> None:
        self.begin("run")
        until(lambda: b"status=running" in self.record() or b"status=created" in self.record())

    def running(self) -> None:
        self.run()

    def writing_back(self) -> None:
        self.fault("no-late-shares")
        self.run()
        self.tell()
        self.says(b"over\n")
        until(lambda: len(self.children()) == 2)

    def ending(self) -> None:
        self.run()
        self.tell()
        self.says(b"over\n")

    def paused(self) -> None:
        self.run()
        assert self.bundle.runx("pause", "c").returncode == 0

    def being_killed(self) -> None:
        """The guest has been told of KILL, and has not ended."""
        self.fault("no-late-shares")
        self.run()
        assert self.bundle.runx("kill", "c", "KILL").returncode == 0
        until(lambda: len(self.children()) == 2)

    # -- processes, by their pids in the double

    def record(self) -> bytes:
        try:
            return (self.bundle.state / "c/record").read_bytes()
        except FileNotFoundError:
            return b""

    def supervisor(self) -> int:
        (line,) = [line for line in self.record().splitlines() if line.startswith(b"pid=")]
        return int(line.partition(b"=")[2])

    def children(self) -> list[int]:
        """Servers of shares, the one for the end last."""
        pid = self.supervisor()
        found = self.double.run(["cat", f"/proc/{pid}/task/{pid}/children"]).stdout.split()
        names = {int(child): self.double.run(["cat", f"/proc/{child.decode()}/comm"]).stdout for child in found}
        return sorted(child for child, name in names.items() if not name.startswith(b"xl"))

    def server(self) -> int:
        return self.children()[0]

    def server_of_the_layer(self) -> int:
        return self.children()[1]

    def foreground(self) -> int:
        """`runx run`, or `runx create` before it has ended."""
        return self.create()

    def xl(self) -> int:
        return int((self.double.directory / "hung").read_text())

    def create(self) -> int:
        assert self.command
        # nsenter's child in the double
        (child,) = Path(f"/proc/{self.command.pid}/task/{self.command.pid}/children").read_text().split()
        return int(Path(f"/proc/{child}/status").read_text().split("NSpid:")[1].splitlines()[0].split()[-1])


@pytest.fixture(scope="module")
def before(double: Double, netconf: str, tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What there is when a container has been: directories that all share stay."""
    bundle = Bundle(double, tmp_path_factory.mktemp("before"))
    life = Life(double, bundle, netconf)
    life.run()
    life.tell()
    assert life.command
    life.command.communicate(timeout=LIMIT_S)
    return left(double)


@pytest.fixture
def life(double: Double, bundle: Bundle, netconf: str) -> Iterator[Life]:
    made = Life(double, bundle, netconf)
    yield made
    for fault in made.faults:
        double.no_fault(fault)
    (double.directory / "hung").unlink(missing_ok=True)
    if made.command and made.command.poll() is None:
        made.command.kill()
        made.command.wait()


def nothing_is_left(double: Double, bundle: Bundle, before: list[str]) -> None:
    """Wait until dom0 is as it was before. Raises AssertionError with what is left."""
    deadline = time.monotonic() + GONE_S
    while more := sorted(set(left(double)) - set(before)):
        assert time.monotonic() < deadline, more
    assert not bundle.state.exists() or os.listdir(bundle.state) == []


def is_over(bundle: Bundle) -> bool:
    """Whether the container is stopped, or `runx run` has deleted it already."""
    state = bundle.runx("state", "c")
    return b'"stopped"' in state.stdout.replace(b" ", b"") or b"does not exist" in state.stderr


def log(bundle: Bundle) -> bytes:
    return (bundle.directory / "log").read_bytes()
