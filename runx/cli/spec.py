"""`runx spec`: an example configuration, like that of `runc spec`.

Two parts of runc's are missing, for which a virtual machine has no use: linux.resources.devices, since there are no devices of
the host to guard, and the cgroup namespace, which the guest makes in any case.
"""

import json
import os
from typing import Any

from runx import SPEC_VERSION
from runx.errors import RunxError, reason

_CAPABILITIES = ("CAP_AUDIT_WRITE", "CAP_KILL", "CAP_NET_BIND_SERVICE")


def spec(bundle: str) -> None:
    """Write `bundle`/config.json. Raises RunxError when it cannot be written; one that exists stays as it is."""
    path = os.path.join(bundle, "config.json")
    try:
        # 0666 less the caller's umask, as for any file of a bundle.
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o666)
    except FileExistsError:
        raise RunxError(f"{path} exists", "remove it first, or choose another directory with --bundle") from None
    except OSError as error:
        raise RunxError(f"cannot write {path}: {reason(error)}") from None
    try:
        with open(fd, "w", encoding="utf-8") as file:
            file.write(json.dumps(example(), indent="\t") + "\n")
    except OSError as error:
        os.unlink(path)  # a part of it is no configuration
        raise RunxError(f"cannot write {path}: {reason(error)}") from None


def example() -> dict[str, Any]:
    """The configuration: a shell with a terminal in `rootfs`, read-only, with few capabilities."""
    return {
        "ociVersion": SPEC_VERSION,
        "process": {
            "terminal": True,
            "user": {"uid": 0, "gid": 0},
            "args": ["sh"],
            "env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "TERM=xterm"],
            "cwd": "/",
            "capabilities": {kind: list(_CAPABILITIES) for kind in ("bounding", "effective", "permitted")},
            "rlimits": [{"type": "RLIMIT_NOFILE", "hard": 1024, "soft": 1024}],
            "noNewPrivileges": True,
        },
        "root": {"path": "rootfs", "readonly": True},
        "hostname": "runx",
        "mounts": [
            _mount("/proc", "proc", "proc"),
            _mount("/dev", "tmpfs", "tmpfs", "nosuid", "strictatime", "mode=755", "size=65536k"),
            _mount("/dev/pts", "devpts", "devpts", "nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"),
            _mount("/dev/shm", "tmpfs", "shm", "nosuid", "noexec", "nodev", "mode=1777", "size=65536k"),
            _mount("/dev/mqueue", "mqueue", "mqueue", "nosuid", "noexec", "nodev"),
            _mount("/sys", "sysfs", "sysfs", "nosuid", "noexec", "nodev", "ro"),
            _mount("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid", "noexec", "nodev", "relatime", "ro"),
        ],
        "linux": {
            "namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount")],
            "maskedPaths": [
                "/proc/acpi", "/proc/asound", "/proc/kcore", "/proc/keys", "/proc/latency_stats", "/proc/timer_list",
                "/proc/timer_stats", "/proc/sched_debug", "/sys/firmware", "/proc/scsi",
            ],
            "readonlyPaths": ["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"],
        },
    }  # fmt: skip


def _mount(destination: str, kind: str, source: str, *options: str) -> dict[str, Any]:
    return {"destination": destination, "type": kind, "source": source} | ({"options": list(options)} if options else {})
