"""The parts of a CNI configuration that describe a virtual interface of a domain (CNI specification 0.2.0 and newer; plugins
`bridge`, `host-local`, `static`, `dhcp`).
"""

from collections.abc import Iterator
from typing import Any

from runx.compiler.diagnostics import Path, Report, quote
from runx.compiler.frontends.cni_ipam import (
    MAIN_TABLE,
    PROPERTIES_LEFT,
    Address,
    CniFault,
    Faults,
    Interface,
    Link,
    Range,
    parsed_address,
    read_ranges,
    read_routes,
    static_address,
)
from runx.compiler.frontends.json_shape import Int, Map, Matching, checked
from runx.compiler.model.request import NetworkRequest

DEFAULT_BRIDGE = "cni0"
"""The bridge plugin's name of its bridge if the configuration has none."""

_MTU_MAX = 65521
"""Xen's network interfaces take no longer frames (Linux, drivers/net/xen-netfront.c)."""
_WORD = Matching(r"[!-~]+", "a word without spaces")
_WORDS = [_WORD]
_RANGE = {"subnet!": str, "rangeStart": str, "rangeEnd": str, "gateway": str}
_WORD_OR_NONE = Matching(r"[!-~]*", "a word without spaces")
_DNS = {"nameservers": [str], "domain": _WORD_OR_NONE, "search": _WORDS, "options": _WORDS}
_IPAM = {
    "type": str,
    **{name.removesuffix("!"): shape for name, shape in _RANGE.items()},
    "ranges": [[_RANGE]],
    "addresses": [{"address!": str, "gateway": str}],
    "routes": [{"dst!": str, "gw": str, **dict.fromkeys(PROPERTIES_LEFT, object)}],
    "dns": _DNS,
    "resolvConf": str, "dataDir": str, "daemonSocketPath": str, "request": object, "provide": object,
}  # fmt: skip
# Bridge plugin, "Network configuration reference". object: not read.
_BRIDGE = {
    "type!": str,
    "cniVersion": str,
    "name": str,
    "args": object,
    "capabilities": object,
    "bridge": Matching(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,14}", "the name of a network interface"),
    "mtu": Int(0, _MTU_MAX),
    "isGateway": bool, "isDefaultGateway": bool, "forceAddress": bool, "ipMasq": bool, "ipMasqBackend": str, "hairpinMode": bool,
    "promiscMode": bool, "vlan": Int(0, 4094), "vlanTrunk": [object], "preserveDefaultVlan": bool, "macspoofchk": bool,
    "disableContainerInterface": bool, "enabledad": bool, "portIsolation": bool,
    "ipam": _IPAM,
    "dns": _DNS,
}  # fmt: skip
_LIST = {
    "cniVersion": str,
    "cniVersions": [str],
    "name!": str,
    "disableCheck": object,
    "disableGC": object,
    "loadOnlyInlinedPlugins": object,
    "plugins!": [Map(object)],
}
"""object: not read. runx calls no plugin, neither for CHECK nor for GC or STATUS. loadOnlyInlinedPlugins shuts out chained
plugins, which act on the host."""

# Settings without effect on a virtual machine, and the reason. The bridge belongs to the host: runx never changes it.
_OF_THE_PORT = "a setting of the bridge's port, which Xen makes"
_IGNORED = {
    "ipMasq": "masquerading is up to the administrator of the bridge",
    "hairpinMode": _OF_THE_PORT,
    "promiscMode": "a setting of the bridge, which runx does not change",
    "forceAddress": "about the address of the bridge, which runx does not change",
    "enabledad": "the guest uses an address without asking whether another machine has it",
    "args": "runx calls no plugin that would take them; NETCONF gives the address",
}
_IPAM_IGNORED = {
    "resolvConf": "files of the host are not read; put the servers under dns",
    "dataDir": "runx keeps no records of addresses: NETCONF or a DHCP server gives the address",
    "daemonSocketPath": "the guest has a DHCP client of its own",
    "request": "the guest's DHCP client asks for address, routes, servers of names and domain",
    "provide": "the guest's DHCP client sends no further options",
}
_CHAINED = {
    "tuning": "settings of the guest's interface that runx does not make; linux.sysctl and the bridge plugin's mtu are carried",
    "sbr": "rules by source address are not made in the guest; each interface has its routes in the main table",
    "vrf": "the guest's kernel has no VRF",
    "portmap": "it acts on the host, which runx does not change: the container is reached by its own address",
    "firewall": "it acts on the host's firewall, which runx does not change",
    "bandwidth": "it acts on the host's end of the interface, which runx does not change",
}
"""Plugins behind the bridge plugin, and why each has no effect."""
_REFUSED = {
    "vlan": "VLANs of a bridge are not supported",
    "vlanTrunk": "VLANs of a bridge are not supported",
    "disableContainerInterface": "an interface that stays down is not supported",
}


def read_network(
    document: Any, file: str, name: str, address: Address | None, prefix: int | None, asked: Path, report: Report
) -> NetworkRequest:
    """The settings of an interface with this address (None: the file's address, or DHCP) in the network `name` of a CNI file.

    asked: the entry of process.env that names the file. Ignored settings of the file go to `report`. Raises Faults with all.
    """
    place: Path = (*asked, file)
    faults = Faults()
    bridge, at = _bridge_of(document, name, place, report, faults)
    ipam = bridge.get("ipam", {})
    of_ipam: Path = (*at, "ipam")
    # What does not have its shape is left out: no more is said of addresses then, as it might be wrong.
    is_whole = not any(fault.path[: len(of_ipam)] == of_ipam for fault in faults.found)
    ranges, interface, gateway = [], None, None
    if is_whole:
        before = len(faults.found)
        ranges = read_ranges(ipam, of_ipam, faults)
        is_whole = len(faults.found) == before
    if is_whole:
        interface, gateway = static_address(ipam, of_ipam, ranges, address, prefix, faults)
    # The bridge plugin: a dictionary without a type is a network of layer 2 alone. Without any, NETCONF without IP asks for DHCP.
    layer2 = interface is None and "ipam" in bridge and not any(ipam.values())
    _check_settings(bridge, at, place, report, faults, has_address=interface is not None or address is not None)
    if interface is None:
        _list_unused(bridge, place, report, layer2)
    faults.take((*at, "mtu"), _check_mtu, bridge.get("mtu", 0), interface)
    dns = ipam.get("dns") or bridge.get("dns") or {}
    of_dns = (*of_ipam, "dns") if ipam.get("dns") else (*at, "dns")
    for index, server in enumerate(dns.get("nameservers", ())):
        faults.take((*of_dns, "nameservers", index), parsed_address, server, "{} is no IP address")
    domain = dns.get("domain")
    routes = read_routes(bridge, at, Link(interface, gateway), place, report, faults) if interface else []
    if faults.found:
        raise faults
    return NetworkRequest(
        network=name,
        bridge=bridge.get("bridge", DEFAULT_BRIDGE),
        mtu=bridge.get("mtu") or None,
        address=str(interface) if interface else None,
        layer2=layer2,
        checks_mac=bridge.get("macspoofchk", False),
        isolated=bridge.get("portIsolation", False),
        routes=tuple(routes),
        nameservers=tuple(dns.get("nameservers", ())),
        search=tuple(dns.get("search", ())) or ((domain,) if domain else ()),
        dns_options=tuple(dns.get("options", ())),
        bridge_addresses=tuple(_bridge_addresses(bridge, ranges, interface, gateway)),
        path=asked,
    )


def _check_settings(bridge: dict[str, Any], at: Path, place: Path, report: Report, faults: Faults, *, has_address: bool) -> None:
    """Report the settings that are ignored, and those that are not supported. at: the path of `bridge` in the file."""
    for key, message in _REFUSED.items():
        if bridge.get(key):
            faults.add(CniFault("RX507", message, "use a bridge that needs no such setting", (*at, key)))
    for key, reason in _IGNORED.items():
        if bridge.get(key):
            report.ignore("RX508", (*place, key), reason)
    if bridge.get("preserveDefaultVlan") is False:
        report.ignore("RX508", (*place, "preserveDefaultVlan"), "a setting of the bridge's port, which Xen makes")
    ipam = bridge.get("ipam", {})
    for key, reason in _IPAM_IGNORED.items():
        if ipam.get(key):
            report.ignore("RX508", (*place, "ipam", key), reason)
    for index, route in enumerate(ipam.get("routes", ())):
        for key, instead in PROPERTIES_LEFT.items():
            if route.get(key) and (key, route[key]) != ("table", MAIN_TABLE):
                report.ignore("RX514", (*place, "ipam", "routes", index, key), instead)
    kind = ipam.get("type", "")
    if kind not in ("", "host-local", "static", "dhcp"):
        if has_address:
            report.ignore("RX515", (*place, "ipam", "type"), "runx calls no plugin; NETCONF gives the address")
        else:
            hint = "use host-local, static or dhcp, or give the address: NETCONF=FILE,NAME,IP/PREFIX"
            faults.add(CniFault("RX506", f"{quote(kind)} is not supported", hint, (*at, "ipam", "type")))


def _list_unused(bridge: dict[str, Any], place: Path, report: Report, layer2: bool) -> None:
    """Report the settings that an interface without a static address does not use."""
    who = "the network has no addresses" if layer2 else "the guest takes the routes of the DHCP server"
    routes = bridge.get("ipam", {}).get("routes")
    for path, value in ((("ipam", "routes"), routes), (("isDefaultGateway",), bridge.get("isDefaultGateway"))):
        if value:
            report.ignore("RX515", (*place, *path), who)


def _check_mtu(mtu: int, interface: Interface | None) -> None:
    """Raise CniFault for one that the kernel refuses (Linux, include/uapi/linux/if_ether.h, ETH_MIN_MTU; RFC 8200, 5)."""
    least = 1280 if interface and interface.version == 6 else 68
    if mtu and mtu < least:
        raise CniFault("RX504", f"must be a number from {least} to {_MTU_MAX}, not {mtu}")


def _bridge_of(document: dict[str, Any], name: str, place: Path, report: Report, faults: Faults) -> tuple[dict[str, Any], Path]:
    """The bridge plugin's part of a network configuration or of a list of plugins, every value of its type, and its path in the
    file. Raises Faults if there is no such part."""
    at: Path = ()
    if "plugins" in document:
        document = _shaped(document, _LIST, (), place, report, faults)
        if "name" in document:
            faults.take(("name",), _expect_name, document["name"], name)
        if not document.get("plugins"):
            if "plugins" in document:
                hint = "put the bridge plugin into this file: those of a directory beside it (CNI 1.1) are not read"
                faults.add(CniFault("RX504", "empty", hint, ("plugins",)))
            raise faults
        first, *others = document["plugins"]
        at = ("plugins", 0)
        if any(fault.path == at for fault in faults.found):
            raise faults  # nothing is known of the bridge
        for index, other in enumerate(others, 1):
            if other.get("type") == "firewall" and other.get("ingressPolicy", "open") != "open":
                # Unlike this plugin's other settings, it keeps frames away from the container.
                message, hint = "not supported", "use a bridge of its own"
                faults.add(CniFault("RX507", message, hint, ("plugins", index, "ingressPolicy")))
            kind = other.get("type")
            kind = kind if isinstance(kind, str) else "plugin"
            report.ignore("RX509", (*place, kind), _CHAINED.get(kind, "runx calls no plugin"))
    else:
        first = document
        if isinstance(document.get("name"), str):
            faults.take(("name",), _expect_name, document["name"], name)
        else:
            faults.add(CniFault("RX504", "missing" if document.get("name") is None else "must be a string", path=("name",)))
    kind = first.get("type")
    if kind != "bridge":
        what = f"{quote(kind)} is not supported" if isinstance(kind, str) else "missing"
        hint = 'a container is attached to a bridge of the host: "type": "bridge"'
        faults.add(CniFault("RX506", what, hint, (*at, "type")))
        raise faults
    return _shaped(first, _BRIDGE, at, place, report, faults), at


def _expect_name(found: str, wanted: str) -> None:
    if found != wanted:
        raise CniFault("RX505", f"holds the network {quote(found)}, not {quote(wanted)}", "name the network as its file does")


def _shaped(
    value: dict[str, Any], shape: dict[str, Any], at: Path, place: Path, report: Report, faults: Faults
) -> dict[str, Any]:
    """What of the value has the shape. at: its path in the file."""
    own = Report()
    # "name" stands beside the plugins of a list, and has been looked at.
    result: dict[str, Any] = checked(value, shape, (), own)
    for fault in own.errors.values():
        if fault.path != ("name",) or shape is not _BRIDGE:
            faults.add(CniFault("RX504", fault.message, path=(*at, *fault.path)))
    for path, notice in own.notices.items():
        report.ignore(notice.id, (*place, *path), notice.message)
    return result


def _bridge_addresses(
    bridge: dict[str, Any], ranges: list[Range], interface: Interface | None, gateway: Address | None
) -> Iterator[str]:
    """The gateways that CNI's own plugin would make addresses of the bridge (isGateway): the interface's, else every subnet's."""
    if bridge.get("isGateway") or bridge.get("isDefaultGateway"):
        found = [gateway] if interface else [each.gateway for each in ranges]
        yield from (str(each) for each in found if each)
