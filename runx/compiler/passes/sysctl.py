"""The parameters of the guest's kernel (sysctl): which it has, and which values it takes (docs/guest.md, "What the kernel has").

The table is of runx's own kernel.
"""

import re
from ipaddress import IPv6Address

from runx.compiler.diagnostics import Path, Report, did_you_mean, quote
from runx.compiler.frontends.oci.linux import REAL_TIME_US, sysctl_name
from runx.compiler.frontends.oci.mount_data import kernel_number

BUILD = 'docs/guest.md, "What the kernel has", says how to build a kernel with it'
"""A hint."""
_GUESSES = 20
"""Unknown names for which a known one is looked up. Each takes a few milliseconds."""


def check(given: dict[str, str], interfaces: frozenset[str] | None, report: Report) -> None:
    """Report parameters that the kernel does not have, and values that it refuses. given: linux.sysctl of a checked document.
    interfaces: the names of all network interfaces but the loopback interface; None if they are not known before the start."""
    if given:
        _check_each(given, interfaces, report)
        _check_ports(given, report)
        _check_real_time(given, report)


_OF_INTERFACE = re.compile(r"net/ipv[46]/(conf|neigh)/([^/]+)/(.+)")
_OF_DEFAULT_ALONE = ("gc_interval", "gc_thresh1", "gc_thresh2", "gc_thresh3")
"""Parameters of neighbours that no interface has of its own (Linux, net/core/neighbour.c, neigh_sysctl_register)."""


def _check_each(names: dict[str, str], interfaces: frozenset[str] | None, report: Report) -> None:
    from runx.compiler.model.guest_kernel import SYSCTL

    guesses = _GUESSES
    for given, value in names.items():
        name = sysctl_name(given)
        pattern = re.sub(r"^(net/ipv[46]/(?:conf|neigh))/[^/]+/", r"\1/*/", name)
        if pattern in SYSCTL:
            if fault := _no_interface(name, interfaces):
                report.error("RX426", ("linux", "sysctl", given), *fault)
            else:
                _check_value(("linux", "sysctl", given), pattern, value, report)
            continue
        if name == "kernel/hostname":
            continue
        guess = did_you_mean(pattern.replace("/", "."), [known.replace("/", ".") for known in SYSCTL]) if guesses else ""
        guesses = max(0, guesses - 1)
        message = f"the guest's kernel has no parameter {quote(given)} that can be set{guess}"
        report.error("RX426", ("linux", "sysctl", given), message, BUILD)


def _no_interface(name: str, interfaces: frozenset[str] | None) -> tuple[str, str] | None:
    """Why there certainly is no parameter of this name for an interface, and a hint; None if there may be."""
    found = _OF_INTERFACE.fullmatch(name)
    if not found:
        return None
    what, interface, word = found.groups()
    if what == "neigh" and interface != "default" and (interface == "all" or word in _OF_DEFAULT_ALONE):
        return f"the kernel has {word} of neighbours for {quote('default')}, not for {quote(interface)}", "write default there"
    if interfaces is not None and interface not in ("all", "default", "lo", *interfaces):
        has = ", ".join(sorted(interfaces))
        return f"the virtual machine has no interface {quote(interface)}", f"it has lo, {has}; all and default mean all of them"
    return None


def check_parameters(parameters: tuple[str, ...], path: Path, whose: str, report: Report) -> None:
    """List the parameters of the kernel's command line that set what the kernel does not have, or does not take: it says nothing.
    path: of the array; whose: of which file it is, unless the configuration's."""
    for index, parameter in enumerate(parameters):
        name, _, value = parameter.removeprefix("sysctl.").partition("=")
        if not parameter.startswith("sysctl."):
            continue
        own = Report()
        _check_each({name.replace("/", "."): value.strip('"')}, None, own)
        for fault in (*own.errors.values(), *own.notices.values()):
            report.ignore("RX429", (*path, index), f"{quote(parameter)}{whose} has no effect: {fault.message}")


_TEXTS = frozenset(
    """
kernel/core_pattern kernel/domainname kernel/hostname kernel/modprobe kernel/poweroff_cmd kernel/printk_devkmsg
kernel/seccomp/actions_logged net/core/default_qdisc net/ipv4/ip_local_reserved_ports net/ipv4/tcp_fastopen_key
net/ipv6/conf/*/stable_secret net/ipv6/icmp/ratemask
""".split()
)
"""Parameters whose values are not numbers."""
_CONGESTION = ("net/ipv4/tcp_congestion_control", "net/ipv4/tcp_allowed_congestion_control")
_NUMBERS = re.compile(r"\s*(-?(0[xX][0-9a-fA-F]{1,16}|0[0-7]{0,20}|[1-9][0-9]{0,19})(\s+|$))*", re.ASCII)
"""Linux, kernel/sysctl.c, proc_dointvec and proc_doulongvec_minmax."""
_DEPENDENT = {
    "kernel/sched_rt_period_us": "1 1 2147483647",
    "kernel/sched_rt_runtime_us": "1 -1 2147483647",
    "kernel/shmall": "1 0 18446744073709551615",
    "kernel/shmmax": "1 0 18446744073709551615",
    "kernel/threads-max": "1 1 1073741823",
    "net/ipv4/ip_local_port_range": "2 0 65535",
    "net/ipv4/ip_unprivileged_port_start": "1 0 65535",
    "net/ipv4/ping_group_range": "2 0 4294967294",
    "vm/compact_memory": "1 1 1",
    "vm/drop_caches": "1 1 4",
    "vm/min_free_kbytes": "1 0 2147483647",
    "vm/overcommit_memory": "1 0 2",
}
"""Bounds of parameters for which the table has none, as they depend on other parameters, or cannot be read."""
_LISTS = {"net/ipv4/ip_local_reserved_ports": 65535, "net/ipv6/icmp/ratemask": 255}
"""Parameters that are lists of numbers and ranges, and the greatest number (Linux, kernel/sysctl.c, proc_do_large_bitmap)."""
_GROUP = "[0-9a-fA-F]{1,8}"
_ACTIONS = "kill_process|kill_thread|trap|errno|user_notif|trace|log"
_FORMS = {
    "kernel/printk_devkmsg": ("on|off|ratelimit", "one of on, off, ratelimit"),
    "kernel/seccomp/actions_logged": (f"(({_ACTIONS})( +|$))*", f"words of {_ACTIONS.replace('|', ', ')}"),
    "net/ipv4/tcp_fastopen_key": (
        f"{_GROUP}(-{_GROUP}){{3}}(,{_GROUP}(-{_GROUP}){{3}})?",
        "one key or two with a comma, such as 00000000-00000000-00000000-00000000",
    ),
}
"""Texts of which the kernel takes these alone: a pattern, and what it means in words."""
_FIRST_PORTS = {"net/ipv4/ip_unprivileged_port_start": "1024", "net/ipv4/ip_local_port_range": "32768 60999"}
"""What the kernel begins with. The ports that programs get are not among those that need a capability."""
_SETS_MAX = 32768
"""The greatest last number of kernel.sem (Linux, ipc/util.h, IPCMNI)."""
_LENGTHS = {"kernel/domainname": 64, "kernel/core_pattern": 127}
"""Bytes of a text, of which the kernel leaves the rest away."""


def _check_value(path: Path, name: str, value: str, report: Report) -> None:
    """Report a value that the kernel certainly refuses. name: of a known parameter."""
    from runx.compiler.model.guest_kernel import CONFIG

    if not value:
        report.ignore("RX429", path, "an empty text sets nothing: the kernel keeps the value that it has")
    elif len(value.encode()) > _LENGTHS.get(name, len(value.encode())):
        report.error("RX427", path, f"{quote(value)} has more bytes than the kernel keeps ({_LENGTHS[name]})")
    elif name in _CONGESTION:
        known = ("reno", "cubic", *(["bbr"] if CONFIG["CONFIG_TCP_CONG_BBR"] else []))
        words = [value.removesuffix("\n")] if name == _CONGESTION[0] else value.split()
        if (missing := next((word for word in words if word not in known), None)) is not None:
            message = f"the guest's kernel has no congestion control {quote(missing)}, but {' and '.join(known)}"
            report.error("RX427", path, message, BUILD)
    elif name in _LISTS:
        if wrong := _wrong_list(value, _LISTS[name]):
            report.error(
                "RX427", path, f"{quote(value)}: {wrong}", "write numbers and ranges with commas, such as 8080,9148-9150"
            )
    elif name == "net/ipv6/conf/*/stable_secret":
        if not _is_ipv6(value):
            report.error("RX427", path, f"must be an IPv6 address, not {quote(value)}")
    elif name in _TEXTS and "\n" in value[:-1]:
        report.error("RX427", path, f"{quote(value)} has several lines, of which the kernel keeps the first")
    elif name in _TEXTS:
        form, what = _FORMS.get(name, ("", ""))
        if form and not re.fullmatch(form, value.strip(), re.ASCII):
            report.error("RX427", path, f"must be {what}, not {quote(value)}")
    elif not _NUMBERS.fullmatch(value) or not value.strip():
        report.error("RX427", path, f"must be a number, or several with blanks between them, not {quote(value)}")
    elif wrong := _out_of_bounds(name, value.split()):
        report.error("RX427", path, f"{quote(value)}: {wrong}")


def _is_ipv6(text: str) -> bool:
    """Whether the kernel reads it as an IPv6 address; blanks behind it do not count (Linux, net/core/utils.c, in6_pton)."""
    try:
        IPv6Address(text.rstrip())
    except ValueError:
        return False
    return "%" not in text  # a zone is Python's


def _wrong_list(value: str, most: int) -> str:
    """What the kernel refuses about a list of numbers and ranges; "" if nothing."""
    for item in value.strip().split(",") if value.strip() else ():
        if not (found := re.fullmatch(r"([0-9]{1,9})(?:-([0-9]{1,9}))?", item, re.ASCII)):
            return f"{quote(item)} is neither a number nor a range"
        low, high = int(found[1]), int(found[2] or found[1])
        if high < low:
            return f"the range {item} is backwards"
        if high > most:
            return f"{high} is more than {most}"
    return ""


def _check_ports(given: dict[str, str], report: Report) -> None:
    """Report a range of ports that the kernel refuses. given: parameters by their names in linux.sysctl."""
    names = {sysctl_name(name): name for name in given}
    place = next((name for name in reversed(_FIRST_PORTS) if name in names), "")
    if not place or report.has_errors_below(("linux", "sysctl")):
        return
    start, ports = ([*map(_number, given.get(names.get(name, ""), first).split())] for name, first in _FIRST_PORTS.items())
    path: Path = ("linux", "sysctl", names[place])
    if len(ports) == 2 and ports[1] < ports[0]:
        report.error("RX427", path, f"the range {ports[0]} to {ports[1]} is backwards")
    elif ports and start and ports[0] < start[0]:
        message = f"the kernel gives no ports below net.ipv4.ip_unprivileged_port_start, but {ports[0]} is less than {start[0]}"
        report.error("RX427", path, message, "set net.ipv4.ip_unprivileged_port_start and net.ipv4.ip_local_port_range together")


def _check_real_time(given: dict[str, str], report: Report) -> None:
    """Report more time for real-time processes than its period has (Linux, kernel/sched/rt.c, sched_rt_global_validate)."""
    names = {sysctl_name(name): name for name in given}
    place = next((names[name] for name in reversed(REAL_TIME_US) if name in names), "")
    if not place or report.has_errors_below(("linux", "sysctl")):
        return
    period, runtime = (
        _number(next(iter(given.get(names.get(name, ""), "").split()), str(first))) for name, first in REAL_TIME_US.items()
    )
    if runtime > period:
        message = f"real-time processes get {runtime} us in each {period} us, which is more than there are"
        hint = "set kernel.sched_rt_period_us and kernel.sched_rt_runtime_us together"
        report.error("RX427", ("linux", "sysctl", place), message, hint)


def _out_of_bounds(name: str, words: list[str]) -> str:
    """What the kernel refuses about the numbers of a parameter; "" if nothing is known."""
    from runx.compiler.model.guest_kernel import SYSCTL

    bounds = SYSCTL[name] or _DEPENDENT.get(name, "")
    if not bounds:
        return ""
    count, low, high = map(int, bounds.split())
    if len(words) > count:
        return f"the kernel takes {count} {'number' if count == 1 else 'numbers'} there, not {len(words)}"
    if name == "kernel/sem" and len(words) == count and not 0 <= _number(words[-1]) <= _SETS_MAX:
        return f"the kernel takes a last number from 0 to {_SETS_MAX} there"
    if any(not low <= _number(word) <= high for word in words):
        return f"the kernel takes {low} alone there" if low == high else f"the kernel takes numbers from {low} to {high} there"
    return ""


def _number(word: str) -> int:
    """As the kernel reads it, with a sign."""
    return kernel_number(word.removeprefix("-")) * (-1 if word[0] == "-" else 1)
