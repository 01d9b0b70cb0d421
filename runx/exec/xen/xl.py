"""xl(1), the command line tool of Xen, with one function for each subcommand. runx uses no other tool of the hypervisor."""

from runx.errors import RunxError
from runx.exec import spawn

CREATE_TIMEOUT_S = 300.0
"""On hardware `xl create` takes tenths of a second. Under emulation, beside other load, it has taken tens of seconds."""
TIMEOUT_S = 120.0
LOGS = "xl's logs are in /var/log/xen/"

_NO_XEN = "privileged command interface"
_NO_QEMU = (
    "disks that are not raw need Xen's QEMU: use a raw image, or install qemu-system-xen "
    "(Debian 12 and Ubuntu 24.04 have it for x86; that of Debian 13 cannot serve these machines)"
)
_BAD_KERNEL = f"is the kernel for Xen, and of less than half a GiB when it is unpacked? {LOGS}"
_HINTS = (
    ("is not executable", _NO_QEMU),  # libxl, tools/libs/light/libxl_dm.c: "device model PATH is not executable"
    (_NO_XEN, "Xen is not running here: boot this machine as dom0 of Xen"),
    ("Is xenstored running", "xenstored is not running: start Xen's services"),
    ("xenstore", "is xenstored running?"),
    *dict.fromkeys(
        # Of the hypercalls; of xl, where it takes memory from dom0; of libxenguest, where it does not (xc_dom_boot_mem_init).
        ("not enough", "Failed to allocate memory", "failed to free memory", "can't allocate"),
        "there is too little memory left for this domain: see `xl info` (free_memory), or lower the container's limit",
    ).items(),
    ("xc_dom_kernel_file failed", _BAD_KERNEL),  # libxl, tools/libs/light/libxl_dom.c
    ("xc_dom_parse_image failed", _BAD_KERNEL),
    ("already exists", "a domain with this name exists: see `xl list`"),
)


def failure(what: str, code: int, output: str) -> RunxError:
    """The error for an xl that failed: its own words, and a hint for known ones."""
    words = spawn.one_line(output, 2000)
    hint = next((hint for mark, hint in _HINTS if mark in output), LOGS)
    return RunxError(f"{what} failed with exit status {code}: {words or 'it said nothing'}", hint)


def create_argv(config: str) -> list[str]:
    """The command line that creates a paused domain. -e: the supervisor watches the domain, not a daemon of xl."""
    return ["xl", "create", "-p", "-e", "-q", config]


def unpause(domid: int) -> None:
    _checked(["xl", "unpause", str(domid)])


def pause(domid: int) -> None:
    _checked(["xl", "pause", str(domid)])


def destroy(domain: str, network: int = -1) -> None:
    """Destroy a domain by name or number. A domain that does not exist is no error. Raises RunxError with xl's words.

    network: a descriptor of the host's network namespace, where scripts detach interfaces; -1: this process is in it.
    """
    code, output = _run(["xl", "destroy", domain], network)
    # xl says "Non-existant", in this spelling, of a number, and the others of a name.
    gone = not code or any(words in output for words in ("Non-exist", "does not exist", "invalid domain identifier"))
    # When two processes destroy it at once, xl fails with other words in one of them.
    if not gone and ended(domain) not in ("destroyed", "dying"):
        raise failure("xl destroy", code, output)


def domid(name: str) -> int | None:
    """Number of the domain with this name; None when there is none."""
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
    """How a domain, by number or name, has ended; "" while it lives (xl(1), `list`, the state column).

    "destroyed", "dying", "shutdown" when it powered off, "reboot", "crashed" and others. Raises RunxError with xl's words.
    """
    code, output = _run(["xl", "list", str(domain)])
    if code:
        if "does not exist" in output or "invalid domain identifier" in output:
            return "destroyed"
        raise failure("xl list", code, output)
    words = output.splitlines()[-1].split() if output else []
    state = words[-2] if len(words) > 2 else ""
    if len(state) < 5:
        raise RunxError(f"xl list: its output for {domain} is not understood: {output.strip()}")
    if "d" in state:
        return "dying"
    return _REASONS.get(state[4], "shutdown") if state[3] == "s" else ""


class Usage:
    """Memory and CPUs of a domain, and their use (xl(1), `list`)."""

    __slots__ = ("cpu_s", "memory_mib", "vcpus")

    def __init__(self, memory_mib: int, vcpus: int, cpu_s: float) -> None:
        self.memory_mib = memory_mib
        self.vcpus = vcpus
        """Virtual CPUs that are online."""
        self.cpu_s = cpu_s
        """Seconds of processor time of all CPUs together, since the domain was created; a multiple of 0.1."""


def usage(domain: str) -> Usage:
    """The usage of a domain, by name or number. Raises RunxError with xl's words when there is none."""
    code, output = _run(["xl", "list", domain])
    if code:
        raise failure("xl list", code, output)
    fields = output.splitlines()[-1].split() if output else []
    try:
        return Usage(int(fields[-4]), int(fields[-3]), float(fields[-1]))
    except (IndexError, ValueError):
        raise RunxError(f"xl list: its output for {domain} is not understood: {output.strip()}") from None


def set_memory(domain: str, mib: int) -> None:
    """Set the memory of a domain, which is also its limit from now on (xl(1), `mem-set`)."""
    _checked(["xl", "mem-set", domain, f"{mib}m"])


def set_vcpus(domain: str, count: int) -> None:
    """Ask the guest to use `count` of its virtual CPUs (xl(1), `vcpu-set`)."""
    # There may be more of them than the host has CPUs, as when a domain is created.
    _checked(["xl", "vcpu-set", "--ignore-host", domain, str(count)])


def pin(domain: str, cpus: str) -> None:
    """Pin all virtual CPUs to CPUs of the host: a list such as `0-3,7`, or `all`. Raises RunxError with xl's words."""
    argv = ["xl", "vcpu-pin", domain, "all", cpus]
    code, output = _run(argv)
    if code or "Could not set affinity" in output:  # xl exits with 0 in any case when it is told `all`
        raise failure("xl vcpu-pin", code, output)


def set_schedule(scheduler: str, domain: str, weight: int, cap_percent: int) -> None:
    """Set weight and cap of a domain, for the scheduler credit or credit2. Cap 0: none (xl(1), `sched-credit2`)."""
    _checked(["xl", f"sched-{scheduler}", "-d", domain, "-w", str(weight), "-c", str(cap_percent)])


def info() -> str:
    """What xl says of the host: lines of `name : value`. Raises RunxError with xl's words."""
    code, output = _run(["xl", "info"])
    if code:
        raise failure("xl info", code, output)
    return output


def scheduler() -> str:
    """Name of the host's scheduler (xl(1), `info`)."""
    found = [line.partition(":")[2].strip() for line in info().splitlines() if line.startswith("xen_scheduler")]
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


def block_attach(domid: int, disk: str) -> None:
    """Give a running domain one more disk, as xl-disk-configuration(5) writes it. Raises RunxError with xl's words."""
    code, output = _run(["xl", "block-attach", str(domid), disk])
    if code or "libxl: error:" in output:
        raise failure("xl block-attach", code, output)


def block_detach(domid: int, vdev: str) -> None:
    """Take a disk away from a running domain. Raises RunxError with xl's words, also if the guest does not let go of it."""
    code, output = _run(["xl", "block-detach", str(domid), vdev])
    if code or "libxl: error:" in output:
        raise failure("xl block-detach", code, output)


def _checked(argv: list[str]) -> None:
    code, output = _run(argv)
    if code or "libxl: error:" in output:  # pause and unpause exit with 0 in any case
        raise failure(" ".join(argv[:2]), code, output)


def _run(argv: list[str], network: int = -1) -> tuple[int, str]:
    return spawn.run(argv, timeout_s=TIMEOUT_S, network=network, hint=LOGS)
