"""The parts of a CNI configuration that describe a virtual interface of a domain (CNI specification 0.2.0 and newer; plugins
`bridge`, `host-local`, `static`, `dhcp`).
"""

from collections.abc import Iterator
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
    ip_address,
    ip_interface,
    ip_network,
)
from typing import Any

from runx.compiler.diagnostics import Path, Report, path_text, quote
from runx.compiler.frontends.json_shape import Int, Map, Matching, checked
from runx.compiler.model.request import NetworkRequest

DEFAULT_BRIDGE = "cni0"
"""The bridge plugin's name of its bridge if the configuration has none."""

_Address = IPv4Address | IPv6Address
_Interface = IPv4Interface | IPv6Interface
_Network = IPv4Network | IPv6Network

_WORD = Matching(r"[!-~]+", "a word without spaces")
_WORDS = [_WORD]
_RANGE = {"subnet!": str, "rangeStart": str, "rangeEnd": str, "gateway": str}
_DNS = {"nameservers": [str], "domain": _WORD, "search": _WORDS, "options": _WORDS}
_ROUTE_IGNORED = dict.fromkeys(("mtu", "advmss", "priority", "table", "scope"), object)  # CNI 1.1
_IPAM = {
    "type": str,
    **{name.removesuffix("!"): shape for name, shape in _RANGE.items()},
    "ranges": [[_RANGE]],
    "addresses": [{"address!": str, "gateway": str}],
    "routes": [{"dst!": str, "gw": str, **_ROUTE_IGNORED}],
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
    "mtu": Int(0, 65521),
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
_IGNORED = {
    "ipMasq": "masquerading is up to the administrator of the bridge",
    "hairpinMode": "a setting of the bridge's port, which Xen makes",
    "promiscMode": "a setting of the bridge, which runx does not change",
}
_REFUSED = {
    "vlan": "VLANs of a bridge are not supported",
    "vlanTrunk": "VLANs of a bridge are not supported",
    "macspoofchk": "runx does not check the MAC addresses of a guest's frames",
    "portIsolation": "runx does not keep the ports of a bridge apart",
    "disableContainerInterface": "an interface that stays down is not supported",
}


class CniFault(Exception):
    """The configuration cannot be followed; the text completes `FILE: `. `fault_id`: as of Report.error."""

    def __init__(self, fault_id: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.fault_id = fault_id
        self.hint = hint


def read_network(
    document: Any, file: str, name: str, address: _Address | None, prefix: int | None, asked: Path, report: Report
) -> NetworkRequest:
    """The settings of an interface with this address (None: the file's address, or DHCP) in the network `name` of a CNI file.

    asked: the entry of process.env that names the file. Ignored settings of the file go to `report`. Raises CniFault.
    """
    place: Path = (*asked, file)
    bridge = _bridge_of(document, name, place, report)
    for key, message in _REFUSED.items():
        if bridge.get(key):
            raise CniFault("RX507", f"{key}: {message}", "use a bridge that needs no such setting")
    for key, reason in _IGNORED.items():
        if bridge.get(key):
            report.ignore("RX508", (*place, key), reason)
    ipam = bridge.get("ipam", {})
    if ipam.get("resolvConf"):
        report.ignore("RX508", (*place, "ipam", "resolvConf"), "files of the host are not read; put the servers under dns")
    for index, route in enumerate(ipam.get("routes", ())):
        for key in _ROUTE_IGNORED:
            if route.get(key):
                report.ignore("RX514", (*place, "ipam", "routes", index, key), "a route has a destination and a gateway, no more")
    ranges = list(_ranges(ipam))
    interface, gateway = _static(ipam, ranges, address, prefix)
    dns = ipam.get("dns") or bridge.get("dns") or {}
    for server in dns.get("nameservers", ()):
        _parsed(ip_address, server, "dns.nameservers: {} is no IP address")
    domain = dns.get("domain")
    return NetworkRequest(
        network=name,
        bridge=bridge.get("bridge", DEFAULT_BRIDGE),
        mtu=bridge.get("mtu") or None,
        address=str(interface) if interface else None,
        routes=tuple(_routes(bridge, ipam, interface, gateway)) if interface else (),
        nameservers=tuple(dns.get("nameservers", ())),
        search=tuple(dns.get("search", ())) or ((domain,) if domain else ()),
        dns_options=tuple(dns.get("options", ())),
        bridge_addresses=tuple(_bridge_addresses(bridge, ranges, interface, gateway)),
        path=asked,
    )


def _bridge_of(document: dict[str, Any], name: str, place: Path, report: Report) -> dict[str, Any]:
    """The bridge plugin's part of a network configuration or of a list of plugins, every value of its type."""
    if "plugins" in document:
        document = _shaped(document, _LIST, place, report)
        _expect_name(document["name"], name)
        if not document["plugins"]:
            hint = "put the bridge plugin into this file: those of a directory beside it (CNI 1.1) are not read"
            raise CniFault("RX504", "plugins: empty", hint)
        first, *others = document["plugins"]
        for other in others:
            if other.get("type") == "firewall" and other.get("ingressPolicy", "open") != "open":
                # Unlike this plugin's other settings, it keeps frames away from the container.
                raise CniFault("RX507", "ingressPolicy of the plugin firewall is not supported", "use a bridge of its own")
            reason = "a chained plugin acts on the host, which runx does not change"
            report.ignore("RX509", (*place, str(other.get("type", "plugin"))), reason)
    else:
        first = document
        if not isinstance(document.get("name"), str):
            raise CniFault("RX504", "name: missing" if "name" not in document else "name: must be a string")
        _expect_name(document["name"], name)
    kind = first.get("type")
    if kind != "bridge":
        what = f"type {quote(kind)} is not supported" if isinstance(kind, str) else "type: missing"
        raise CniFault("RX506", what, 'a container is attached to a bridge of the host: "type": "bridge"')
    return _shaped(first, _BRIDGE, place, report)


def _expect_name(found: str, wanted: str) -> None:
    if found != wanted:
        raise CniFault("RX505", f"holds the network {quote(found)}, not {quote(wanted)}", "name the network as its file does")


def _shaped(value: dict[str, Any], shape: dict[str, Any], place: Path, report: Report) -> dict[str, Any]:
    own = Report()
    result: dict[str, Any] = checked(value, shape, (), own)
    if own.errors:
        raise CniFault("RX504", "; ".join(f"{path_text(fault.path)}: {fault.message}" for fault in own.errors.values()))
    for path, notice in own.notices.items():
        report.ignore(notice.id, (*place, *path), notice.message)
    return result


def _ranges(ipam: dict[str, Any]) -> Iterator[tuple[_Network, _Address]]:
    """Each subnet and its gateway, which is the subnet's first address unless it is given (host-local)."""
    entries = [entry for group in ipam.get("ranges", ()) for entry in group]
    for entry in ([ipam] if ipam.get("subnet") else []) + entries:
        subnet = _parsed(lambda text: ip_network(text, strict=False), entry["subnet"], "ipam: {} is no subnet")
        gateway = subnet.network_address + 1 if subnet.num_addresses > 1 else subnet.network_address
        if entry.get("gateway"):
            gateway = _parsed(ip_address, entry["gateway"], "ipam: the gateway {} is no IP address")
        yield subnet, gateway


def _static(
    ipam: dict[str, Any], ranges: list[tuple[_Network, _Address]], address: _Address | None, prefix: int | None
) -> tuple[_Interface | None, _Address | None]:
    """The interface's address with its prefix length, and the gateway of its subnet."""
    if address is None:
        # host-local knows the free addresses from its own records. Without them only a DHCP server does.
        if ipam.get("type") != "static" or not ipam.get("addresses"):
            return None, None
        first, *others = ipam["addresses"]
        if others:
            raise CniFault("RX513", "ipam.addresses: one address for an interface is supported", "use a NETCONF for each")
        interface = _parsed(ip_interface, first["address"], "ipam.addresses: {} is no IP address with a prefix length")
        gateway = first.get("gateway")
        return interface, gateway and _parsed(ip_address, gateway, "ipam.addresses: the gateway {} is no IP address")
    same = [(subnet, gateway) for subnet, gateway in ranges if subnet.version == address.version]
    for subnet, gateway in same:
        if address in subnet:
            return ip_interface(f"{address}/{subnet.prefixlen if prefix is None else prefix}"), gateway
    if same:
        raise CniFault(
            "RX511", f"{address} is not in {' or '.join(str(subnet) for subnet, _ in same)}", "take an address of the subnet"
        )
    if prefix is None:
        raise CniFault("RX511", f"has no subnet for {address}", f"give the prefix length with the address: {address}/PREFIX")
    return ip_interface(f"{address}/{prefix}"), None


def _bridge_addresses(
    bridge: dict[str, Any], ranges: list[tuple[_Network, _Address]], interface: _Interface | None, gateway: _Address | None
) -> Iterator[str]:
    """The gateways that CNI's own plugin would make addresses of the bridge (isGateway): the interface's, else every subnet's."""
    if bridge.get("isGateway") or bridge.get("isDefaultGateway"):
        found = [gateway] if interface else [each for _, each in ranges]
        yield from (str(each) for each in found if each)


def _routes(
    bridge: dict[str, Any], ipam: dict[str, Any], interface: _Interface, gateway: _Address | None
) -> Iterator[tuple[str, str]]:
    """Destination and gateway of each route of the interface's family."""
    everything = ip_network("0.0.0.0/0" if interface.version == 4 else "::/0")
    given: list[tuple[_Network, _Address | None]] = []
    for route in ipam.get("routes", ()):
        target = _parsed(lambda text: ip_network(text, strict=False), route["dst"], "ipam.routes: {} is no network")
        via = _parsed(ip_address, route["gw"], "ipam.routes: the gateway {} is no IP address") if route.get("gw") else gateway
        if target.version == interface.version:
            given.append((target, via))
    has_default = any(target == everything for target, _ in given)
    named = bool(ipam.get("gateway") or any(entry.get("gateway") for entry in ipam.get("addresses", ())))
    is_gateway = bridge.get("isGateway") or named
    if not has_default and (bridge.get("isDefaultGateway") or (is_gateway and not given)):
        if gateway is None:
            raise CniFault("RX512", "isGateway: no gateway and no subnet to take one from", "give ipam a subnet or a gateway")
        given.append((everything, gateway))
    for target, via in given:
        if via is None:
            raise CniFault("RX512", f"ipam.routes: no gateway for {target}", "give the route a gw, or ipam a gateway")
        if via.version != interface.version:
            raise CniFault("RX512", f"ipam.routes: {via} is no gateway for {target}")
        yield "default" if target == everything else str(target), str(via)


def _parsed(parse: Any, text: str, message: str) -> Any:
    try:
        return parse(text)
    except ValueError:
        raise CniFault("RX510", message.format(quote(text))) from None
