"""xl(1), the command line tool of Xen: one function a subcommand. The only interface runx has to the hypervisor's tools."""

from runx.errors import RunxError
from runx.exec import spawn

CREATE_TIMEOUT_S = 300.0
"""Under emulation beside other load `xl create` has taken tens of seconds; on hardware it takes tenths of one."""
TIMEOUT_S = 120.0
LOGS = "xl's logs are in /var/log/xen/"

_NO_XEN = "privileged command interface"
_NO_QEMU = (
    "shares by 9p and disks that are not raw need Xen's QEMU: install it (Debian has qemu-system-xen for x86 alone), "
    "or have roots travel without (root.carrier disk or ram in runx.toml)"
)
_HINTS = (
    ("is not executable", _NO_QEMU),  # libxl, tools/libs/light/libxl_dm.c: "device model PATH is not executable"
    (_NO_XEN, "Xen is not running here: boot this machine as dom0 of Xen"),
    ("Is xenstored running", "xenstored is not running: start Xen's services"),
    ("xenstore", "is xenstored running?"),
    (
        "not enough",
        "there is too little memory left for this domain: see `xl info` (free_memory) or lower the container's limit",
    ),
    ("Failed to allocate memory", "there is too little memory left for this domain: see `xl info` (free_memory)"),
    ("failed to free memory", "there is too little memory left for this domain: see `xl info` (free_memory)"),
    ("already exists", "a domain with this name exists: see `xl list`"),
)


def failure(what: str, code: int, output: str) -> RunxError:
    """The error for a failed xl: its own words, and a hint when they are known."""
    words = spawn.one_line(output, 2000)
    hint = next((hint for mark, hint in _HINTS if mark in output), LOGS)
    return RunxError(f"{what} failed with exit status {code}: {words or 'it said nothing'}", hint)


def create_argv(config: str) -> list[str]:
    """`xl create` of a paused domain. -e: no daemon of xl stays to watch the domain, the supervisor does that."""
    return ["xl", "create", "-p", "-e", "-q", config]


def unpause(domid: int) -> None:
    _checked(["xl", "unpause", str(domid)])


def pause(domid: int) -> None:
    _checked(["xl", "pause", str(domid)])


def destroy(domain: str, network: int = -1) -> None:
    """Destroy a domain by name or number. A domain that does not exist is no error. Raises RunxError with xl's words.

    network: a descriptor of the host's network namespace, where scripts take interfaces away; -1: we are there.
    """
    code, output = _run(["xl", "destroy", domain], network)
    # "Non-existant", with that spelling, is said of a number; the others are said of a name.
    gone = not code or any(words in output for words in ("Non-exist", "does not exist", "invalid domain identifier"))
    # Of two who destroy it at once, one fails in other words.
    if not gone and ended(domain) not in ("destroyed", "dying"):
        raise failure("xl destroy", code, output)


def domid(name: str) -> int | None:
    """The number of the domain with this name, None when there is none."""
    code, output = _run(["xl", "domid", name])
    if code == 0 and output.strip().isdigit():
        return int(output.strip())
    if "invalid domain" in output or "does not exist" in output or _NO_XEN in output or not output.strip():
        return None
    raise failure("xl domid", code, output)


def check_host() -> None:
    """Raise RunxError, with xl's own words, when xl is missing or there is no Xen to talk to."""
    code, output = _run(["xl", "list"])
    if code:
        raise failure("xl list", code, output)


_REASONS = {"r": "reboot", "s": "suspended", "c": "crashed", "w": "watchdog", "S": "soft reset"}
"""The letters of `list` for why a domain shut down (tools/xl/xl_info.c, shutdown_reason_letters)."""


def ended(domain: int | str) -> str:
    """Of a domain by number or name: "" while it lives; else why not: "destroyed", "dying", "shutdown" when it powered off,
    "reboot", "crashed" and the like (xl(1), `list`, the state column)."""
    code, output = _run(["xl", "list", str(domain)])
    if code:
        if "does not exist" in output or "invalid domain identifier" in output:
            return "destroyed"
        raise failure("xl list", code, output)
    state = output.splitlines()[-1].split()[-2]
    if "d" in state:
        return "dying"
    return _REASONS.get(state[4], "shutdown") if state[3] == "s" else ""


class Usage:
    """What a domain has and has used (xl(1), `list`)."""

    __slots__ = ("cpu_s", "memory_mib", "vcpus")

    def __init__(self, memory_mib: int, vcpus: int, cpu_s: float) -> None:
        self.memory_mib = memory_mib
        self.vcpus = vcpus
        """Those that are online."""
        self.cpu_s = cpu_s
        """Seconds of processor time, of all its CPUs, since it was created; a multiple of 0.1."""


def usage(domain: str) -> Usage:
    """Of a domain by name or number. Raises RunxError with xl's words when there is none."""
    code, output = _run(["xl", "list", domain])
    if code:
        raise failure("xl list", code, output)
    fields = output.splitlines()[-1].split() if output else []
    try:
        return Usage(int(fields[-4]), int(fields[-3]), float(fields[-1]))
    except (IndexError, ValueError):
        raise RunxError(f"xl list: what it said of {domain} is not understood: {output.strip()}") from None


def set_memory(domain: str, mib: int) -> None:
    """Have the guest give back memory, or let it take some up; Xen gives it no more from now on (xl(1), `mem-set`)."""
    _checked(["xl", "mem-set", domain, f"{mib}m"])


def set_vcpus(domain: str, count: int) -> None:
    """Ask the guest to run on so many of its virtual CPUs (xl(1), `vcpu-set`)."""
    # As when a domain is created, there may be more than the host has CPUs.
    _checked(["xl", "vcpu-set", "--ignore-host", domain, str(count)])


def pin(domain: str, cpus: str) -> None:
    """Have all virtual CPUs run on those of the host: a list such as `0-3,7`, or `all`. Raises RunxError with xl's words."""
    argv = ["xl", "vcpu-pin", domain, "all", cpus]
    code, output = _run(argv)
    if code or "Could not set affinity" in output:  # for all virtual CPUs together, xl ends with 0 whatever happens
        raise failure("xl vcpu-pin", code, output)


def set_schedule(scheduler: str, domain: str, weight: int, cap_percent: int) -> None:
    """Weight and cap of a domain, under the scheduler credit or credit2; cap 0 is none (xl(1), `sched-credit2`)."""
    _checked(["xl", f"sched-{scheduler}", "-d", domain, "-w", str(weight), "-c", str(cap_percent)])


def scheduler() -> str:
    """The host's (xl(1), `info`)."""
    code, output = _run(["xl", "info"])
    if code:
        raise failure("xl info", code, output)
    found = [line.partition(":")[2].strip() for line in output.splitlines() if line.startswith("xen_scheduler")]
    return found[0] if found else "unknown"


def network_attach(domid: int, mac: str, script: str) -> None:
    """Give a domain one more network device. script: the path of its hotplug script. Raises RunxError with xl's words."""
    code, output = _run(["xl", "network-attach", str(domid), f"mac={mac}", f"script={script}"])
    if code:
        raise failure("xl network-attach", code, output)


def network_detach(domid: int, device: str) -> str:
    """Take a network device away from a domain; xl's words, whether it succeeds or not.

    A guest that does not run does not let go of it: xl waits for that, 10 s, before it removes the device anyway.
    """
    return _run(["xl", "network-detach", str(domid), device])[1]


def _checked(argv: list[str]) -> None:
    code, output = _run(argv)
    if code or "libxl: error:" in output:  # pause and unpause end with 0 whatever happens
        raise failure(" ".join(argv[:2]), code, output)


def _run(argv: list[str], network: int = -1) -> tuple[int, str]:
    return spawn.run(argv, timeout_s=TIMEOUT_S, network=network, hint=LOGS)
