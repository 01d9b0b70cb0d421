"""docker in the lab: its daemon with dom0's containerd, and what tests/shared has for it."""

import json
from collections.abc import Iterator

import pytest

from engine_network_tests import *  # noqa: F403
from engine_tests import *  # noqa: F403
from engine_tests import IMAGE
from runxtools import ociimage
from runxtools.lab.lab import Lab
from runxtools.testing.containers import LIMIT_S, RUNX, removed, until

_HOME = "/var/lib/docker-test"
_START = """
set -e
mkdir -p "$1"
cat > "$1/daemon.json"
iptables-save > "$1/rules" && ip6tables-save > "$1/rules6"
dockerd --config-file "$1/daemon.json" > "$1/log" 2>&1 < /dev/null &
until docker version > /dev/null 2>&1; do kill -0 $! || { cat "$1/log" >&2; exit 1; }; sleep 0.5; done
echo $!
"""
_END = """
set -e
kill "$2"
while kill -0 "$2" 2> /dev/null; do sleep 0.1; done
# docker leaves its bridge, its rules and the pin of dom0's network namespace.
ip link delete docker0
iptables-restore < "$1/rules" && ip6tables-restore < "$1/rules6"
for place in $(sed -n 's|^[^ ]* \\(/run/docker/[^ ]*\\) .*|\\1|p' /proc/mounts); do umount "$place"; done
rm -rf --one-file-system "$1" /run/docker
"""


@pytest.fixture(scope="module")
def dockerd(lab: Lab, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A daemon whose containers are runx's, with the test image."""
    if lab.run(["sh", "-c", "command -v dockerd"]).returncode:
        pytest.skip(f"dom0 of the lab {lab.kind.name} has no docker")
    settings = {
        "data-root": f"{_HOME}/data",
        "storage-driver": "overlay2",
        "exec-opts": ["native.cgroupdriver=cgroupfs"],
        "runtimes": {"runx": {"path": RUNX}},
        "default-runtime": "runx",
    }
    pid = lab.run(["sh", "-c", _START, "sh", _HOME], stdin=json.dumps(settings).encode(), check=True, timeout=LIMIT_S)
    directory = tmp_path_factory.mktemp("docker")
    lab.get("/bin/busybox", directory / "busybox")
    ociimage.write(directory / "image.tar", directory / "busybox", IMAGE)
    lab.put(directory / "image.tar", f"{_HOME}/image.tar")
    lab.run(["docker", "load", "-i", f"{_HOME}/image.tar"], check=True, timeout=LIMIT_S)
    yield
    lab.run(["sh", "-c", _END, "sh", _HOME, pid.stdout.decode().strip()], check=True, timeout=LIMIT_S)


@pytest.fixture
def engine(lab: Lab, dockerd: None) -> Iterator[list[str]]:
    """docker's command line. Whatever a test leaves is removed."""
    yield ["docker"]
    for container in lab.run(["docker", "ps", "-aq"], check=True, timeout=LIMIT_S).stdout.decode().split():
        removed(lab, ["docker"], container)


def test_a_volume(lab: Lab, engine: list[str]) -> None:
    """Two containers, one after the other, share a volume of docker's."""
    run = [*engine, "run", "--rm", "--network", "none", "--volume", "kept:/data", IMAGE, "/bin/sh", "-c"]
    first = lab.run([*run, "echo written > /data/file; exit 3"], timeout=LIMIT_S)
    assert first.returncode == 3, first.stderr
    second = lab.run([*run, "cat /data/file"], timeout=LIMIT_S)
    assert (second.returncode, second.stdout) == (0, b"written\n"), second.stderr
    lab.run([*engine, "volume", "rm", "kept"], check=True, timeout=LIMIT_S)


def test_what_a_killed_container_has_written_is_kept(lab: Lab, engine: list[str]) -> None:
    """Its root goes by disk, and what it writes lies in the memory of its guest for a while."""
    script = "cat /kept; i=0; while [ $i -lt 300 ]; do echo line$i >> /kept; i=$((i + 1)); done; echo wrote; exec sleep 1000"
    lab.run(
        [*engine, "run", "-d", "--name", "one", "--network", "none", IMAGE, "/bin/sh", "-c", script], check=True, timeout=LIMIT_S
    )

    def said() -> bytes:
        return lab.run([*engine, "logs", "one"], check=True, timeout=LIMIT_S).stdout

    def await_life(number: int) -> None:
        until(lambda: said().count(b"wrote\n") == number, said)

    for life in (1, 2):
        await_life(life)
        # docker waits ten seconds for the end, and calls it an error when that takes longer.
        lab.run([*engine, "kill", "one"], timeout=LIMIT_S)
        assert lab.run([*engine, "wait", "one"], check=True, timeout=LIMIT_S).stdout == b"137\n"
        lab.run([*engine, "start", "one"], check=True, timeout=LIMIT_S)
    await_life(3)
    # The second life has found the lines of one life, the third of two.
    assert said().count(b"line299\n") == 1 + 2
