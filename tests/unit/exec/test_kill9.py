"""SIGKILL before any system call of `create`, its supervisor, `start`, `kill` and `delete`: `delete --force` removes the rest.

strace(1) kills: nothing of the product knows of it. Every call that changes something or starts something is a point; as many
of them as a run has time for are tried, spread evenly. RUNX_KILL_POINTS=1000 tries all.
"""

import os
import random
import re
import shutil
import subprocess
import time
from pathlib import Path

import pytest

from commandhost import Host

CALLS = "mkdir,rename,unlink,rmdir,flock,write,clone,clone3,vfork,fork,wait4,kill,pidfd_send_signal,bind,listen,connect,close"
POINTS = int(os.environ.get("RUNX_KILL_POINTS", "4"))
VARIES = "how many calls there are varies, but not that much"

traced = pytest.mark.skipif(
    not shutil.which("strace") or bool(subprocess.run(["strace", "-qqo/dev/null", "true"], capture_output=True).returncode),
    reason="strace is not installed, or may not trace",
)


Point = tuple[str, int]
"""A system call by name, and which of its calls: strace counts each system call by itself."""


def strace(log: Path, at: Point | None = None) -> list[str]:
    """Words of strace that list the calls, or kill before one of them."""
    kill = ["-e", f"inject={at[0]}:signal=KILL:when={at[1]}"] if at else []
    return ["strace", "-qq", "-o", str(log), "-e", f"trace={CALLS}", "-e", "signal=none", *kill]


def points(log: Path) -> list[Point]:
    """Where to kill: as many as there is time for, from where something is changed for the first time."""
    names = re.findall(r"^(\w+)\(", log.read_text(), re.MULTILINE)
    calls = [(name, names[: n + 1].count(name)) for n, name in enumerate(names)]
    calls = calls[next(n for n, name in enumerate(names) if name not in ("close", "flock")) :]
    assert len(calls) >= 3, "traced nothing"
    return calls[:: max(1, len(calls) // POINTS)]


def was_killed(log: Path) -> bool:
    return log.read_text().splitlines()[-1].endswith("= ?")


def traced_command(host: Host, log: Path, at: Point | None, *words: str) -> int:
    with (host.bundle / "err").open("wb") as err:
        argv = [*strace(log, at), *host.argv(*words)]
        return subprocess.run(
            argv, env=host.xen.environment(), stdin=subprocess.DEVNULL, stdout=err, stderr=err, timeout=90
        ).returncode


def everything_goes(host: Host) -> None:
    result = host.runx("delete", "--force", "c")
    assert (result.returncode, result.stderr) == (0, "")
    host.nothing_left()
    host.await_no_process()
    host.nothing_left()  # nor has anything come back


@traced
def test_create_killed(host: Host, tmp_path: Path) -> None:
    words = ["create", "--bundle", str(host.bundle), "c"]
    log = tmp_path / "strace"
    host.create()  # Python has written its byte code then
    everything_goes(host)
    assert traced_command(host, log, None, *words) == 0
    everything_goes(host)
    tried = points(log)
    killed = 0
    for at in tried:
        traced_command(host, log, at, *words)
        killed += was_killed(log)
        everything_goes(host)
        host.create()  # the id is free
        everything_goes(host)
    assert killed >= len(tried) * 0.7, VARIES


@traced
def test_supervisor_killed(host: Host, tmp_path: Path) -> None:
    log, program = tmp_path / "strace", host.program
    commands = (["create", "--bundle", str(host.bundle), "c"], ["start", "c"], ["kill", "c", "TERM"], ["kill", "c", "KILL"])

    def life(at: Point | None) -> None:
        host.program = program
        host.supervise_through(*strace(log, at))
        for command in commands:
            with (host.bundle / "out").open("wb") as out:
                subprocess.run(host.argv(*command), env=host.xen.environment(), stdout=out, stderr=out, timeout=90)
            assert b"Traceback" not in (said := (host.bundle / "out").read_bytes()) and b"internal error" not in said, said

    life(None)
    host.await_status("stopped")
    everything_goes(host)
    tried = points(log)
    killed = 0
    for at in tried:
        life(at)
        killed += was_killed(log)
        everything_goes(host)
    assert killed >= len(tried) * 0.7, VARIES


@traced
@pytest.mark.parametrize("command", [["start", "c"], ["kill", "c", "KILL"], ["delete", "--force", "c"]])
def test_a_fast_command_killed(host: Host, tmp_path: Path, command: list[str]) -> None:
    log = tmp_path / "strace"
    host.create()
    assert traced_command(host, log, None, *command) == 0
    everything_goes(host)
    tried = points(log)
    killed = 0
    for at in tried:
        host.create()
        traced_command(host, log, at, *command)
        killed += was_killed(log)
        everything_goes(host)
    assert killed >= len(tried) * 0.7, VARIES


def test_killed_at_any_time(host: Host) -> None:
    """Without strace: after random times, the same in each run."""
    times = random.Random(7)
    for _ in range(6):
        create = host.popen("create", "--bundle", str(host.bundle), "c")
        time.sleep(times.uniform(0.02, 1.0))
        create.kill()
        create.wait()
        assert create.stderr is not None
        create.stderr.close()
        everything_goes(host)
