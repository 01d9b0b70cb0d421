"""conmon as cri-o drives it (cri-o, internal/oci/runtime_oci.go): the namespaces of a pod are pinned to files."""

import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from runxtools.double.host import Double
from runxtools.testing.bundles import LIMIT_S, Bundle
from runxtools.testing.containers import RUNX, new_id

KINDS = ("ipc", "uts", "net")
ANNOTATIONS = {"io.kubernetes.cri-o.ContainerType": "container", "io.kubernetes.cri-o.SandboxID": "f" * 64}


class Conmon:
    """One container of a pod."""

    def __init__(self, double: Double, directory: Path) -> None:
        self.host = double
        self.id = new_id()
        self.directory = directory
        for name in ("bundle", "exits", "persist", "attach", "pins"):
            (directory / name).mkdir()
        self.bundle = Bundle(double, directory / "bundle")
        for kind in KINDS:
            (directory / "pins" / kind).touch()
        pins = [f"--{kind}={directory}/pins/{kind}" for kind in KINDS]
        double.run(["unshare", *pins, "ip", "link", "set", "lo", "up"], check=True)
        self.cgroup = f"/kubepods-{self.id}/crio-{self.id}"
        config = self.bundle.config
        config["annotations"] = ANNOTATIONS
        config["linux"]["cgroupsPath"] = self.cgroup
        config["linux"]["namespaces"] = [
            *({"type": kind} for kind in ("pid", "mount", "cgroup")),
            *({"type": {"net": "network"}.get(kind, kind), "path": f"{directory}/pins/{kind}"} for kind in KINDS),
        ]

    def create(self, *options: str) -> dict[str, object]:
        """What conmon says of it."""
        said, report = os.pipe()
        begin, go = os.pipe()
        here = self.directory
        argv = [
            "env", f"_OCI_SYNCPIPE={report}", f"_OCI_STARTPIPE={begin}",
            "conmon", "-b", f"{here}/bundle", "-c", self.id, "--exit-dir", f"{here}/exits", "-l", f"{here}/out",
            "--log-level", "info", "-n", "k8s_c", "-P", f"{here}/conmon", "-p", f"{here}/pidfile",
            "--persist-dir", f"{here}/persist", "-r", RUNX, "--runtime-arg", f"--root={here}/state",
            "--socket-dir-path", f"{here}/attach", "--syslog", "-u", self.id, *options,
        ]  # fmt: skip
        with self.host.popen(argv, stdin=subprocess.DEVNULL, pass_fds=(report, begin)) as process:
            os.close(report)
            os.close(begin)
            os.write(go, b"\0")
            assert process.wait(LIMIT_S) == 0
        os.close(go)
        with open(said, encoding="utf-8") as file:
            found: dict[str, object] = json.loads(file.readline())
        return found

    def runx(self, command: str, *words: str) -> "subprocess.CompletedProcess[bytes]":
        return self.host.run([RUNX, "--root", f"{self.directory}/state", command, *words], timeout=LIMIT_S)

    def exit_status(self) -> int:
        """What conmon writes down when it has ended."""
        path = self.directory / "exits" / self.id
        limit = time.monotonic() + LIMIT_S
        while not path.exists():
            assert time.monotonic() < limit
            time.sleep(0.02)
        return int(path.read_text())

    def output(self) -> list[str]:
        """Stream and text of the lines of the log (CRI's format)."""
        return [line.partition(" ")[2] for line in (self.directory / "out").read_text().splitlines()]


@pytest.fixture
def conmon(double: Double, tmp_path: Path) -> Iterator[Conmon]:
    made = Conmon(double, tmp_path)
    yield made
    assert made.runx("delete", "--force", made.id).returncode == 0
    double.run(["umount", *(f"{tmp_path}/pins/{kind}" for kind in KINDS)], check=True)
    assert not double.run(["sh", "-c", f"ls -d /sys/fs/cgroup{made.cgroup}"]).stdout
    assert len(double.run(["xl", "list"], check=True).stdout.splitlines()) == 2


def test_a_container_of_a_pod(double: Double, conmon: Conmon) -> None:
    conmon.bundle.write("/bin/sh", "-c", "echo out; echo err >&2; trap 'exit 7' TERM; while :; do sleep 0.1; done")
    created = conmon.create()
    assert isinstance(created["pid"], int) and created["pid"] > 0, created
    assert conmon.runx("start", conmon.id).returncode == 0
    limit = time.monotonic() + LIMIT_S
    while len(conmon.output()) < 2:
        assert time.monotonic() < limit
        time.sleep(0.02)
    assert sorted(conmon.output()) == ["stderr F err", "stdout F out"]
    pid = double.run(["cat", f"{conmon.directory}/pidfile"], check=True).stdout
    assert pid in double.run(["cat", f"/sys/fs/cgroup{conmon.cgroup}/cgroup.procs"], check=True).stdout.split()
    assert conmon.runx("kill", conmon.id, "TERM").returncode == 0
    assert conmon.exit_status() == 7


def test_a_program_that_is_not_there(conmon: Conmon) -> None:
    conmon.bundle.write("/no/such/program")
    assert "stat /no/such/program: no such file or directory" in str(conmon.create())


def test_a_program_that_the_guest_alone_finds_missing(conmon: Conmon) -> None:
    conmon.bundle.write("/dev/no-such-program")
    conmon.create()
    conmon.runx("start", conmon.id)
    assert conmon.exit_status() == 127
    assert any("no such file or directory" in line for line in conmon.output())


def test_what_cannot_be_is_said(conmon: Conmon) -> None:
    """cri-o shows what conmon has read of the runtime's standard error."""
    conmon.bundle.config["linux"]["namespaces"][-1]["path"] = "/proc/1/ns/net"
    conmon.bundle.write("true")
    created = conmon.create()
    assert created["pid"] == -1
    assert "network of the host" in str(created["message"])
