"""`runx console`: the log of a container's first console."""

import os
import pty
import subprocess
import time

from commandhost import Host


def test_what_there_is_byte_for_byte(host: Host) -> None:
    host.create()
    (host.root / "c" / "console.log").write_bytes(b"boot\r\n\x1b[31mred")
    argv = host.argv("console", "c")
    assert subprocess.run(argv, env=host.xen.environment(), capture_output=True).stdout == b"boot\r\n\x1b[31mred"


def test_following_ends_with_the_container(host: Host) -> None:
    host.create()
    log = (host.root / "c" / "console.log").open("ab", buffering=0)
    log.write(b"first\n")
    argv = host.argv("console", "--follow", "c")
    with subprocess.Popen(argv, env=host.xen.environment(), stdout=subprocess.PIPE) as following:
        assert following.stdout
        assert following.stdout.readline() == b"first\n"
        log.write(b"second\n")
        assert following.stdout.readline() == b"second\n"
        log.write(b"last\n")
        assert host.runx("kill", "c", "KILL").returncode == 0
        assert following.stdout.read() == b"last\n"
        assert following.wait(60) == 0
    host.await_status("stopped")
    result = host.runx("console", "--follow", "c")
    assert (result.stdout, result.returncode) == ("first\nsecond\nlast\n", 0), "an ended one is shown, not waited for"


def test_a_terminal_does_not_obey_the_guest(host: Host) -> None:
    host.create()
    (host.root / "c" / "console.log").write_bytes("grün\r\n\x1b]0;title\x07\tx\n".encode())
    master, slave = pty.openpty()
    done = subprocess.run(host.argv("console", "c"), env=host.xen.environment(), stdout=slave, timeout=60)
    os.close(slave)
    limit, shown = time.monotonic() + 10, b""
    while not shown.endswith(b"x\r\n"):
        assert time.monotonic() < limit
        shown += os.read(master, 1000)
    os.close(master)
    assert (done.returncode, shown.decode()) == (0, "grün\r\n\ufffd]0;title\ufffd\tx\r\n")


def test_no_console(host: Host) -> None:
    assert "does not exist" in host.runx("console", "c").stderr
    host.create()
    (host.root / "c" / "console.log").unlink()
    assert "no virtual machine yet" in host.runx("console", "c").stderr
    record = host.root / "c" / "record"
    record.write_text(record.read_text().replace("console=link", "console=passthrough"))
    result = host.runx("console", "c")
    assert (result.returncode, "is its standard output" in result.stderr) == (1, True)
