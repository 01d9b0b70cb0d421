"""The emulated machine that Xen and dom0 run in.

A machine has its own directory with disk.qcow2, console.log, qmp.sock, and the link `image` (xen, vmlinuz, initrd, disk.raw).
A machine that continues a saved state also has the link `snapshot` (disk.qcow2, state). The directory is QEMU's working
directory: no character of its path can be taken for QEMU's syntax.
"""

import json
import os
import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

from runxtools.command import last_lines, run
from runxtools.errors import ToolError
from runxtools.lab.qmp import Monitor
from runxtools.packages import Package
from runxtools.process import Process

HOST_PACKAGES = (
    Package("qemu-system-x86", "qemu-system-x86_64", "the machine that Xen runs in"),
    Package("qemu-utils", "qemu-img", "makes the disks"),
)

_PROGRAM = "qemu-system-x86_64"
_MACHINE = [
    _PROGRAM, "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
    # svm and npt are for PVH guests. dom0 crashes at once with `-cpu max`.
    "-M", "q35,accel=tcg", "-cpu", "qemu64,+svm,+npt", "-m", "4096",
    "-kernel", "image/xen",
    # 1.5 GiB for dom0 leaves room for a dozen guests of 128 MiB.
    "-append", "console=com1 com1=115200,8n1 dom0_mem=1536M,max:1536M loglvl=warning sched=credit2",
    "-initrd", (
        "image/vmlinuz root=/dev/vda rw console=hvc0 init=/sbin/lab-init net.ifnames=0 quiet mitigations=off,"
        "image/initrd"
    ),
    # cache=unsafe never flushes: the disk of a lab is discarded.
    "-drive", "file=disk.qcow2,if=none,id=disk,format=qcow2,cache=unsafe", "-device", "virtio-blk-pci,drive=disk",
    "-device", "virtio-net-pci,netdev=net,romfile=",
    "-serial", "file:console.log",
    "-qmp", "unix:qmp.sock,server=on,wait=off",
]  # fmt: skip

_PROCESS = "process.json"
_READY = "LAB: ready"
_DEAD = ("Panic on CPU", "Kernel panic", "Domain 0 crashed")


def machine(cpus: int) -> list[str]:
    """QEMU's arguments except the forwarded port. A saved state needs a machine with the same arguments."""
    return [*_MACHINE, "-smp", str(cpus)]


def version() -> str:
    """First line of QEMU's --version: only the version that saved a state can continue it."""
    return run([_PROGRAM, "--version"]).splitlines()[0]


def free_port() -> int:
    """A TCP port of 127.0.0.1 that is free now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def make_disk(directory: Path, backing: str, backing_format: str) -> None:
    """Make disk.qcow2, which takes all writes, above `backing`, a path relative to the directory."""
    run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", backing, "-F", backing_format, directory / "disk.qcow2"])


def start(directory: Path, cpus: int, port: int, state: str | None = None) -> Process:
    """Start QEMU in the background, in a session of its own.

    dom0's sshd is at `port` of 127.0.0.1, and the machine reaches no other host. `state` is the path of a saved state to
    continue, relative to the directory.
    """
    arguments = [
        *machine(cpus),
        "-netdev", f"user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{port}-:22",
        *(["-incoming", f"exec:exec cat {state}"] if state else []),
    ]  # fmt: skip
    with open(directory / "qemu.log", "wb") as log:
        child = subprocess.Popen(
            arguments, cwd=directory, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True
        )
    try:
        process = Process.of(child.pid)
    except ProcessLookupError:
        raise _ended(directory) from None
    (directory / _PROCESS).write_text(json.dumps(process))
    # QEMU outlives this process: stop subprocess from warning about that.
    child.returncode = 0
    return process


def end_left_over(directory: Path) -> None:
    """End the machine that a killed process left in a directory."""
    try:
        process = Process(*json.loads((directory / _PROCESS).read_bytes()))
    except (FileNotFoundError, ValueError):
        return
    process.end()


def monitor(directory: Path, process: Process, limit_s: float = 20) -> Monitor:
    """Connect to a machine's monitor, which appears a moment after its start."""
    deadline = time.monotonic() + limit_s
    while process.alive() and time.monotonic() < deadline:
        try:
            return Monitor(directory / "qmp.sock")
        except (FileNotFoundError, ConnectionRefusedError):
            time.sleep(0.02)
    raise _ended(directory)


def await_boot(directory: Path, process: Process, limit_s: float) -> None:
    """Wait until dom0 is ready. Raises ToolError with the console's last line when it crashes or takes too long."""
    console = directory / "console.log"
    deadline = time.monotonic() + limit_s
    while True:
        text = console.read_text(errors="replace") if console.exists() else ""
        if _READY in text:
            return
        last = (text.strip().splitlines() or ["(nothing)"])[-1].strip()
        if any(sign in text for sign in _DEAD):
            raise ToolError(f"dom0 crashed while it booted; the console's last line: {last}")
        if not process.alive():
            raise _ended(directory)
        if time.monotonic() > deadline:
            raise ToolError(f"dom0 was not ready in {limit_s:.0f} s; the console's last line: {last}")
        time.sleep(0.1)


def quit_and_wait(directory: Path, process: Process) -> None:
    """End a machine so that its whole disk is written."""
    with monitor(directory, process) as connection, suppress(ToolError):
        # QEMU may end before its answer is read.
        connection.execute("quit")
    deadline = time.monotonic() + 20
    while process.alive():
        if time.monotonic() > deadline:
            raise ToolError("QEMU did not end after `quit`")
        time.sleep(0.02)


def link(directory: Path, name: str, target: Path) -> None:
    """Make a relative link in a machine's directory, so that the whole cache can be moved."""
    (directory / name).symlink_to(os.path.relpath(target, directory))


def retry(attempts: int, body: Callable[[], None], note: Callable[[str], None]) -> None:
    """Call `body` until it raises no ToolError, at most `attempts` times. `note` gets each failure; the last is raised."""
    for number in range(1, attempts + 1):
        try:
            body()
            return
        except ToolError as error:
            if number == attempts:
                raise
            note(f"attempt {number} of {attempts} failed: {error}")


def _ended(directory: Path) -> ToolError:
    log = directory / "qemu.log"
    return ToolError("QEMU ended", last_lines(log.read_bytes()) if log.exists() else None)
