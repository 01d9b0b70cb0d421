"""SIGKILL before any system call of `create`, its supervisor, `start` and `delete`: `delete --force` removes the rest.

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
from verbhost import Host

CALLS = "mkdir,rename,unlink,rmdir,flock,write,clone,clone3,vfork,fork,wait4,kill,pidfd_send_signal,bind,listen,connect,close"
POINTS = int(os.environ.get("RUNX_KILL_POINTS", "4"))

traced = pytest.mark.skipif(
    not shutil.which("strace") or bool(subprocess.run(["strace", "-qqo/dev/null", "true"], capture_output=True).returncode),
    reason="strace is not installed, or may not trace",
)


def strace(log: Path, when: int = 0) -> list[str]:
    """Words of strace that count the calls, or kill before the one with number `when`."""
    kill = ["-e", f"inject={CALLS}:signal=KILL:when={when}"] if when else []
    return ["strace", "-qq", "-o", str(log), "-e", f"trace={CALLS}", "-e", "signal=none", *kill]


def points(log: Path) -> list[int]:
    """Numbers of calls to die before, from 1; only those since runx itself began to change something."""
    calls = [line for line in log.read_text().splitlines() if re.match(r"\w+\(", line)]
    first = next((n for n, call in enumerate(calls, 1) if not call.startswith(("close", "flock"))), 1)
    numbers = range(first, len(calls) + 1)
    assert len(numbers) >= 3, "traced nothing"
    step = max(1.0, len(numbers) / POINTS)
    return sorted({numbers[min(int(n * step), len(numbers) - 1)] for n in range(min(POINTS, len(numbers)))})


def traced_verb(host: Host, log: Path, when: int, *words: str) -> int:
    with (host.bundle / "err").open("wb") as err:
        argv = [*strace(log, when), *host.argv(*words)]
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
    assert traced_verb(host, log, 0, *words) == 0
    everything_goes(host)
    for when in points(log)[:-1]:  # the last may not come: how often something is read or closed varies a little
        assert traced_verb(host, log, when, *words) != 0
        everything_goes(host)
        host.create()  # the id is free
        everything_goes(host)


@traced
def test_supervisor_killed(host: Host, tmp_path: Path) -> None:
    log, program = tmp_path / "strace", host.program
    verbs = (["create", "--bundle", str(host.bundle), "c"], ["start", "c"], ["kill", "c", "TERM"], ["kill", "c", "KILL"])

    def life(when: int) -> None:
        host.program = program
        host.supervise_through(*strace(log, when))
        for verb in verbs:
            with (host.bundle / "out").open("wb") as out:
                subprocess.run(host.argv(*verb), env=host.xen.environment(), stdout=out, stderr=out, timeout=90)
            assert b"Traceback" not in (said := (host.bundle / "out").read_bytes()) and b"internal error" not in said, said

    life(0)
    host.await_status("stopped")
    everything_goes(host)
    for when in points(log)[:-1]:
        life(when)
        assert log.read_text().splitlines()[-1].endswith("= ?"), "it was killed in a call"
        everything_goes(host)


@traced
@pytest.mark.parametrize("verb", [["start", "c"], ["delete", "--force", "c"]])
def test_a_fast_verb_killed(host: Host, tmp_path: Path, verb: list[str]) -> None:
    log = tmp_path / "strace"
    host.create()
    assert traced_verb(host, log, 0, *verb) == 0
    everything_goes(host)
    for when in points(log):
        host.create()
        traced_verb(host, log, when, *verb)
        everything_goes(host)


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
