"""The processes of `create`: a supervisor that waits never outlives a failure, and no stranger's code is loaded."""

import json
import os
import select
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from commandhost import Host
from runx.exec.container.record import Record, claim
from runx.exec.supervisor.launch import SupervisorProcess

CHECKOUT = Path(__file__).parents[3]


@pytest.fixture
def record(tmp_path: Path) -> Record:
    return claim(str(tmp_path / "state"), "c", "/bundle")


@pytest.fixture
def supervisor(record: Record) -> Iterator[SupervisorProcess]:
    supervisor = SupervisorProcess(record)
    yield supervisor
    supervisor.call_off()


def ended(pidfd: int) -> bool:
    poller = select.poll()
    poller.register(pidfd, select.POLLIN)
    return bool(poller.poll(30_000))


def test_the_supervisor_does_nothing_before_go(supervisor: SupervisorProcess, record: Record) -> None:
    before = Path(record.directory, "record").read_text()
    pidfd = os.pidfd_open(supervisor.pid)
    supervisor.call_off()
    assert ended(pidfd)
    with pytest.raises(ChildProcessError):
        os.waitpid(supervisor.pid, os.WNOHANG)
    assert Path(record.directory, "record").read_text() == before
    supervisor.call_off()  # again: nothing, above all no signal to a process that took its number


def test_a_killed_create_takes_the_waiting_supervisor_along(record: Record) -> None:
    program = (
        f"import os, signal, sys; sys.path[:0] = [{str(CHECKOUT)!r}]; from runx.exec.supervisor.launch import SupervisorProcess; "
        f"from runx.exec.container.record import Record; "
        f"print(SupervisorProcess(Record({record.directory!r})).pid, flush=True); signal.pause()"
    )
    with subprocess.Popen([sys.executable, "-I", "-S", "-c", program], stdout=subprocess.PIPE, text=True) as create:
        assert create.stdout is not None
        pidfd = os.pidfd_open(int(create.stdout.readline()))
        create.kill()
    assert ended(pidfd)


def test_neither_plugins_nor_package_metadata_are_looked_at(tmp_path: Path) -> None:
    """A plugin that is there would be code of others in the process that decides what runs as root."""
    plugin = tmp_path / "plugin"
    metadata = plugin / "stranger-1.dist-info"
    metadata.mkdir(parents=True)
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text("[pydantic]\nstranger = stranger:plugin\n")
    (plugin / "stranger.py").write_text("plugin = None\n")
    bundle = tmp_path / "bundle"
    (bundle / "rootfs").mkdir(parents=True)
    (bundle / "config.json").write_text((CHECKOUT / "tests/cases/minimal/config.json").read_text())
    program = (
        f"import sys; sys.path[:0] = {[str(plugin), *sys.path]!r}\n"
        "from runx.exec.commands import create\n"
        "from runx.exec.container.record import claim\n"
        f"state, bundle = {str(tmp_path / 'state')!r}, {str(bundle)!r}\n"
        "try: create._compile_into(claim(state, 'c', 'b'), state, create.CreateOptions(bundle, create.Log('', False)))\n"
        "finally: import json; print(json.dumps(sorted(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-I", "-S", "-c", program], capture_output=True, text=True)
    loaded = json.loads(result.stdout)
    assert "runx.compiler.model.plan" in loaded
    assert not {"stranger", "importlib.metadata"} & set(loaded), result.stderr


def test_a_pidfd_of_the_supervisor_for_the_caller(host: Host) -> None:
    """As runc's of the container's first process: engines wait for it, and signal it."""
    path = str(host.bundle / "pidfd.sock")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        with (host.bundle / "out").open("wb") as out:  # the test's pipes would not end
            argv = host.argv("create", "--bundle", str(host.bundle), "--pidfd-socket", path, "c")
            assert subprocess.run(argv, env=host.xen.environment(), stdout=out, stderr=out, timeout=60).returncode == 0
        with listener.accept()[0] as connection:
            text, (pidfd,), _, _ = socket.recv_fds(connection, 64, 1)
    try:
        assert text == b"standard"
        told = Path(f"/proc/self/fdinfo/{pidfd}").read_text()
        assert f"\nPid:\t{host.state()['pid']}\n" in told
        ended = select.poll()
        ended.register(pidfd, select.POLLIN)
        assert not ended.poll(0)
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
        assert ended.poll(60_000)
    finally:
        os.close(pidfd)
    result = host.runx("create", "--bundle", str(host.bundle), "--pidfd-socket", "/no/such", "d")
    assert (result.returncode, result.stderr.splitlines()[0]) == (1, "runx: --pidfd-socket /no/such: no such file or directory")
    assert host.runx("delete", "--force", "c").returncode == 0
    host.nothing_left()
