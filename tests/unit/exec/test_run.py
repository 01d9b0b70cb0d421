"""`runx run`, against a Xen of bookkeeping: waiting, signals, terminals, and that nothing is left behind."""

import contextlib
import fcntl
import os
import struct
import subprocess
import termios
from collections.abc import Iterator

from commandhost import Host


@contextlib.contextmanager
def running(host: Host, argv: list[str], **options: object) -> Iterator["subprocess.Popen[bytes]"]:
    """Start `runx run`, see its container running, and end it whatever happens."""
    with subprocess.Popen(argv, env=host.xen.environment(), **options) as process:  # type: ignore[call-overload]
        try:
            while host.runx("state", "c").returncode or host.state()["status"] != "running":
                assert process.poll() is None
            yield process
        finally:
            process.kill()


def test_run_waits_hands_signals_on_and_deletes(host: Host) -> None:
    command = host.argv("run", "--bundle", str(host.bundle), "c")
    with running(host, command) as process:
        assert host.runx("kill", "c", "KILL").returncode == 0
        assert process.wait(60) == 137
    host.nothing_left()
    keep = host.argv("run", "--keep", "--bundle", str(host.bundle), "c")
    host.xen.fault("unpause", "libxl: error: cannot unpause")
    result = subprocess.run(
        host.argv("run", "--bundle", str(host.bundle), "c"), env=host.xen.environment(), capture_output=True, text=True
    )
    assert (result.returncode, "cannot unpause" in result.stderr) == (1, True)
    host.nothing_left()
    (host.xen.directory / "faults" / "unpause").unlink()
    with running(host, keep) as process:
        (number,) = host.xen.domains()
        subprocess.run([str(host.xen.directory / "bin" / "xl"), "destroy", str(number)], check=True)
        assert process.wait(60) == 137
    assert host.state()["status"] == "stopped"


def test_run_detached(host: Host) -> None:
    with (host.bundle / "out").open("wb") as out:  # a pipe of the test's would not end before the container
        argv = host.argv("run", "--detach", "--pid-file", str(host.bundle / "pid"), "--bundle", str(host.bundle), "c")
        assert subprocess.run(argv, env=host.xen.environment(), stdout=out, stderr=out, timeout=60).returncode == 0
    state = host.state()
    assert (state["status"], state["pid"]) == ("running", int((host.bundle / "pid").read_text()))


def test_run_uses_our_terminal(host: Host) -> None:
    host.config["process"] |= {"terminal": True}  # type: ignore[operator]
    host.write_config()
    master, slave = os.openpty()
    fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 12, 34, 0, 0))
    before = termios.tcgetattr(slave)
    argv = host.argv("run", "--bundle", str(host.bundle), "c")
    with subprocess.Popen(
        argv, env=host.xen.environment(), stdin=slave, stdout=slave, stderr=slave, start_new_session=True
    ) as process:
        while host.runx("state", "c").returncode or host.state()["status"] != "running":
            assert process.poll() is None
        while termios.tcgetattr(slave)[3] & termios.ICANON:
            assert process.poll() is None
        supervisor = host.state()["pid"]
        with open(f"/proc/{supervisor}/fd/0", "rb", buffering=0) as terminal:
            assert struct.unpack("HHHH", fcntl.ioctl(terminal, termios.TIOCGWINSZ, bytes(8)))[:2] == (12, 34)
        assert host.runx("kill", "c", "KILL").returncode == 0
        assert process.wait(60) == 137
    assert termios.tcgetattr(slave) == before, "our terminal is as it was"
    os.close(master)
    os.close(slave)
    host.nothing_left()
