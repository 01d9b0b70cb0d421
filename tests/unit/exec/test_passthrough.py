"""A container with a ramdisk of its own: hvc0 and the streams, against a Xen of bookkeeping whose guest is the test."""

import os
import select
import socket
import subprocess
import time
import tty
from collections.abc import Iterator
from pathlib import Path

import pytest

from commandhost import Host
from runx.exec.container import record as records

LIMIT_S = 60
CONTROL = "/local/domain/1/control"


class Guest:
    """The guest's end of hvc0, and the user's ends of the container's streams."""

    def __init__(self, host: Host) -> None:
        self.host = host
        (host.bundle / "rootfs/boot").mkdir()
        (host.bundle / "rootfs/boot/r").write_bytes(b"own ramdisk")
        host.config["process"]["env"].append("RUNX_RAMDISK=/boot/r")
        host.write_config()
        self.console, self.slave = os.openpty()
        tty.setraw(self.slave)
        os.set_blocking(self.console, False)
        # As xenconsoled publishes it; the first domain has number 1.
        host.xen.nodes["/local/domain/1/console/tty"] = os.ttyname(self.slave).encode()
        self.stdin = self.stdout = -1

    def create(self, *options: str) -> None:
        stdin, self.stdin = os.pipe()
        self.stdout, stdout = os.pipe()
        with (self.host.bundle / "err").open("wb") as err:
            argv = self.host.argv("create", "--bundle", str(self.host.bundle), *options, "c")
            status = subprocess.run(argv, env=self.host.xen.environment(), stdin=stdin, stdout=stdout, stderr=err, timeout=60)
        os.close(stdin)
        os.close(stdout)
        assert status.returncode == 0, self.errors()

    def start(self) -> None:
        self.create()
        assert self.host.runx("start", "c").returncode == 0

    def close(self) -> None:
        for fd in (self.console, self.slave, self.stdin, self.stdout):
            if fd >= 0:
                os.close(fd)

    def say(self, data: bytes) -> None:
        limit = time.monotonic() + LIMIT_S
        while data:
            assert select.select([], [self.console], [], limit - time.monotonic())[1], "the console is full"
            data = data[os.write(self.console, data) :]

    def said(self, size: int) -> bytes:
        """What arrives at the container's standard output."""
        return _read(self.stdout, size)

    def typed(self, size: int) -> bytes:
        """What arrives in the guest."""
        return _read(self.console, size)

    def errors(self) -> str:
        return (self.host.bundle / "err").read_text()

    def end(self, state: str = "---s--") -> int:
        """The guest ends; the container's exit status."""
        self.host.xen.shut_down(1, state)
        return self.status()

    def status(self) -> int:
        self.host.await_status("stopped")
        status = records.load(str(self.host.root), "c").exit_status
        assert status is not None
        return status


def _read(fd: int, size: int) -> bytes:
    data = b""
    limit = time.monotonic() + LIMIT_S
    while len(data) < size:
        assert select.select([fd], [], [], limit - time.monotonic())[0], f"only {data[:200]!r} came"
        more = os.read(fd, size - len(data))
        if not more:
            break
        data += more
    return data


@pytest.fixture
def guest(host: Host) -> Iterator[Guest]:
    guest = Guest(host)
    yield guest
    guest.close()


def test_nothing_is_injected(guest: Guest) -> None:
    (guest.host.bundle / "rootfs/link").symlink_to("/boot/r")
    guest.host.config["process"]["env"].append("RUNX_RAMDISK=link")
    guest.host.write_config()
    guest.create()
    state = guest.host.root / "c"
    # A copy, which the container cannot exchange: test_commands.py sees what is in it, and that it goes.
    assert f'ramdisk = "{state}/initrd"' in (state / "domain.cfg").read_text()
    assert not [node for node in guest.host.xen.nodes if node.endswith("console/1/1") or "device/console/1" in node]
    assert guest.host.runx("delete", "--force", "c").returncode == 0
    guest.host.nothing_left()


def test_a_ramdisk_outside_of_the_root_filesystem(guest: Guest) -> None:
    (guest.host.bundle / "rootfs/boot/r").unlink()
    (guest.host.bundle / "rootfs/boot/r").symlink_to(guest.host.bundle / "config.json")
    assert guest.host.runx("create", "-b", str(guest.host.bundle), "c").returncode == 1
    assert '"/boot/r" does not exist in the root filesystem' in guest.host.last_error()
    guest.host.nothing_left()


def test_a_ramdisk_of_the_host_is_used_where_it_is(guest: Guest) -> None:
    initrd = guest.host.bundle / "initrd"
    guest.host.config["vm"] = {"kernel": {"path": str(guest.host.bundle.parent / "assets/kernel"), "initrd": str(initrd)}}
    guest.host.write_config()
    result = guest.host.runx("create", "-b", str(guest.host.bundle), "c")
    assert (result.returncode, f'"{initrd}" does not exist on the host' in result.stderr) == (1, True)
    initrd.write_bytes(b"of the host")
    guest.create()
    assert f'ramdisk = "{initrd}"' in (guest.host.root / "c/domain.cfg").read_text()
    assert not (guest.host.root / "c/initrd").exists()


def test_the_console_is_the_streams(guest: Guest) -> None:
    guest.start()
    guest.say(b"hello\r\n\x00\xff")
    assert guest.said(9) == b"hello\r\n\x00\xff"
    os.write(guest.stdin, b"typed\n")
    assert guest.typed(6) == b"typed\n"
    os.close(guest.stdin)
    guest.stdin = -1
    guest.say(b"last words")
    assert guest.end() == 0, "it powered off"
    assert guest.said(100) == b"last words"
    assert guest.errors() == ""
    guest.host.runx("delete", "c")
    guest.host.nothing_left()


@pytest.mark.parametrize(("state", "word"), [("---sr-", "reboot"), ("---sc-", "crashed"), ("---sw-", "watchdog")])
def test_an_end_that_is_no_power_off_is_a_failure(guest: Guest, state: str, word: str) -> None:
    guest.start()
    assert guest.end(state) == 255
    assert guest.errors() == f"runx: the virtual machine did not power off, it ended otherwise ({word})\n"


def test_sigkill_destroys_the_domain(guest: Guest) -> None:
    guest.start()
    guest.say(b"before")
    assert guest.said(6) == b"before"
    assert guest.host.runx("kill", "c", "KILL").returncode == 0
    assert guest.status() == 137


def test_a_guest_that_listens_is_asked_to_power_off(guest: Guest) -> None:
    guest.start()
    guest.host.xen.nodes[f"{CONTROL}/feature-poweroff"] = b"1"
    for signal in ("CONT", "WINCH", "STOP"):
        assert guest.host.runx("kill", "c", signal).returncode == 0
    assert f"{CONTROL}/shutdown" not in guest.host.xen.nodes
    assert guest.host.runx("kill", "c", "TERM").returncode == 0
    assert guest.host.xen.nodes[f"{CONTROL}/shutdown"] == b"poweroff"
    assert guest.host.state()["status"] == "running", "the guest takes its time"
    guest.say(b"good bye")
    assert guest.end() == 0
    assert guest.said(100) == b"good bye"


def test_a_guest_that_does_not_listen_is_ended(guest: Guest) -> None:
    guest.start()
    assert guest.host.runx("kill", "c", "TERM").returncode == 0
    assert guest.status() == 143
    assert guest.host.xen.domains() == {}


def test_a_stalled_reader_stalls_the_console_and_nothing_is_lost(guest: Guest) -> None:
    guest.start()
    data = os.urandom(1024) * 1024
    sent = 0
    # Until the console has been full for a while: nobody takes more of it.
    while select.select([], [guest.console], [], 1)[1]:
        sent += os.write(guest.console, data[sent : sent + 4096])
        assert sent < len(data), "all of it is kept somewhere"
    assert guest.said(sent) == data[:sent]
    guest.say(b"end")
    assert guest.said(3) == b"end"
    assert guest.end() == 0


def test_the_last_words_wait_for_a_slow_reader(guest: Guest) -> None:
    guest.start()
    data = os.urandom(100_000)
    sent = 0
    while sent < len(data) and select.select([], [guest.console], [], 1)[1]:
        sent += os.write(guest.console, data[sent : sent + 4096])
    guest.host.xen.shut_down(1)
    assert guest.said(sent + 1) == data[:sent]
    assert guest.status() == 0


def test_a_reader_that_has_gone_does_not_stop_the_guest(guest: Guest) -> None:
    guest.start()
    os.close(guest.stdout)
    guest.stdout = -1
    guest.say(os.urandom(1_000_000))  # more than anything between could hold
    os.write(guest.stdin, b"typed")
    assert guest.typed(5) == b"typed"
    assert guest.end() == 0


def test_input_waits_for_a_guest_that_reads_none(guest: Guest) -> None:
    guest.start()
    os.set_blocking(guest.stdin, False)
    data = os.urandom(1_000_000)
    sent = 0
    while select.select([], [guest.stdin], [], 1)[1]:
        sent += os.write(guest.stdin, data[sent : sent + 4096])
        assert sent < len(data), "all of it is kept somewhere"
    guest.say(b"the other direction works")
    assert guest.said(25) == b"the other direction works"
    assert guest.typed(sent) == data[:sent]


def test_a_console_that_comes_late(guest: Guest) -> None:
    """xenconsoled may need a moment; input waits for it."""
    path = guest.host.xen.nodes.pop("/local/domain/1/console/tty")
    guest.start()
    os.write(guest.stdin, b"early")
    guest.host.xen.write("/local/domain/1/console/tty", path.decode())
    assert guest.typed(5) == b"early"


def test_a_terminal_of_the_engine_is_the_console(guest: Guest, tmp_path: Path) -> None:
    guest.host.config["process"] |= {"terminal": True}  # type: ignore[operator]
    guest.host.write_config()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "console"))
        listener.listen()
        guest.create("--console-socket", str(tmp_path / "console"))
        connection, _ = listener.accept()
        with connection:
            _, (master,), _, _ = socket.recv_fds(connection, 64, 4)
    assert guest.host.runx("start", "c").returncode == 0
    try:
        guest.say(b"login: \r\n")
        assert _read(master, 9) == b"login: \r\n"
        os.write(master, b"root\r\x03")
        assert guest.typed(6) == b"root\r\x03"
        guest.say(b"bye")
        assert _read(master, 3) == b"bye"
        assert guest.end() == 0
    finally:
        os.close(master)
