#!/usr/bin/python3
"""Measure in dom0 for tools/bench: the work of programs on a volume, and the memory that it takes.

    shares.py ROUNDS PROGRAM

PROGRAM is files.c, compiled. The same kernel runs it in a container of runx, and in a bare domain whose volume QEMU serves. It
prints one JSON object a round, in milliseconds and MiB. Without a QEMU that can serve, the bare domain is left out.
"""

import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

from bundle import make_bundle, make_root
from consoles import open_console, read_until

LIBRARY = "/usr/local/lib/runx"
ASSETS = "/usr/local/share/runx/x86_64"
RUNX = "/usr/local/bin/runx"
WORKLOADS = ("create", "list", "read", "write 16 MiB", "read 16 MiB")
FILES = 120
LARGE = 16 << 20
QUIET_S = 3
"""After so long without requests the server has given back what it needed for them."""
MOUNT = "trans=xen,version=9p2000.L,cache=mmap,msize=524288,posixacl"
INIT = f"""\
#!/bin/sh
mount -t devtmpfs dev /dev
mkdir -p /volume
mount -t 9p -o {MOUNT} volume /volume && echo "times $(/files /volume)" > /dev/hvc0
echo done > /dev/hvc0
poweroff -f
"""
CONFIG = """\
name = "{name}"
type = "pv"
kernel = "{assets}/kernel"
ramdisk = "{directory}/initrd"
extra = "console=hvc0 quiet loglevel=1 panic=-1 rdinit=/bench"
memory = 256
p9 = ["tag=volume,path={volume},security_model=none"]
on_poweroff = "destroy"
on_reboot = "destroy"
on_crash = "destroy"
"""


def make_volume(path: str) -> None:
    for name in ("create", "list", "read"):
        os.makedirs(f"{path}/{name}")
    for number in range(FILES):
        for name in ("list", "read"):
            with open(f"{path}/{name}/{number}", "w") as file:
                file.write(f"file {number}\n" * 50)
    with open(f"{path}/large", "wb") as file:
        file.write(os.urandom(LARGE))


def times(who: str, line: str) -> dict[str, float]:
    return {f"{who} {what}": float(word) for what, word in zip(WORKLOADS, line.split(), strict=True)}


def pss_kib(pid: str, without: str = "/dev/xen/gntdev") -> int:
    """Pss of a process, beside memory of guests."""
    total, counts = 0, True
    with open(f"/proc/{pid}/smaps") as file:
        for line in file:
            if re.match("[0-9a-f]+-", line):
                counts = without not in line
            elif line.startswith("Pss:") and counts:
                total += int(line.split()[1])
    return total


def size_kib(pid: str, name: str) -> int:
    """The size of all that a process has mapped of a device."""
    with open(f"/proc/{pid}/maps") as file:
        ends = [line.split()[0].split("-") for line in file if name in line]
    return sum(int(end, 16) - int(begin, 16) for begin, end in ends) >> 10


def server_of(container: str) -> str:
    """Pid of the server of a container's shares."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                if file.read().rstrip(b"\0") == f"runx-shares {container}".encode():
                    return pid
        except (FileNotFoundError, ProcessLookupError):
            pass
    raise SystemExit("there is no server of shares")


def of_container(directory: str, root: str, volume: str) -> dict[str, float]:
    """Times of the work, and memory of the host's processes while the container waits."""
    shared = [{"destination": "/volume", "type": "bind", "source": volume, "options": ["rbind", "rw"]}]
    proc = [{"destination": "/proc", "type": "proc", "source": "proc"}]
    found: dict[str, float] = {}
    for command, mounts in (("/bin/files /volume", proc + shared), ("echo", proc)):
        bundle = make_bundle(directory, root, ["/bin/sh", "-c", f"{command}; read line"], memory_limit=192 << 20, mounts=mounts)
        argv = [RUNX, "--root", f"{directory}/state", "run", "--root-carrier", "ram", "--bundle", bundle]
        argv += ["--pid-file", f"{bundle}/pid", "bench"]
        pipe = subprocess.PIPE
        with subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
            assert process.stdin and process.stdout and process.stderr
            line = process.stdout.readline()
            if not line:
                raise SystemExit(f"a container printed nothing: {process.stderr.read()}")
            with open(f"{bundle}/pid") as file:
                supervisor = file.read()
            if mounts is proc:
                found["cost_mib"] -= pss_kib(supervisor) / 1024
            else:
                server = server_of("bench")
                found |= times("runx", line) | {"busy_mib": pss_kib(server) / 1024}
                time.sleep(QUIET_S)
                found["server_mib"] = pss_kib(server) / 1024
                found["rings_mib"] = size_kib(server, "/dev/xen/gntdev") / 1024
                found["cost_mib"] = found["server_mib"] + pss_kib(supervisor) / 1024
            process.communicate("go\n")
    return found


def of_qemu(directory: str, program: str, volume: str) -> dict[str, float]:
    """Times of the work over QEMU's server."""
    sys.path.insert(0, LIBRARY)
    from runx.cpio import OverlayFile, archive

    with open(f"{ASSETS}/initrd", "rb") as base, open(program, "rb") as code, open(f"{directory}/initrd", "wb") as file:
        data = base.read()
        files = [OverlayFile("bench", 0o755, INIT.encode()), OverlayFile("files", 0o755, code.read())]
        file.write(data + bytes(-len(data) % 4) + archive(files))
    name = f"runx-bench-{os.getpid()}"
    with open(f"{directory}/qemu.cfg", "w") as text:
        text.write(CONFIG.format(name=name, assets=ASSETS, directory=directory, volume=volume))
    subprocess.run(["xl", "create", "-p", "-e", "-q", f"{directory}/qemu.cfg"], stdin=subprocess.DEVNULL, check=True)
    try:
        pty = open_console(name)
        subprocess.run(["xl", "unpause", name], check=True)
        return times("qemu", read_until(pty, r"times ([0-9. ]+)\r?\n")[1])
    finally:
        subprocess.run(["xl", "destroy", name], stderr=subprocess.DEVNULL)  # the domain may have ended by itself


def qemu_serves() -> bool:
    """QEMU 10 and newer cannot (docs/lab.md)."""
    try:
        said = subprocess.run(["/usr/libexec/xen-qemu-system-i386", "--version"], capture_output=True, text=True).stdout
    except FileNotFoundError:
        return False
    version = re.search(r"version (\d+)", said)
    return bool(version and int(version[1]) < 10)


def main(rounds: int, program: str) -> None:
    with tempfile.TemporaryDirectory(prefix="runx-bench-", dir="/var/tmp") as directory:
        root, volume = f"{directory}/root", f"{directory}/volume"
        make_root(root, "sh", "echo")
        shutil.copy(program, f"{root}/bin/files")
        os.chmod(f"{root}/bin/files", 0o755)
        for _ in range(rounds):
            round_: dict[str, float] = {}
            for measure in ("runx", "qemu") if qemu_serves() else ("runx",):
                make_volume(volume)
                round_ |= of_container(directory, root, volume) if measure == "runx" else of_qemu(directory, program, volume)
                shutil.rmtree(volume)
            print(json.dumps(round_), flush=True)


main(int(sys.argv[1]), sys.argv[2])
