"""KILL of a container in a real guest: what it has written to its disk is kept, however it is killed (docs/executor.md)."""

import subprocess
from collections.abc import Callable, Iterator

import pytest

from root_tests import DISK, Kept
from runxtools.lab.lab import Lab
from runxtools.testing.containers import LIMIT_S

_LINES = 300
_WRITES = f"""
cat /kept 2> /dev/null
i=0; while [ $i -lt {_LINES} ]; do echo line$i >> /kept; i=$((i + 1)); done
echo wrote
"""
"""Prints what earlier lives have written, and writes as much once more."""
_MEMORY = ("--memory-limit", str(64 << 20))

Start = Callable[..., Kept]


@pytest.fixture
def made(lab: Lab) -> Iterator[Start]:
    """Make containers with a root by disk, which are started several times."""
    containers = []

    def make(then: str, *options: str) -> Kept:
        container = Kept(lab, _WRITES + then, *DISK, *options)
        containers.append(container)
        return container

    yield make
    for container in containers:
        container.remove()


def lives(container: Kept, kill: Callable[[], object]) -> tuple[int, int]:
    """Start the container, and kill it once it has written and what follows has begun: how many lines were there before, and its
    exit status."""
    argv = container.run
    if container.exists:
        argv = [
            "sh",
            "-c",
            'ctr task start "$1"; status=$?; ctr task delete "$1" > /dev/null 2>&1; exit $status',
            "sh",
            container.id,
        ]
    container.exists = True
    process = container.host.popen(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    assert process.stdout is not None
    found = 0
    while (line := process.stdout.readline()) != b"wrote\n":
        assert line.startswith(b"line"), line
        found += 1
    kill()
    process.communicate(timeout=LIMIT_S)
    return found, process.returncode


@pytest.mark.parametrize("words", [("kill", "-s", "KILL"), ("pause",)], ids=["running", "paused"])
def test_what_a_killed_container_has_written_is_kept(lab: Lab, made: Start, words: tuple[str, ...]) -> None:
    container = made("exec sleep 1000")

    def kill() -> None:
        for task in dict.fromkeys([words, ("kill", "-s", "KILL")]):
            lab.run(["ctr", "task", *task, container.id], check=True, timeout=LIMIT_S)

    assert [lives(container, kill) for _ in range(2)] == [(count * _LINES, 137) for count in range(2)]


def test_it_is_kept_when_there_is_no_memory_left(lab: Lab, made: Start) -> None:
    """The kernel ends one process after the other, which takes all its time."""
    container = made("while :; do tail /dev/zero 2> /dev/null & tail /dev/zero 2> /dev/null; done", *_MEMORY)

    def kill() -> None:
        lab.run(["sleep", "5"], check=True)
        lab.run(["ctr", "task", "kill", "-s", "KILL", container.id], check=True, timeout=LIMIT_S)

    assert [lives(container, kill) for _ in range(2)] == [(0, 137), (_LINES, 137)]


def test_a_guest_that_does_not_answer_is_destroyed(lab: Lab, made: Start) -> None:
    """Its processors stand still, which runx does not know."""
    container = made("exec sleep 1000")

    def kill() -> None:
        script = f"xl pause $(xl list | grep -o 'runx-{container.id}[^ ]*') && ctr task kill -s KILL {container.id}"
        lab.run(["sh", "-c", script], check=True, timeout=LIMIT_S)

    assert lives(container, kill) == (0, 137)


_LARGE = """
[ ! -e /large ] || { md5sum < /large; exit 7; }
dd if=/dev/urandom of=/large bs=1M count=24 2> /dev/null
md5sum < /large
"""
_STOP = """
root=$(ctr snapshot mounts /mnt "$1" | grep -o 'upperdir=[^,]*' | cut -d = -f 2)
until [ -e "$root/.runx-layer/new" ]; do :; done
kill -STOP $(pgrep -f "^runx-shares $1\\$")
ln "/run/containerd/io.containerd.runtime.v2.task/default/$1/log.json" "/run/$1.log"
"""
"""Stop the server to which the guest writes what the container has written, in the middle of that. Keep runx's log."""


@pytest.mark.parametrize("how", ["its server is killed", "the container is killed"])
def test_what_was_not_written_back_is_kept(lab: Lab, how: str) -> None:
    """The guest's process waits for an answer that does not come, and KILL does not end it."""
    container = Kept(lab, _LARGE, *DISK)
    try:
        container.exists = True
        process = lab.popen(container.run, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert process.stdout is not None
        written = process.stdout.readline()
        lab.run(["sh", "-c", _STOP, "sh", container.id], check=True, timeout=LIMIT_S)
        if how == "its server is killed":
            lab.run(["pkill", "-KILL", "-f", f"^runx-shares {container.id}$"], check=True)
        else:
            lab.run(["ctr", "task", "kill", "-s", "KILL", container.id], check=True, timeout=LIMIT_S)
        process.communicate(timeout=LIMIT_S)
        log = lab.run(["sh", "-c", f"cat /run/{container.id}.log; rm /run/{container.id}.log"], check=True).stdout
        assert b"its layer stays" in log
        assert b"is destroyed" not in log, "the guest ends by itself within kill.end_timeout of runx.toml(5)"
        again = container.start()
        assert (again.returncode, again.stdout) == (7, written), again.stderr
        assert container.change("md5sum < large") == written, "it has come to the host since"
    finally:
        container.remove()
