"""A host for runx: the fake Xen, a bundle, and assets that only exist."""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from runxtools.testing.fakexen import FakeXen


class Host:
    """A host with the fake Xen, a bundle, and runx."""

    def __init__(self, xen: FakeXen, directory: Path) -> None:
        self.xen = xen
        self.root = directory / "state"
        self.bundle = directory / "bundle"
        self.log = directory / "log"
        (self.bundle / "rootfs/bin").mkdir(parents=True)
        for name in ("true", "sh"):
            (self.bundle / "rootfs/bin" / name).touch(0o755)
        self.config = {
            "ociVersion": "1.0.2",
            "process": {"args": ["/bin/true"], "cwd": "/", "env": ["PATH=/bin"], "user": {"uid": 0, "gid": 0}},
            "root": {"path": "rootfs"},
            "annotations": {"org.example.key": 'a "value"'},
            "linux": {"namespaces": [{"type": "pid"}, {"type": "network"}, {"type": "mount"}]},
        }
        # The guest's files need only exist: no guest is booted.
        assets = directory / "assets"
        assets.mkdir()
        for name in ("kernel", "initrd", "block", "vif"):
            (assets / name).write_bytes(name.encode())
        self.library = list(sys.path)
        self.program = (
            f"import sys; sys.path[:0] = {sys.path!r}; from runx import paths; paths.assets_dir = lambda: {str(assets)!r}; "
            "from runx.cli.main import main, program; program()"
        )
        self.write_config()

    def write_config(self) -> None:
        (self.bundle / "config.json").write_text(json.dumps(self.config))

    def argv(self, *words: str) -> list[str]:
        """The command line of runx with these words. Skip the test if it creates a container and is not root."""
        if words[0] in ("create", "run") and os.geteuid():
            pytest.skip("namespaces and mounts need root")
        log = ["--log", str(self.log), "--log-format", "json"]
        return [sys.executable, "-I", "-S", "-c", self.program, "--root", str(self.root), *log, *words]

    def supervise_through(self, *tracer: str, patch: str = "") -> None:
        """Make supervisors run `patch` first, and trace them with these options of strace(1), if any, from now on.

        strace attaches to the process, as it must not inherit the supervisor's pipes, for whose end `create` waits.
        """
        wrapper = self.bundle.parent / "supervise"
        patch = f"import sys; sys.path[:0] = {sys.path!r}; {patch}\n"
        trace = (
            f"subprocess.Popen([*{list(tracer)!r}, '-p', str(os.getpid())], stdin=-3, stdout=-3, stderr=-3)\n"
            "while 'TracerPid:\\t0\\n' in open('/proc/self/status').read(): time.sleep(0.005)\n"
        )
        wrapper.write_text(
            f"#!{sys.executable} -IS\nimport os, subprocess, sys, time\nwords = sys.argv[1:]\n"
            f"words[words.index('-c') + 1] = {patch!r} + words[words.index('-c') + 1]\n"
            f"{trace if tracer else ''}os.execv({sys.executable!r}, [{sys.executable!r}, *words])\n"
        )
        wrapper.chmod(0o755)
        self.program = f"import sys; sys.executable = {str(wrapper)!r}; {self.program}"

    def processes(self) -> list[str]:
        """Command lines of all processes for containers of this host."""
        found = []
        for process in Path("/proc").glob("[0-9]*"):
            try:
                line = (process / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            except OSError:
                continue  # the process has ended
            if str(self.root) in line or str(self.xen.directory / "bin") in line:
                found.append(f"{process.name}: {line}")
        return found

    def await_no_process(self) -> None:
        limit = time.monotonic() + 60
        while left := self.processes():
            assert time.monotonic() < limit, left
            time.sleep(0.02)

    def popen(self, *words: str) -> "subprocess.Popen[str]":
        """Start runx; errors go to its stderr."""
        return subprocess.Popen(
            self.argv(*words),
            env=self.xen.environment(),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def runx(self, *words: str, **options: object) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            self.argv(*words), env=self.xen.environment(), capture_output=True, text=True, timeout=60, **options
        )  # type: ignore[call-overload, no-any-return]

    def create(self, container: str = "c") -> int:
        """Create a container of the bundle: the supervisor's pid. Its streams are files, as the test's pipes would not end."""
        with (self.bundle / "out").open("wb") as out, (self.bundle / "err").open("wb") as err:
            argv = self.argv("create", "--bundle", str(self.bundle), "--pid-file", str(self.bundle / "pid"), container)
            status = subprocess.run(
                argv, env=self.xen.environment(), stdin=subprocess.DEVNULL, stdout=out, stderr=err, timeout=60
            )
        assert status.returncode == 0, (self.bundle / "err").read_text()
        return int((self.bundle / "pid").read_text())

    def state(self, container: str = "c") -> dict[str, object]:
        result = self.runx("state", container)
        assert result.returncode == 0, result.stderr
        state: dict[str, object] = json.loads(result.stdout)
        return state

    def await_status(self, status: str, container: str = "c") -> None:
        limit = time.monotonic() + 60
        while self.state(container)["status"] != status:
            assert time.monotonic() < limit, f"the container never became {status}"
            time.sleep(0.02)

    def last_error(self) -> str:
        lines = [json.loads(line) for line in self.log.read_text().splitlines()]
        message: str = [line["msg"] for line in lines if line["level"] == "error"][-1]
        return message

    def nothing_left(self) -> None:
        assert not list(self.root.iterdir()) if self.root.exists() else True
        assert self.xen.domains() == {}
        assert not [node for node in self.xen.nodes if node.startswith("/local/domain/0/backend/console/")]
        assert str(self.root) not in Path("/proc/self/mounts").read_text()
