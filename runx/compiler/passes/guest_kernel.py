"""What a container asks for and the guest's kernel lacks: drivers, options of file systems, parameters.

The table of what it has (docs/guest.md, "What the kernel has") is of runx's own kernel. Nothing is known about another kernel, so
what a container asks of it is left to the guest.
"""

import re

from runx.compiler.diagnostics import Path, Report, did_you_mean, quote
from runx.compiler.frontends.oci.mount_options import Option, parse_options
from runx.compiler.frontends.oci.mounts import GUEST_TYPES
from runx.compiler.host.config import HostConfig
from runx.compiler.host.facts import Facts
from runx.compiler.model.plan import Device
from runx.compiler.model.request import Container, MountRequest
from runx.compiler.passes import sysctl
from runx.compiler.passes.sysctl import BUILD

ADDED = "kernel.added"
"""The file beside a kernel of `./build KERNEL_CONFIG=FILE`, which has more than the table says."""
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


def is_other(container: Container, host: HostConfig, assets: str, facts: Facts) -> bool:
    """Whether the container's kernel is another than that of the table."""
    return bool(container.ramdisk or container.kernel or host.kernel or facts.kind(f"{assets}/{ADDED}") == "file")


def as_guest_has(container: Container, host: HostConfig, assets: str, facts: Facts, report: Report) -> Container:
    """The container without the devices that have no driver and the options that mean nothing there, which go to `report`, as do
    parameters and options that the kernel would refuse.

    assets: the directory of the installed kernel.
    """
    if is_other(container, host, assets, facts):
        return container
    interfaces = frozenset(f"eth{index}" for index in range(len(container.networks))) if container.networks else None
    sysctl.check(container.document.get("linux", {}).get("sysctl", {}), interfaces, report)
    sysctl.check_parameters(host.kernel_parameters, ("defaults", "kernel_parameters"), " of runx.toml", report)
    sysctl.check_parameters(container.kernel_parameters, ("vm", "kernel", "parameters"), "", report)
    _check_capabilities(container, report)
    return container._replace(
        devices=_with_drivers(container.devices, report),
        sysctl={name: value for name, value in container.sysctl.items() if value},
        mounts=tuple(_as_kernel_takes(mount, container, report) for mount in container.mounts),
    )


def _check_capabilities(container: Container, report: Report) -> None:
    from runx.compiler.model.guest_kernel import CONFIG

    lacks = [what for symbol, what in _NETWORK_DRIVERS.items() if not CONFIG[symbol]]
    sets = container.document.get("process", {}).get("capabilities", {})
    name = next((each for each in ("effective", "bounding") if _NET_ADMIN in sets.get(each, ())), "")
    if name and lacks:
        path: Path = ("process", "capabilities", name, sets[name].index(_NET_ADMIN))
        report.ignore("RX113", path, f"it is given, but the guest's kernel has no {', '.join(lacks)}; {BUILD}")


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
        reason = f"no node is made: the guest's kernel has no driver for {kind} device {device.major}:{device.minor}; {BUILD}"
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
            report.error("RX322", option.path, f"{quote(_text(option))}: {fault}", BUILD)
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
