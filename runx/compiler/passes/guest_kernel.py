"""What the guest's kernel lacks: parameters, options of file systems, and drivers (docs/guest.md, "What the kernel has").

The table of what it has is of runx's own kernel. Nothing is known about another kernel, so what a container asks of it is left to
the guest.
"""

import posixpath
import re

from runx.compiler.diagnostics import Path, Report, did_you_mean, quote
from runx.compiler.frontends.oci.linux import sysctl_name
from runx.compiler.frontends.oci.mount_data import kernel_number
from runx.compiler.frontends.oci.mount_options import Option, parse_options
from runx.compiler.frontends.oci.mounts import GUEST_TYPES
from runx.compiler.host.config import HostConfig
from runx.compiler.host.facts import Facts
from runx.compiler.model.plan import Device
from runx.compiler.model.request import Container, MountRequest

ADDED = "kernel.added"
"""The file beside a kernel of `./build KERNEL_CONFIG=FILE`, which has more than the table says."""

_BUILD = 'docs/guest.md, "What the kernel has", says how to build a kernel with it'
_GUESSES = 20
"""Unknown names for which a known one is looked up. Each takes a few milliseconds."""
_NET_ADMIN = "CAP_NET_ADMIN"
_NETWORK_DRIVERS = {
    "CONFIG_NETFILTER": "netfilter (iptables, nftables)",
    "CONFIG_TUN": "tun",
    "CONFIG_VETH": "veth",
    "CONFIG_BRIDGE": "bridges",
    "CONFIG_WIREGUARD": "WireGuard",
}
_ONE_NODE = re.compile(r"(default|local|(prefer|prefer_many|bind|interleave)(=(static|relative))?(:0)?)")
"""Memory policies of tmpfs(5) that say nothing if there is one node."""


def check_places(container: Container, host: HostConfig, assets: str, facts: Facts, report: Report) -> None:
    """Report mounts, and a working directory, at a place that a file system of the kernel does not have, as nothing can be made
    there. Mounts with another fault are left out.

    assets: the directory of the installed kernel.
    """
    if container.is_sandbox or _is_other(container, host, assets, facts):
        return
    before: dict[str, MountRequest] = {}
    for mount in container.mounts:
        place, path = mount.destination, (*mount.path, "destination")
        around = _kernel_files_around(before, place)
        if around and not report.has_errors_below(mount.path):
            is_directory = mount.type != "bind" or bool(mount.options.data) or facts.kind(mount.source) == "directory"
            if fault := _no_place(around, place, is_directory):
                report.error("RX328", path, f"{quote(place)}: {fault}", "name another place for the mount")
        before[place] = mount
    cwd = posixpath.normpath("/" + container.document.get("process", {}).get("cwd", "").lstrip("/"))
    if (around := _kernel_files_around(before, cwd)) and (fault := _no_place(around, cwd, is_directory=True)):
        report.error("RX328", ("process", "cwd"), f"{quote(cwd)}: {fault}", "name another directory")


def _is_other(container: Container, host: HostConfig, assets: str, facts: Facts) -> bool:
    """Whether the container's kernel is another than that of the table."""
    return bool(container.ramdisk or container.kernel or host.kernel or facts.kind(f"{assets}/{ADDED}") == "file")


def as_guest_has(container: Container, host: HostConfig, assets: str, facts: Facts, report: Report) -> Container:
    """The container without the devices that have no driver and the options that mean nothing there, which go to `report`, as do
    parameters and options that the kernel would refuse.

    assets: the directory of the installed kernel.
    """
    if _is_other(container, host, assets, facts):
        return container
    _check_sysctl(container, report)
    _check_parameters(host.kernel_parameters, ("defaults", "kernel_parameters"), " of runx.toml", report)
    _check_parameters(container.kernel_parameters, ("vm", "kernel", "parameters"), "", report)
    _check_capabilities(container, report)
    return container._replace(
        devices=_with_drivers(container.devices, report),
        mounts=tuple(_as_kernel_takes(mount, container, report) for mount in container.mounts),
    )


def _check_sysctl(container: Container, report: Report) -> None:
    names = container.document.get("linux", {}).get("sysctl", {})
    if names:
        _check_sysctl_of(names, report)
        _check_ports(names, report)


def _check_sysctl_of(names: dict[str, str], report: Report) -> None:
    """names: parameters as in linux.sysctl."""
    from runx.compiler.model.guest_kernel import SYSCTL

    guesses = _GUESSES
    for given, value in names.items():
        name = sysctl_name(given)
        pattern = re.sub(r"^(net/ipv[46]/(?:conf|neigh))/[^/]+/", r"\1/*/", name)
        if pattern in SYSCTL:
            _check_value(("linux", "sysctl", given), pattern, value, report)
            continue
        if name == "kernel/hostname":
            continue
        guess = did_you_mean(pattern.replace("/", "."), [known.replace("/", ".") for known in SYSCTL]) if guesses else ""
        guesses = max(0, guesses - 1)
        message = f"the guest's kernel has no parameter {quote(given)} that can be set{guess}"
        report.error("RX426", ("linux", "sysctl", given), message, _BUILD)


def _check_parameters(parameters: tuple[str, ...], path: Path, whose: str, report: Report) -> None:
    """List the parameters of the kernel's command line that set what the kernel does not have, or does not take: it says nothing.
    path: of the array; whose: of which file it is, unless the configuration's."""
    for index, parameter in enumerate(parameters):
        name, _, value = parameter.removeprefix("sysctl.").partition("=")
        if not parameter.startswith("sysctl."):
            continue
        own = Report()
        _check_sysctl_of({name.replace("/", "."): value.strip('"')}, own)
        for fault in own.errors.values():
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
    "net/ipv4/ip_local_port_range": "2 0 65535",
    "net/ipv4/ip_unprivileged_port_start": "1 0 65535",
    "net/ipv4/ping_group_range": "2 0 4294967294",
    "vm/compact_memory": "1 1 1",
    "vm/drop_caches": "1 1 4",
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
    "net/ipv6/conf/*/stable_secret": ("[0-9a-fA-F:.]{2,45}", "an IPv6 address"),
}
"""Texts of which the kernel takes these alone: a pattern, and what it means in words."""
_FIRST_PORTS = {"net/ipv4/ip_unprivileged_port_start": "1024", "net/ipv4/ip_local_port_range": "32768 60999"}
"""What the kernel begins with. The ports that programs get are not among those that need a capability."""
_LENGTHS = {"kernel/domainname": 64, "kernel/core_pattern": 127}
"""Bytes of a text, of which the kernel leaves the rest away."""


def _check_value(path: Path, name: str, value: str, report: Report) -> None:
    """Report a value that the kernel certainly refuses. name: of a known parameter."""
    from runx.compiler.model.guest_kernel import CONFIG

    if len(value.encode()) > _LENGTHS.get(name, len(value.encode())):
        report.error("RX427", path, f"{quote(value)} has more bytes than the kernel keeps ({_LENGTHS[name]})")
    elif name in _CONGESTION:
        known = ("reno", "cubic", *(["bbr"] if CONFIG["CONFIG_TCP_CONG_BBR"] else []))
        if missing := next((word for word in value.split() if word not in known), ""):
            message = f"the guest's kernel has no congestion control {quote(missing)}, but {' and '.join(known)}"
            report.error("RX427", path, message, _BUILD)
    elif name in _LISTS:
        if wrong := _wrong_list(value, _LISTS[name]):
            report.error(
                "RX427", path, f"{quote(value)}: {wrong}", "write numbers and ranges with commas, such as 8080,9148-9150"
            )
    elif name in _TEXTS:
        form, what = _FORMS.get(name, ("", ""))
        if form and not re.fullmatch(form, value.strip(), re.ASCII):
            report.error("RX427", path, f"must be {what}, not {quote(value)}")
    elif not _NUMBERS.fullmatch(value):
        report.error("RX427", path, f"must be a number, or several with blanks between them, not {quote(value)}")
    elif wrong := _out_of_bounds(name, value.split()):
        report.error("RX427", path, f"{quote(value)}: {wrong}")


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


def _out_of_bounds(name: str, words: list[str]) -> str:
    """What the kernel refuses about the numbers of a parameter; "" if nothing is known."""
    from runx.compiler.model.guest_kernel import SYSCTL

    bounds = SYSCTL[name] or _DEPENDENT.get(name, "")
    if not bounds:
        return ""
    count, low, high = map(int, bounds.split())
    if len(words) > count:
        return f"the kernel takes {count} {'number' if count == 1 else 'numbers'} there, not {len(words)}"
    if any(not low <= _number(word) <= high for word in words):
        return f"the kernel takes {low} alone there" if low == high else f"the kernel takes numbers from {low} to {high} there"
    return ""


def _number(word: str) -> int:
    """As the kernel reads it, with a sign."""
    return kernel_number(word.removeprefix("-")) * (-1 if word[0] == "-" else 1)


def _check_capabilities(container: Container, report: Report) -> None:
    from runx.compiler.model.guest_kernel import CONFIG

    lacks = [what for symbol, what in _NETWORK_DRIVERS.items() if not CONFIG[symbol]]
    sets = container.document.get("process", {}).get("capabilities", {})
    name = next((each for each in ("effective", "bounding") if _NET_ADMIN in sets.get(each, ())), "")
    if name and lacks:
        path: Path = ("process", "capabilities", name, sets[name].index(_NET_ADMIN))
        report.ignore("RX113", path, f"it is given, but the guest's kernel has no {', '.join(lacks)}; {_BUILD}")


def _kernel_files_around(mounts: dict[str, MountRequest], place: str) -> MountRequest | None:
    """The mount in which a place lies, without being its root, if it is a file system of the kernel."""
    if place in mounts:
        return None
    while (place := posixpath.dirname(place)) != "/":
        if place in mounts:
            return mounts[place] if mounts[place].type in ("proc", "sysfs", "devpts", "mqueue", "cgroup2") else None
    return None


_LISTED = {"proc": ("/proc", "/proc/sys"), "sysfs": ("/sys", "/sys/fs", "/sys/kernel")}
"""By type, the directories of which the table has all entries but those of processes."""


def _no_place(around: MountRequest, place: str, is_directory: bool) -> str:
    """Why a file or directory certainly cannot be mounted at a place in a file system of the kernel; "" if it may be."""
    kind = around.type
    words = place[len(around.destination) + 1 :].split("/")
    if kind == "mqueue":
        return "" if len(words) == 1 and not is_directory else "an mqueue has no directories"
    if kind == "cgroup2":
        # The process sees a group without others below it. In one that it may write to, a directory makes another.
        return "a read-only cgroup2 has no directories" if is_directory and "ro" in around.options.flags else ""
    if kind == "devpts":
        return "" if words == ["ptmx"] and not is_directory else "nothing can be made in a devpts"
    from runx.compiler.model.guest_kernel import PLACES

    if kind == "proc" and (words[0].isdigit() or words[0] in ("self", "thread-self")):
        return ""
    at = _LISTED[kind][0]
    for number, word in enumerate(words, 1):
        listed, at = at in _LISTED[kind], f"{at}/{word}"
        found = PLACES.get(at, "")
        if listed and not found:
            return f"the {kind} of the guest's kernel has no {quote(at)}, and nothing can be made in it"
        wanted = "directory" if number < len(words) or is_directory else "file"
        if found and found != wanted:
            return f"{quote(at)} is a {found} of the guest's kernel, not a {wanted}"
    return ""


def _with_drivers(devices: tuple[Device, ...], report: Report) -> tuple[Device, ...]:
    if not devices:
        return ()
    from runx.compiler.model.guest_kernel import BLOCK_MAJORS, CHARACTER_DEVICES, CHARACTER_MAJORS

    kept = []
    for index, device in enumerate(devices):
        number = (device.major, device.minor)
        if device.type == "b":
            has = device.major in BLOCK_MAJORS
        else:
            has = device.type == "p" or device.major in CHARACTER_MAJORS or number in CHARACTER_DEVICES
        path: Path = ("linux", "devices", index)
        if has or report.has_errors_below(path):
            kept.append(device)
            continue
        kind = "block" if device.type == "b" else "character"
        reason = f"no node is made: the guest's kernel has no driver for {kind} device {device.major}:{device.minor}; {_BUILD}"
        report.ignore("RX414", path, reason)
    return tuple(kept)


def _as_kernel_takes(mount: MountRequest, container: Container, report: Report) -> MountRequest:
    known = GUEST_TYPES.get(mount.type)
    if mount.type != "tmpfs" or known is None:
        return mount
    asked = {word.partition("=")[0] for word in mount.options.data} - _PLAIN
    if not asked:
        return mount
    path: Path = (*mount.path, "options")
    elements = container.document["mounts"][mount.path[1]].get("options", ())
    for option in parse_options(list(elements), path, Report()):
        if option.word not in asked:
            continue
        if option.word not in (*known.words, *known.settings):
            guess = did_you_mean(option.word, (*known.words, *known.settings))
            report.error("RX315", option.path, f"unknown option {quote(_text(option))} for a mount of type tmpfs{guess}")
        elif reason := _means_nothing(option):
            report.ignore("RX314", option.path, f"{quote(_text(option))}: {reason}")
        elif fault := _refused(option):
            report.error("RX322", option.path, f"{quote(_text(option))}: {fault}", _BUILD)
    kept = tuple(text for text in mount.options.data if text.partition("=")[0] in _PLAIN)
    return mount._replace(options=mount.options._replace(data=kept))


_PLAIN = frozenset(("size", "mode", "uid", "gid", "nr_inodes", "nr_blocks", "inode32", "inode64"))
"""Options of a tmpfs that every kernel has."""


def _text(option: Option) -> str:
    return option.word if option.value is None else f"{option.word}={option.value}"


def _means_nothing(option: Option) -> str:
    """Why an option of a tmpfs asks for nothing in the guest; "" if it does ask."""
    from runx.compiler.model.guest_kernel import CONFIG

    if option.word == "noswap" and not CONFIG["CONFIG_SWAP"]:
        return "the guest has no swap"
    if option.word == "huge" and option.value == "never" and not CONFIG["CONFIG_TRANSPARENT_HUGEPAGE"]:
        return "the guest has no huge pages"
    if option.word == "mpol" and not CONFIG["CONFIG_NUMA"] and _ONE_NODE.fullmatch(option.value or ""):
        return "the virtual machine's memory is one node"
    return ""


def _refused(option: Option) -> str:
    """Why the guest's kernel refuses an option of a tmpfs; "" if it takes it."""
    from runx.compiler.model.guest_kernel import CONFIG

    if option.word == "huge" and not CONFIG["CONFIG_TRANSPARENT_HUGEPAGE"]:
        return "the guest's kernel has no huge pages"
    if option.word == "mpol" and not CONFIG["CONFIG_NUMA"]:
        return "the virtual machine's memory is one node"
    if "quota" in option.word and not CONFIG["CONFIG_TMPFS_QUOTA"]:
        return "the guest's kernel has no quotas of a tmpfs"
    return ""
