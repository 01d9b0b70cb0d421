"""`ctr run -t`: a terminal in the guest, through ctr's own terminal."""

import shlex
import subprocess

from runxtools.machine import Machine
from runxtools.testing.containers import LIMIT_S, command


def test_a_terminal(host: Machine) -> None:
    # ctr sends the size after the process has started; before, the size is 0.
    script = """
        trap 'echo caught; exit 9' INT
        while size=$(stty size 2> /dev/null); [ -z "$size" ]; do sleep 0.1; done
        echo $size; tty; echo ready; read line; echo got $line
        while :; do sleep 1; done
    """
    ctr = shlex.join(command(["/bin/sh", "-c", script], ["-t"]))
    process = host.popen(
        ["sh", "-c", f"stty rows 40 cols 100 -onlcr; exec {ctr}"],
        tty=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert process.stdin is not None
    assert process.stdout is not None
    seen = b""

    def until(text: bytes) -> None:
        nonlocal seen
        assert process.stdout is not None
        while text not in seen:
            data = process.stdout.read(4096)
            assert data, seen
            seen += data

    until(b"ready\r\n")
    assert b"40 100\r\n/dev/pts/0\r\n" in seen
    process.stdin.write(b"hello\r")
    process.stdin.flush()
    until(b"got hello\r\n")
    assert b"hello\r\n" in seen, "the guest's terminal echoes"
    process.stdin.write(b"\x03")
    process.stdin.flush()
    until(b"caught\r\n")
    assert process.wait(LIMIT_S) == 9
