"""PID 1 of a double: dom0 as engines and runx see it. It is xenstored, and all processes end with it.

    dom0.py STATE GROUP          (started by `Double` in new namespaces)

It has a /run of its own in memory, so that engines start with nothing and leave nothing; one cgroup2 hierarchy below the group
GROUP; a network with only the loopback; and xl and runx in /usr/local. It ends when the pipe at its standard input is closed.
"""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

from runxtools.double import linux, place
from runxtools.double.xenstored import XenStored

CGROUPS = "/sys/fs/cgroup"
_GROUPS = ("dom0", "domains")
"""Control groups of dom0's processes, and of guests."""


def main(state: str, group: str) -> None:
    linux.mount("proc", "/proc", "proc")
    _cgroups(group)
    for directory in ("/run", "/dev/shm", "/var/lib/containers", "/var/lib/cni"):
        if os.path.isdir(directory):
            linux.mount("tmpfs", directory, "tmpfs", data="mode=755")
    os.makedirs("/run/lock", exist_ok=True)
    os.mkdir("/run/xenstored")
    os.symlink(f"{state}/xenstored", "/run/xenstored/socket")
    linux.mount("overlay", "/usr/local", "overlay", data=f"lowerdir={state}/local:/usr/local")
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True, env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin"})
    with open("/proc/sys/kernel/hostname", "w") as file:
        file.write("dom0")
    server = XenStored(Path(state, "xenstored"))
    server.delay_s = lambda: float(place.fault(state, "slow-xenstored") or 0)
    read_end, write_end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(write_end)
    server.on_readable(read_end, lambda: _reap(read_end))
    server.nodes["/local/domain/0/name"] = b"Domain-0"
    server.nodes["/local/domain/0/domid"] = b"0"
    server.nodes["/local/domain/0"] = b""
    server.on_readable(0, server.stop)  # our starter has ended
    print("ready", flush=True)
    null = os.open("/dev/null", os.O_RDWR)
    os.dup2(null, 1)
    server.serve()


def _cgroups(group: str) -> None:
    """Mount one cgroup2 hierarchy whose root is our own group."""
    for level in range(2):
        if level:
            os.makedirs(f"{CGROUPS}/{group}/dom0")
            _enter(f"{CGROUPS}/{group}")
            linux.unshare(linux.CLONE_NEWCGROUP)
            _unmount_all(CGROUPS)
        else:
            _unmount_all("/sys")
            linux.mount("sysfs", "/sys", "sysfs")  # its /sys/class/net is that of the process that mounts it
        linux.mount("cgroup2", CGROUPS, "cgroup2")
        if not level and not _read(f"{CGROUPS}/cgroup.subtree_control"):
            _enable(CGROUPS)  # no init has given groups a controller, and podman 4 cannot make a group without any
    for name in _GROUPS:
        os.makedirs(f"{CGROUPS}/{name}", exist_ok=True)
    _enter(f"{CGROUPS}/dom0")
    for directory in (CGROUPS, f"{CGROUPS}/domains"):  # controllers for guests
        _enable(directory, "pids")


def _read(path: str) -> list[str]:
    with open(path) as file:
        return file.read().split()


def _enable(directory: str, *names: str) -> None:
    """Have the groups of a directory use those of its controllers that have such a name; without names, all."""
    words = [f"+{name}" for name in _read(f"{directory}/cgroup.controllers") if name in names or not names]
    with open(f"{directory}/cgroup.subtree_control", "w") as file:
        file.write(" ".join(words))


def _enter(directory: str) -> None:
    with open(f"{directory}/cgroup.procs", "w") as file:
        file.write("0")


def _unmount_all(top: str) -> None:
    """Unmount everything at and below a path, in this mount namespace."""
    with open("/proc/self/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
        points = [line.split(" ")[4] for line in file]
    for point in reversed([point for point in points if point == top or point.startswith(top + "/")]):
        try:
            linux.unmount(point)
        except OSError as error:
            if error.errno != errno.EINVAL:
                raise


def _reap(events: int) -> None:
    os.read(events, 4096)
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


if __name__ == "__main__":
    main(*sys.argv[1:])
