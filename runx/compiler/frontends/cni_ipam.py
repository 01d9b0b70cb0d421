"""The addresses and routes of a CNI configuration (plugins `host-local` and `static`), as those plugins and the kernel take
them.
"""

import re
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
from typing import Any, NamedTuple

from runx.compiler.diagnostics import Path, Report, quote

Address = IPv4Address | IPv6Address
Interface = IPv4Interface | IPv6Interface
Network = IPv4Network | IPv6Network

PROPERTIES_LEFT = ("mtu", "advmss", "priority", "table", "scope")
"""Properties of a route in CNI 1.1 that are not carried."""


class CniFault(Exception):
    """The configuration cannot be followed; the text completes `FILE: `. `fault_id`: as of Report.error."""

    def __init__(self, fault_id: str, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.fault_id = fault_id
        self.hint = hint


class Range(NamedTuple):
    """The addresses of a subnet that host-local gives to containers, `first` and `last` included, and the subnet's gateway."""

    subnet: Network
    first: Address
    last: Address
    gateway: Address


def read_ranges(ipam: dict[str, Any]) -> list[Range]:
    """The ranges of host-local. Raises CniFault."""
    entries = [entry for group in ipam.get("ranges", ()) for entry in group]
    return [_range(entry) for entry in ([ipam] if ipam.get("subnet") else []) + entries]


def _range(entry: dict[str, Any]) -> Range:
    subnet = parsed_network(entry["subnet"], "ipam: {} is no subnet")
    small = subnet.num_addresses <= 2
    lowest = subnet.network_address if small else subnet.network_address + 1
    highest = subnet.broadcast_address if small or subnet.version == 6 else subnet.broadcast_address - 1
    ends = {}
    for name, default in (("rangeStart", lowest), ("rangeEnd", highest)):
        text = entry.get(name)
        ends[name] = parsed_address(text, f"ipam.{name}: {{}} is no IP address") if text else default
        if ends[name] not in subnet:
            raise CniFault("RX510", f"ipam.{name}: {ends[name]} is not in {subnet}", "the range is a part of the subnet")
    first, last = ends["rangeStart"], ends["rangeEnd"]
    if int(first) > int(last):
        raise CniFault("RX510", f"ipam: the range {first}-{last} is backwards", "rangeStart is the lower address")
    gateway = subnet.network_address + 1 if subnet.num_addresses > 1 else subnet.network_address
    if entry.get("gateway"):
        gateway = parsed_address(entry["gateway"], "ipam: the gateway {} is no IP address")
    return Range(subnet, first, last, gateway)


def static_address(
    ipam: dict[str, Any], ranges: list[Range], address: Address | None, prefix: int | None
) -> tuple[Interface | None, Address | None]:
    """The interface's address with its prefix length, and the gateway of its subnet; None and None without a static address.

    address, prefix: as NETCONF gives them. Raises CniFault for an address that host-local would not give, or that the kernel
    or other machines do not take for a machine's own.
    """
    if address is None:
        if ipam.get("type") != "static":
            return None, None
        interface, gateway = _of_the_file(ipam)
    else:
        interface, gateway = _of_netconf(ranges, address, prefix)
    _check_usable(interface, gateway)
    return interface, gateway


def _of_the_file(ipam: dict[str, Any]) -> tuple[Interface, Address | None]:
    if not ipam.get("addresses"):
        raise CniFault("RX511", "ipam.addresses: missing", "type static takes its address from there, or from NETCONF")
    first, *others = ipam["addresses"]
    if others:
        raise CniFault("RX513", "ipam.addresses: one address for an interface is supported", "use a NETCONF for each")
    text = first["address"]
    if not re.fullmatch(r"[^/]+/[0-9]{1,3}", text, re.ASCII):
        hint = f"write {text if len(text) < 50 and '/' not in text else 'ADDRESS'}/PREFIX"
        raise CniFault("RX510", f"ipam.addresses: {quote(text)} has no prefix length", hint)
    interface = _parsed(ip_interface, text, "ipam.addresses: {} is no IP address with a prefix length")
    gateway = first.get("gateway")
    return interface, parsed_address(gateway, "ipam.addresses: the gateway {} is no IP address") if gateway else None


def _of_netconf(ranges: list[Range], address: Address, prefix: int | None) -> tuple[Interface, Address | None]:
    same = [each for each in ranges if each.subnet.version == address.version]
    around = [each for each in same if address in each.subnet]
    if same and not around:
        message = f"{address} is not in {' or '.join(str(each.subnet) for each in same)}"
        raise CniFault("RX511", message, "take an address of the subnet")
    if not around:
        if prefix is None:
            raise CniFault("RX511", f"has no subnet for {address}", f"give the prefix length with the address: {address}/PREFIX")
        return ip_interface(f"{address}/{prefix}"), None
    subnet = around[0].subnet
    interface = ip_interface(f"{address}/{subnet.prefixlen if prefix is None else prefix}")
    _check_usable(ip_interface(f"{address}/{subnet.prefixlen}"), None)
    found = next((each for each in around if int(each.first) <= int(address) <= int(each.last)), None)
    if not found:
        ranges_text = " or ".join(f"{each.first}-{each.last}" for each in around)
        raise CniFault("RX511", f"{address} is outside of the range {ranges_text} of {subnet}", "take an address of the range")
    return interface, found.gateway


def _check_usable(interface: Interface, gateway: Address | None) -> None:
    address, network = interface.ip, interface.network
    what = ""
    if address == gateway:
        what = f"is the gateway of {network}"
    elif address.is_multicast or address.is_unspecified or address.is_loopback:
        what = "is not an address for a machine of a network"
    elif network.num_addresses > 2 and address == network.network_address:
        what = f"is the network {network} itself"
    elif network.num_addresses > 2 and address.version == 4 and address == network.broadcast_address:
        what = f"is the broadcast address of {network}"
    if what:
        raise CniFault("RX511", f"{address} {what}", "take another address of the subnet")


def read_routes(
    bridge: dict[str, Any], interface: Interface, gateway: Address | None, place: Path, report: Report
) -> Iterator[tuple[str, str]]:
    """Destination and gateway of each route of the interface's family; the gateway is "" for a destination on the link.

    As in CNI, of several routes to one destination the first is made. The interface's own network needs no route. The others go
    to `report`, below `place`.
    """
    ipam = bridge.get("ipam", {})
    everything = ip_network("0.0.0.0/0" if interface.version == 4 else "::/0")
    given: dict[Network, Address | None] = {}
    for index, route in enumerate(ipam.get("routes", ())):
        target = parsed_network(route["dst"], "ipam.routes: {} is no network")
        via = parsed_address(route["gw"], "ipam.routes: the gateway {} is no IP address") if route.get("gw") else gateway
        why = ""
        if target.version != interface.version:
            why = f"the interface has no address of IPv{target.version}"
        elif target == interface.network and target.num_addresses > 1:
            why = "the network of the interface's address, to which the kernel makes a route"
        elif target in given:
            why = f"a route to {target} stands before it"
        else:
            given[target] = via
        if why:
            report.ignore("RX516", (*place, "ipam", "routes", index), why)
    named = ipam.get("gateway") or any(entry.get("gateway") for entry in ipam.get("addresses", ()))
    is_gateway = bridge.get("isGateway") or named
    if everything not in given and (bridge.get("isDefaultGateway") or (is_gateway and not given)):
        if gateway is None:
            raise CniFault("RX512", "isGateway: no gateway and no subnet to take one from", "give ipam a subnet or a gateway")
        given[everything] = gateway
    for target, via in given.items():
        _check_gateway(target, via, interface)
        one = target.num_addresses == 1
        if one and via == target.network_address:
            via = None
        elif via and via not in interface.network and given.get(ip_network(via), via) != via:
            raise CniFault("RX512", f"ipam.routes: the gateway {via} has a route through another gateway", "name one on the link")
        name = "default" if target == everything else str(target.network_address) if one and via is None else str(target)
        yield name, str(via) if via else ""


def _check_gateway(target: Network, via: Address | None, interface: Interface) -> None:
    """Raise CniFault for a gateway that the kernel does not take."""
    if via is None:
        if target.prefixlen == 0:
            raise CniFault("RX512", f"ipam.routes: no gateway for {target}", "give the route a gw, or ipam a gateway")
        return
    network = interface.network
    wrong = via.version != interface.version or via == interface.ip or via.is_multicast or via.is_unspecified or via.is_loopback
    if network.num_addresses > 2 and via.version == 4:
        wrong = wrong or via in (network.network_address, network.broadcast_address)
    if wrong:
        raise CniFault("RX512", f"ipam.routes: {via} is no gateway for {target}", "name another machine of the network")


def parsed_address(text: str, message: str) -> Address:
    """An IP address. `message` has {} for the text of one that is none. Raises CniFault."""
    # Python also reads a zone, fe80::1%eth0, which is of no use to another machine.
    address: Address = _parsed(ip_address, text if "%" not in text else "", message, shown=text)
    return address


def parsed_network(text: str, message: str) -> Network:
    """A network with a prefix length. Raises CniFault for other masks, and for bits behind the prefix, as CNI and the kernel."""
    if not re.fullmatch(r"[0-9A-Fa-f:.]+/[0-9]{1,3}", text, re.ASCII):
        raise CniFault("RX510", message.format(quote(text)), "write it like 10.1.0.0/16")
    loose: Network = _parsed(lambda text: ip_network(text, strict=False), text, message)
    if str(loose.network_address) != str(ip_address(text.partition("/")[0])):
        raise CniFault("RX510", f"{message.format(quote(text))}: it has bits behind the prefix", f"write {loose}")
    return loose


def _parsed(parse: Any, text: str, message: str, shown: str = "") -> Any:
    try:
        return parse(text)
    except ValueError:
        raise CniFault("RX510", message.format(quote(shown or text))) from None
