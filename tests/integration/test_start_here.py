"""`start` and what follows it at once, while the guest still boots. A startContainer hook makes that take a second."""

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from runxtools.double.host import Double
from runxtools.testing.bundles import LIMIT_S, Bundle

SLOW = [{"path": "/bin/sleep", "args": ["sleep", "1"]}]


@pytest.fixture
def bundle(double: Double, tmp_path: Path) -> Iterator[Bundle]:
    bundle = Bundle(double, tmp_path)
    bundle.config["hooks"] = {"startContainer": SLOW}
    yield bundle
    bundle.runx("delete", "--force", "c")


def create(bundle: Bundle, *args: str) -> None:
    """Create a container whose output goes to the file `out`."""
    bundle.write(*args)
    with (bundle.directory / "out").open("wb") as out:
        process = bundle.host.popen(bundle.argv("create", "c"), stdin=subprocess.DEVNULL, stdout=out, stderr=out)
        assert process.wait(LIMIT_S) == 0


def test_a_signal_soon_after_start_finds_the_handlers_of_the_process(bundle: Bundle) -> None:
    bundle.config["hooks"]["startContainer"] *= 2
    create(bundle, "/bin/sh", "-c", "sleep 0.5; trap 'echo caught; exit 3' TERM; while :; do sleep 0.1; done")
    bundle.runx("start", "c", check=True)
    time.sleep(1)  # the guest boots for two seconds
    bundle.runx("kill", "c", "TERM", check=True)
    bundle.await_stopped()
    assert (bundle.directory / "out").read_bytes() == b"caught\n"


def test_a_signal_that_nobody_handles_does_nothing(bundle: Bundle) -> None:
    """As under runc, where the process is PID 1 of its namespace."""
    create(bundle, "/bin/sh", "-c", "sleep 2; exit 3")
    bundle.runx("start", "c", check=True)
    bundle.runx("kill", "c", "USR1", check=True)
    bundle.await_stopped()
    assert "exit_status=3" in (bundle.state / "c" / "record").read_text()


def test_poststart_hooks_run_when_the_process_has_been_executed(bundle: Bundle) -> None:
    """OCI config.md, "Poststart": after the user-specified process is executed, before `start` returns."""
    place = bundle.directory / "rootfs/order"
    (bundle.directory / "rootfs").chmod(0o777)
    # The process has a second to write its line before the hook writes the second one.
    hook = f"sleep 1; echo hook >> {place}"
    bundle.config["hooks"]["poststart"] = [{"path": "/bin/sh", "args": ["sh", "-c", hook], "env": ["PATH=/bin:/usr/bin"]}]
    create(bundle, "/bin/sh", "-c", "echo process >> /order; sleep 1000")
    bundle.runx("start", "c", check=True)
    assert place.read_text() == "process\nhook\n"


def test_poststart_hooks_of_a_process_that_cannot_be_executed(bundle: Bundle) -> None:
    seen = bundle.directory / "seen"
    bundle.config["hooks"]["poststart"] = [{"path": "/bin/sh", "args": ["sh", "-c", f"cat > {seen}"], "env": ["PATH=/bin"]}]
    create(bundle, "/dev/nothing-of-that-name")  # below a mount, so create does not know
    began = time.monotonic()
    bundle.runx("start", "c", check=True)
    assert time.monotonic() - began < LIMIT_S / 2
    assert '"status": "stopped"' in seen.read_text()
    assert b"no such file or directory" in (bundle.directory / "out").read_bytes()
