"""The emulated machine that Xen and dom0 run in.

A machine has a directory of its own, which is QEMU's working directory: disk.qcow2, console.log, qmp.sock, and the
links `image` (xen, vmlinuz, initrd, disk.raw) and, for one that continues a saved state, `snapshot` (disk.qcow2, state).
With relative names nothing in a path can be taken for QEMU's syntax.
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

MACHINE = [
    "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
    # svm and npt for PVH guests. More is less here: dom0 crashes at once with `-cpu max`.
    "-M", "q35,accel=tcg", "-cpu", "qemu64,+svm,+npt", "-smp", "2", "-m", "4096",
    "-kernel", "image/xen",
    # 1.5 GiB for dom0 leaves room for a dozen guests of 128 MiB.
    "-append", "console=com1 com1=115200,8n1 dom0_mem=1536M,max:1536M loglvl=warning sched=credit2",
    "-initrd", (
        "image/vmlinuz root=/dev/vda rw console=hvc0 init=/sbin/lab-init net.ifnames=0 quiet mitigations=off,"
        "image/initrd"
    ),
    # Unsafe means no flushing: a lab's disk is thrown away.
    "-drive", "file=disk.qcow2,if=none,id=disk,format=qcow2,cache=unsafe", "-device", "virtio-blk-pci,drive=disk",
    "-device", "virtio-net-pci,netdev=net,romfile=",
    "-serial", "file:console.log",
    "-qmp", "unix:qmp.sock,server=on,wait=off",
]  # fmt: skip
"""All but the forwarded port. A saved state fits only a machine of the same arguments."""

_PROCESS = "process.json"
_READY = "LAB: ready"
_DEAD = ("Panic on CPU", "Kernel panic", "Domain 0 crashed")


def version() -> str:
    """QEMU's first line about itself. A saved state is read by the version that wrote it."""
    return run([MACHINE[0], "--version"]).splitlines()[0]


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def make_disk(directory: Path, backing: str, backing_format: str) -> None:
    """disk.qcow2 in a machine's directory: writes stay in it, `backing` (relative to the directory) is only read."""
    run(["qemu-img", "create", "-q", "-f", "qcow2", "-b", backing, "-F", backing_format, directory / "disk.qcow2"])


def start(directory: Path, port: int, state: str | None = None) -> Process:
    """Start QEMU in the background, in a session of its own. dom0's sshd is at this port of 127.0.0.1 and nothing in
    the machine reaches any other host. `state` is a file to continue from, relative to the directory."""
    arguments = [
        *MACHINE,
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
    # It outlives us: keep subprocess from warning that nobody waited for it.
    child.returncode = 0
    return process


def end_left_over(directory: Path) -> None:
    """End the machine of a directory whose maker was killed before it could."""
    try:
        process = Process(*json.loads((directory / _PROCESS).read_bytes()))
    except (FileNotFoundError, ValueError):
        return
    process.end()


def monitor(directory: Path, process: Process, limit_s: float = 20) -> Monitor:
    """Connect to a machine's monitor, which is there a moment after its start."""
    deadline = time.monotonic() + limit_s
    while process.alive() and time.monotonic() < deadline:
        try:
            return Monitor(directory / "qmp.sock")
        except (FileNotFoundError, ConnectionRefusedError):
            time.sleep(0.02)
    raise _ended(directory)


def await_boot(directory: Path, process: Process, limit_s: float) -> None:
    """Wait until dom0 says that it is ready. Raises ToolError with the console's last line when it does not."""
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
    """End a machine so that its disk is written out whole."""
    with monitor(directory, process) as connection, suppress(ToolError):
        # It may be gone before its answer is read; what counts is that it ends.
        connection.execute("quit")
    deadline = time.monotonic() + 20
    while process.alive():
        if time.monotonic() > deadline:
            raise ToolError("QEMU did not end when it was told to")
        time.sleep(0.02)


def link(directory: Path, name: str, target: Path) -> None:
    """A relative link in a machine's directory, so that the cache can be moved as a whole."""
    (directory / name).symlink_to(os.path.relpath(target, directory))


def retry(attempts: int, body: Callable[[], None], note: Callable[[str], None]) -> None:
    """Call `body` until it does not raise ToolError; says why it failed, and raises the last failure."""
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
