"""Daemons of dom0 that end or are slow: xenconsoled and xenstored. No container ends for it."""

import json
import subprocess
import time
from collections.abc import Iterator

import pytest

from runxtools.double.host import Double
from runxtools.testing.bundles import LIMIT_S, Bundle
from runxtools.testing.containers import until

TALKS = """
trap 'echo told' TERM
echo ready
exec 3<&0
cat <&3 &
while kill -0 $! 2>/dev/null; do wait $!; done
exit 3
"""


def status(bundle: Bundle) -> str:
    return str(json.loads(bundle.runx("state", "c", check=True).stdout)["status"])


def domain(bundle: Bundle) -> int:
    name = "runx-c-"
    (line,) = [line for line in bundle.host.run(["xl", "list"], check=True).stdout.decode().splitlines() if name in line]
    return int(line.split()[1])


def supervisor_has(bundle: Bundle, path: str) -> bool:
    pid = json.loads(bundle.runx("state", "c", check=True).stdout)["pid"]
    return path in bundle.host.run(["sh", "-c", f"readlink /proc/{pid}/fd/*"]).stdout.decode().split()


def answers(process: "subprocess.Popen[bytes]", text: bytes) -> None:
    assert process.stdin and process.stdout
    process.stdin.write(text + b"\n")
    assert process.stdout.readline() == text + b"\n"


def test_an_xenconsoled_that_is_killed_and_runs_again(double: Double, bundle: Bundle) -> None:
    process = bundle.popen(TALKS)
    number = domain(bundle)
    node = ["xenstore-read", f"/local/domain/{number}/console/tty"]
    first = double.run(node, check=True).stdout.decode().strip()
    assert supervisor_has(bundle, first)
    double.order(number, "xenconsoled ends")
    until(lambda: not supervisor_has(bundle, first), lambda: "the supervisor keeps the pty of a process that has gone")
    answers(process, b"without xenconsoled")
    assert bundle.runx("pause", "c").returncode == bundle.runx("resume", "c").returncode == 0
    double.order(number, "xenconsoled begins")
    second = double.run(node, check=True).stdout.decode().strip()
    until(lambda: supervisor_has(bundle, second), lambda: "the supervisor does not hear the new xenconsoled")
    answers(process, b"with another one")
    assert process.communicate(timeout=LIMIT_S)[0] == b"" and process.returncode == 3


def test_a_container_that_ends_without_xenconsoled(double: Double, bundle: Bundle) -> None:
    process = bundle.popen(TALKS)
    double.order(domain(bundle), "xenconsoled ends")
    assert process.communicate(b"last\n", timeout=LIMIT_S) == (b"last\n", b"") and process.returncode == 3
    until(lambda: "runx-c-" not in double.run(["xl", "list"], check=True).stdout.decode())


@pytest.fixture
def slow(double: Double) -> Iterator[None]:
    yield
    double.no_fault("slow-xenstored")


@pytest.mark.usefixtures("slow")
def test_an_xenstored_that_is_slow(double: Double, bundle: Bundle) -> None:
    """Each command and event takes seconds then."""
    process = bundle.popen(TALKS)
    double.fault("slow-xenstored", "0.6")
    watched = double.popen(["xenstore-write", "/tool/something", "changed"])  # xenstored is busy from now on
    answers(process, b"meanwhile")
    assert status(bundle) == "running"
    assert bundle.runx("pause", "c").returncode == 0 and status(bundle) == "paused"
    assert bundle.runx("resume", "c").returncode == 0 and status(bundle) == "running"
    assert bundle.runx("kill", "c", "TERM").returncode == 0
    assert process.stdout and process.stdout.readline() == b"told\n"
    assert watched.wait(LIMIT_S) == 0
    time.sleep(2)
    assert status(bundle) == "running"
    answers(process, b"and then")
    assert process.communicate(timeout=2 * LIMIT_S)[0] == b"" and process.returncode == 3


@pytest.mark.usefixtures("slow")
def test_a_container_that_is_made_and_killed_while_xenstored_is_slow(double: Double, bundle: Bundle) -> None:
    double.fault("slow-xenstored", "0.1")
    process = bundle.popen(TALKS)
    assert bundle.runx("kill", "c", "KILL").returncode == 0
    process.communicate(timeout=LIMIT_S)
    assert process.returncode == 137
    until(lambda: "runx-c-" not in double.run(["xl", "list"], check=True).stdout.decode())
