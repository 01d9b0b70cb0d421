"""tools/bench: the server of 9p shares: processor time of its own, and beside QEMU's in the lab (docs/executor.md, "Shares")."""

import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from runx.exec.ninep import limits, wire
from runx.exec.ninep.changes import Changes
from runx.exec.ninep.layer import Root
from runx.linux import memory
from runxtools.bench.figures import ASSETS, Figure, lines
from runxtools.machine import Machine
from runxtools.ninep.client import ROOT
from runxtools.ninep.frontend import Frontend, GuestClient
from runxtools.testing import changerecords
from runxtools.testing.nineguest import machine

SMALL_LIMIT_US = 8
LARGE_LIMIT_US = 100
"""Processor time of the server for one request: attributes of a file; 512 KiB read or written."""
FILE_LIMIT_US = 100
"""Processor time of the server for a small file that a container has written."""
PIECE = 61440
"""Bytes of changes in a request (guest-assets/init/layer/writer.c)."""
SERVER_LIMIT_MIB = 6
"""Pss of a server, beside its rings."""
COST_LIMIT_MIB = 8
"""What a container with one bind mount costs the host more than one without."""
RING_LIMIT_MIB = 2.1
"""Memory of the guest that a share takes: two rings of 1 MiB, and a page for each."""
WORKLOADS = ("create", "list", "read", "write 16 MiB", "read 16 MiB")
_AT_ONCE = 32
_SMALL_COUNT, _LARGE_COUNT = 1600, 100


def measure_shares(rounds: int) -> list[Figure]:
    """Processor time of the server in answering a client of this machine, without Xen."""
    found: dict[str, list[float]] = {}
    with tempfile.TemporaryDirectory(prefix="runx-bench-", dir="/var/tmp") as name:
        ring = Frontend(1)
        with machine([Path(name)], [ring], lambda: memory.one_heap(limits.MESSAGE_MAX)) as supervisor:
            supervisor.connect(0, ring)
            client = GuestClient(ring)
            size, _ = client.version(limits.MESSAGE_MAX)
            client.attach(ROOT)
            file = client.create(b"file")
            data = os.urandom(size - wire.READ.size & ~0xFFF)  # whole pages, as Linux has them
            client.write(file, data)
            for _ in range(rounds + 1):
                for what, act, count, requests in (
                    ("alone", lambda: client.getattr(ROOT), _SMALL_COUNT, 1),
                    ("getattr", lambda: _many(client), _SMALL_COUNT // _AT_ONCE, _AT_ONCE),
                    ("walk", lambda: client.clunk(client.walk(b"file")), _SMALL_COUNT, 1),
                    ("read", lambda: client.read(file, 0, len(data)), _LARGE_COUNT, 1),
                    ("write", lambda: client.write(file, data), _LARGE_COUNT, 1),
                ):
                    found.setdefault(what, []).append(_time_us(supervisor.pid, act, count) / requests)
    samples = {what: values[1:] for what, values in found.items()}  # the first round is to warm up
    what = "server of shares, processor time:"
    return [
        Figure(f"{what} attributes, {_AT_ONCE} requests at once", "us", samples["getattr"], limit=SMALL_LIMIT_US),
        Figure(f"{what} attributes, one request an event", "us", samples["alone"]),
        Figure(f"{what} a walk and its end, with two events", "us", samples["walk"]),
        Figure(f"{what} reading 512 KiB, with its event", "us", samples["read"], limit=LARGE_LIMIT_US),
        Figure(f"{what} writing 512 KiB, with its event", "us", samples["write"], limit=LARGE_LIMIT_US),
        *_changes(rounds),
    ]


def _changes(rounds: int) -> list[Figure]:
    """What it costs to take small files that a container has written, in a file system in memory."""
    count, inside = 5000, 100
    files = [changerecords.file(b"file-%d" % number, b"content of a small file\n") for number in range(inside)]
    stream = changerecords.whole(*(changerecords.directory(b"%d" % number, *files) for number in range(count // inside)))
    requests = -(-len(stream) // PIECE)
    times = [_take_us(stream) / count for _ in range(rounds)]
    what = f"server of shares: {count} small files of a container in {requests} requests, processor time for one"
    return [Figure(what, "us", times, limit=FILE_LIMIT_US)]


def _take_us(stream: bytes) -> float:
    """Processor time of taking changes, in a process of its own."""
    ours, theirs = os.pipe()
    with tempfile.TemporaryDirectory(prefix="runx-bench-", dir="/dev/shm") as name:
        pid = os.fork()
        if pid == 0:
            try:
                os.umask(0)
                taken = Changes(Root(os.open(name, os.O_PATH)))
                taken.allow(1 << 30)
                os.chdir("/proc/self/fd")
                before = time.process_time_ns()
                for at in range(0, len(stream), PIECE):
                    taken.write(at, memoryview(stream)[at : at + PIECE])
                os.write(theirs, str((time.process_time_ns() - before) / 1000).encode())
            finally:
                os._exit(0)
        os.waitpid(pid, 0)
        os.close(theirs)
        with open(ours, "rb") as pipe:
            return float(pipe.read())


def _many(client: GuestClient) -> None:
    request = wire.HEAD.pack(19, wire.TGETATTR, 1) + ROOT.to_bytes(4, "little") + (0x7FF).to_bytes(8, "little")
    client.frontend.send(request * _AT_ONCE)
    for _ in range(_AT_ONCE):
        client.frontend.receive()


def _time_us(pid: int, act: Callable[[], object], count: int) -> float:
    """Processor time that a process takes while something is done `count` times, for one."""
    before = _running_ns(pid)
    for _ in range(count):
        act()
    return (_running_ns(pid) - before) / count / 1000


def _running_ns(pid: int) -> int:
    tasks = f"/proc/{pid}/task"
    return sum(int(Path(f"{tasks}/{task}/schedstat").read_text().split()[0]) for task in os.listdir(tasks))


def measure_beside_qemu(lab: Machine, rounds: int) -> list[Figure]:
    """Times of programs on a volume, served by runx and by QEMU, and the memory that it takes."""
    program, compiled_there = "/var/lib/runx-lab/shares.py", "/var/lib/runx-lab/files"
    lab.put(ASSETS / "shares.py", program)
    with tempfile.TemporaryDirectory() as directory:
        compiled = Path(directory, "files")
        subprocess.run(["musl-gcc", "-static", "-Os", "-s", "-o", str(compiled), str(ASSETS / "files.c")], check=True)
        lab.put(compiled, compiled_there)
    return share_figures(lines(lab, program, rounds, compiled_there))


def share_figures(rounds: Sequence[dict[str, float]]) -> list[Figure]:
    """Figures of the output of shares.py."""

    def column(name: str) -> list[float]:
        return [round_[name] for round_ in rounds if name in round_]

    figures = []
    for what in WORKLOADS:
        own, qemu = column(f"runx {what}"), column(f"qemu {what}")
        figures.append(Figure(f"lab: on a volume: {what}, against QEMU's server", "ms", own, qemu, 1 if qemu else None))
    memory_of = (
        ("server of shares, Pss beside its rings, after work", "busy_mib", SERVER_LIMIT_MIB),
        ("server of shares, Pss beside its rings, when nothing was asked for three seconds", "server_mib", SERVER_LIMIT_MIB),
        ("memory of the host for a container with a bind mount, more than without", "cost_mib", COST_LIMIT_MIB),
        ("memory of the guest in the rings of a share", "rings_mib", RING_LIMIT_MIB),
    )
    return figures + [Figure(f"lab: {what}", "MiB", column(name), limit=limit) for what, name, limit in memory_of]
