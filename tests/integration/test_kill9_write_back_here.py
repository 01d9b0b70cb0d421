"""The end of a container whose changes are being written back, cut off in the middle: by SIGKILL, by commands, by Xen.

Nothing hangs, even if the server of the share does; nothing is left; and nothing of what the container wrote is lost.
"""

import hashlib
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from lives import Life, before, life, log, nothing_is_left  # noqa: F401
from runx.exec.ninep.export_names import SCRATCH
from runxtools.double.host import Double
from runxtools.testing.bundles import Bundle
from runxtools.testing.containers import LIMIT_S, until

DIRECTORIES = 10
FILES = DIRECTORIES * 21
WRITE = f"""
for d in $(seq {DIRECTORIES}); do
    mkdir /many$d
    dd if=/dev/urandom of=/many$d/big bs=100k count=1 2> /dev/null
    for f in $(seq 20); do echo $d $f > /many$d/$f; done
done
echo ready
read line
"""
SUM = "find / -xdev -path '/many*' -type f | sort | xargs cat | md5sum"


class Ending:
    """A container whose server of the layer is stopped (SIGSTOP) when a thread of it has given so many entries their names: as if
    its disk did not answer. With strace(1) each request is slow, and has a thread of its own."""

    def __init__(self, life: Life, double: Double, bundle: Bundle) -> None:  # noqa: F811
        self.life, self.double, self.directory, self.root = life, double, bundle.directory, bundle.directory / "rootfs"
        bundle.write("/bin/sh", "-c", WRITE)

    def stop_after(self, entries: int) -> None:
        self.life.run()
        calls, log = "renameat,renameat2", self.directory / "strace"
        words = ["-e", f"trace={calls}", "-e", f"inject={calls}:signal=STOP:when={entries}", "-p", self._supervisor()]
        with subprocess.Popen(["strace", "-f", "-qq", "-o", str(log), *words], stderr=subprocess.DEVNULL) as tracer:
            try:
                until(lambda: self._is_traced(tracer.pid))
                self.life.tell()
                until(lambda: "stopped by SIGSTOP" in log.read_text())
            finally:
                tracer.kill()
        assert len(self.made()) < FILES
        assert self.made() or entries < 3, "the first names are of directories"

    def _supervisor(self) -> str:
        self.supervisor = host_pid(self.double, self.life.supervisor())
        return str(self.supervisor)

    def _is_traced(self, tracer: int) -> bool:
        return f"TracerPid:\t{tracer}\n" in Path(f"/proc/{self.supervisor}/status").read_text()

    def made(self) -> list[Path]:
        """Files and directories that the host has."""
        return sorted(self.root.glob("many*/*"))

    def sum(self) -> str:
        """As SUM in the container."""
        found = hashlib.md5(usedforsecurity=False)
        for path in self.made():
            found.update(path.read_bytes())
        return found.hexdigest()


def host_pid(double: Double, pid: int) -> int:
    """The pid outside of the double."""
    space = os.readlink(f"/proc/{double.pid}/ns/pid")
    for status in Path("/proc").glob("[0-9]*/status"):
        try:
            numbers = status.read_text().split("NSpid:")[1].splitlines()[0].split()
            if int(numbers[-1]) == pid and os.readlink(status.parent / "ns/pid") == space:
                return int(numbers[0])
        except OSError:
            continue
    raise AssertionError(f"there is no process {pid} in the double")


@pytest.fixture
def ending(life: Life, double: Double, bundle: Bundle) -> Iterator[Ending]:  # noqa: F811
    made = Ending(life, double, bundle)
    yield made


ACTS = {
    "the server is killed": 'kill -9 "$server"',
    "the supervisor is killed": 'kill -9 "$supervisor"',
    "both are killed": 'kill -9 "$server" "$supervisor"',
    "the machine goes": "xl destroy $(xl list | tail -n 1 | cut -d ' ' -f 1)",
    "kill": "$runx kill c KILL",
    "delete": "$runx delete --force c",
}
"""What happens then, as scripts in dom0."""


@pytest.mark.skipif(not shutil.which("strace"), reason="strace is not installed")
@pytest.mark.parametrize(("act", "entries"), [*((act, 15) for act in ACTS), ("both are killed", 2)])
def test_nothing_is_lost(
    before: list[str],  # noqa: F811
    ending: Ending,
    double: Double,
    bundle: Bundle,
    act: str,
    entries: int,
) -> None:
    ending.stop_after(entries)
    runx = " ".join(bundle.argv("delete")[:-1])
    pids = {"server": ending.life.server_of_the_layer(), "supervisor": ending.life.supervisor()}
    words = [f"runx={runx!r}", *(f"{name}={pid}" for name, pid in pids.items())]
    done = double.run(["sh", "-c", "; ".join(words) + "; " + ACTS[act]], timeout=LIMIT_S)
    assert done.stderr == b"", done
    removed = bundle.runx("delete", "--force", "c")
    assert (removed.returncode, removed.stderr) == (0, b"")
    assert ending.life.command
    ending.life.command.communicate(timeout=LIMIT_S)
    nothing_is_left(double, bundle, before)
    # The next start has all that was written, and the host's root filesystem after its end.
    assert b"is destroyed" not in log(bundle), "the guest does not wait for a server that does not answer"
    found = bundle.sh(f"{SUM}; ls -A / | grep runx")
    expected = found.stdout.decode().split()[0]
    assert found.returncode == 1 and found.stdout.count(b"\n") == 1, found
    assert len(ending.made()) == FILES
    assert ending.sum() == expected
    assert not (ending.root / SCRATCH).exists()
