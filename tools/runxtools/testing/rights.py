"""What processes in dom0 may have, as docs/security.md says, and what one has, as /proc says."""

import re
from fnmatch import fnmatch
from typing import NamedTuple

from runxtools.checkout import CHECKOUT
from runxtools.machine import Machine

_HEADING = "### What processes in dom0 keep\n"
_NAMES = (
    "chown dac_override dac_read_search fowner fsetid kill setgid setuid setpcap linux_immutable net_bind_service net_broadcast "
    "net_admin net_raw ipc_lock ipc_owner sys_module sys_rawio sys_chroot sys_ptrace sys_pacct sys_admin sys_boot sys_nice "
    "sys_resource sys_time sys_tty_config mknod lease audit_write audit_control setfcap mac_override mac_admin syslog wake_alarm "
    "block_suspend audit_read perfmon bpf checkpoint_restore"
).split()
"""Of capabilities, by their numbers (linux/capability.h)."""


class Rights(NamedTuple):
    """A row of the table."""

    capabilities: frozenset[str]
    oom_score: int
    descriptors: tuple[str, ...]
    """Patterns of what a descriptor leads to."""


def table() -> dict[str, Rights]:
    """The rows of the table, by the name of the process."""
    section = (CHECKOUT / "docs" / "security.md").read_text().partition(_HEADING)[2].partition("\n#")[0]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line.startswith("|")]
    return {
        name: Rights(frozenset(capabilities.split()), int(score), tuple(re.findall(r"`([^`]+)`", descriptors)))
        for name, capabilities, _, score, descriptors, _ in rows[2:]
    }


def names(mask: int) -> frozenset[str]:
    """Capabilities of a set, by their names."""
    return frozenset(name for number, name in enumerate(_NAMES) if mask >> number & 1) | frozenset(
        f"number {number}" for number in range(len(_NAMES), 64) if mask >> number & 1
    )


def too_many(host: Machine, pid: int, allowed: Rights) -> list[str]:
    """What a process has that it may not have, in words."""

    def text(path: str) -> str:
        return host.run(["cat", f"/proc/{pid}/{path}"], check=True).stdout.decode()

    status = dict(line.split(":", 1) for line in text("status").splitlines())
    found = []
    for kind in ("CapPrm", "CapEff", "CapBnd"):
        found += [f"{kind} {name}" for name in sorted(names(int(status[kind], 16)) - allowed.capabilities)]
    for kind, expected in (("CapInh", 0), ("CapAmb", 0), ("NoNewPrivs", 1), ("Seccomp", 2)):
        if int(status[kind], 16) != expected:
            found.append(f"{kind} is{status[kind].rstrip()}")
    # Where dom0 does not give CAP_SYS_RESOURCE, as in some sandboxes, a score cannot be lowered.
    score = int(text("oom_score_adj"))
    may_lower = "sys_resource" in names(int(host.run(["sh", "-c", "awk '/CapEff/ {print $2}' /proc/$$/status"]).stdout, 16))
    if score < allowed.oom_score or (score != allowed.oom_score and may_lower):
        found.append(f"oom_score_adj is {score}")
    links = host.run(["find", f"/proc/{pid}/fd", "-type", "l", "-printf", "%f %l\\n"], check=True).stdout.decode()
    for line in links.splitlines():
        number, _, target = line.partition(" ")
        if not any(fnmatch(target, pattern) for pattern in allowed.descriptors):
            found.append(f"descriptor {number} leads to {target}")
    return found
