"""The addresses and routes of a CNI configuration (plugins `host-local` and `static`), as those plugins and the kernel take
them.
"""

import re
from collections.abc import Callable
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
from typing import Any, NamedTuple, TypeVar

from runx.compiler.diagnostics import Path, Report, quote

Address = IPv4Address | IPv6Address
Interface = IPv4Interface | IPv6Interface
Network = IPv4Network | IPv6Network

PROPERTIES_LEFT = {
    "mtu": "the route is made with the MTU of the interface",
    "advmss": "the route is made with the MSS that follows from its MTU",
    "priority": "the route is made with the metric that the guest's kernel gives",
    "table": "the route is made in the main table",
    "scope": "the route is made with the scope that follows from its gateway",
}
"""Properties of a route in CNI 1.1 that are not carried, and what the route has instead."""
MAIN_TABLE = 254
"""The table of routes that is meant without `table` (Linux, include/uapi/linux/rtnetlink.h, RT_TABLE_MAIN)."""


_T = TypeVar("_T")


class CniFault(Exception):
    """A fault of the configuration; the text completes `FILE: PATH: `. `fault_id`: as of Report.error. `path`: of the value, from
    where `Faults.take` is called; () also for what NETCONF asks of the file."""

    def __init__(self, fault_id: str, message: str, hint: str = "", path: Path = ()) -> None:
        super().__init__(message)
        self.fault_id = fault_id
        self.hint = hint
        self.path = path


class Faults(Exception):
    """The faults of a configuration, collected while it is read; raised if there are any."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[CniFault] = []
        """Their paths are from the root of the file."""

    def add(self, fault: CniFault, path: Path = ()) -> None:
        """Collect a fault whose path begins at `path`."""
        fault.path = (*path, *fault.path)
        self.found.append(fault)

    def take(self, path: Path, read: Callable[..., _T], *arguments: Any) -> _T | None:
        """The result of `read`; None if it raises CniFault, which is collected."""
        try:
            return read(*arguments)
        except CniFault as fault:
            self.add(fault, path)
            return None


class Range(NamedTuple):
    """The addresses of a subnet that host-local gives to containers, `first` and `last` included, and the subnet's gateway."""

    subnet: Network
    first: Address
    last: Address
    gateway: Address


def read_ranges(ipam: dict[str, Any], path: Path, faults: Faults) -> list[Range]:
    """The ranges of host-local. path: of `ipam`."""
    entries: list[tuple[Path, dict[str, Any]]] = [(path, ipam)] if ipam.get("subnet") else []
    for outer, group in enumerate(ipam.get("ranges", ())):
        entries += [((*path, "ranges", outer, inner), entry) for inner, entry in enumerate(group)]
    found = [_range(entry, place, faults) for place, entry in entries]
    return [each for each in found if each]


def _range(entry: dict[str, Any], path: Path, faults: Faults) -> Range | None:
    """None if there is a fault."""
    subnet = faults.take((*path, "subnet"), parsed_network, entry["subnet"], "{} is no subnet")
    if subnet is None:
        return None
    small = subnet.num_addresses <= 2
    lowest = subnet.network_address if small else subnet.network_address + 1
    highest = subnet.broadcast_address if small or subnet.version == 6 else subnet.broadcast_address - 1
    first, last = (
        faults.take((*path, name), _end, entry[name], subnet) if entry.get(name) else default
        for name, default in (("rangeStart", lowest), ("rangeEnd", highest))
    )
    gateway: Address | None = subnet.network_address + 1 if subnet.num_addresses > 1 else subnet.network_address
    if entry.get("gateway"):
        gateway = faults.take((*path, "gateway"), parsed_address, entry["gateway"], "{} is no IP address")
    if first is None or last is None or gateway is None:
        return None
    if int(first) > int(last):
        faults.add(CniFault("RX510", f"the range {first}-{last} is backwards", "rangeStart is the lower address"), path)
        return None
    return Range(subnet, first, last, gateway)


def _end(text: str, subnet: Network) -> Address:
    """An end of a range. Raises CniFault."""
    address = parsed_address(text, "{} is no IP address")
    if address not in subnet:
        raise CniFault("RX510", f"{address} is not in {subnet}", "the range is a part of the subnet")
    return address


def static_address(
    ipam: dict[str, Any], path: Path, ranges: list[Range], address: Address | None, prefix: int | None, faults: Faults
) -> tuple[Interface | None, Address | None]:
    """The interface's address with its prefix length, and the gateway of its subnet; None and None without a static address.

    ipam, path: the member of the bridge, and its place in the file. address, prefix: as NETCONF gives them. An address that
    host-local would not give, or that the kernel or other machines do not take for a machine's own, is a fault.
    """
    if address is not None:
        return faults.take((), _of_netconf, ranges, address, prefix) or (None, None)
    if ipam.get("type") != "static":
        return None, None
    return _of_the_file(ipam, path, faults)


def _of_the_file(ipam: dict[str, Any], path: Path, faults: Faults) -> tuple[Interface | None, Address | None]:
    place: Path = (*path, "addresses")
    before = len(faults.found)
    if not ipam.get("addresses"):
        faults.add(CniFault("RX511", "missing", "type static takes its address from there, or from NETCONF"), place)
        return None, None
    first, *others = ipam["addresses"]
    if others:
        faults.add(CniFault("RX513", "one address for an interface is supported", "use a NETCONF for each"), place)
    interface = faults.take((*place, 0, "address"), _interface, first["address"])
    gateway = first.get("gateway")
    if gateway:
        gateway = faults.take((*place, 0, "gateway"), parsed_address, gateway, "{} is no IP address")
    if interface:
        faults.take((*place, 0, "address"), _check_usable, interface, gateway)
    if len(faults.found) > before:
        return None, None
    return interface, gateway or None


def _interface(text: str) -> Interface:
    """An address with its prefix length. Raises CniFault."""
    if not re.fullmatch(r"[^/]+/[0-9]{1,3}", text, re.ASCII):
        hint = f"write {text if len(text) < 50 and '/' not in text else 'ADDRESS'}/PREFIX"
        raise CniFault("RX510", f"{quote(text)} has no prefix length", hint)
    interface: Interface = _parsed(ip_interface, text, "{} is no IP address with a prefix length")
    return interface


def _of_netconf(ranges: list[Range], address: Address, prefix: int | None) -> tuple[Interface, Address | None]:
    """Raises CniFault."""
    same = [each for each in ranges if each.subnet.version == address.version]
    around = [each for each in same if address in each.subnet]
    if same and not around:
        message = f"{address} is not in {' or '.join(str(each.subnet) for each in same)}"
        raise CniFault("RX511", message, "take an address of the subnet")
    if not around:
        if prefix is None:
            raise CniFault("RX511", f"has no subnet for {address}", f"give the prefix length with the address: {address}/PREFIX")
        interface = ip_interface(f"{address}/{prefix}")
        _check_usable(interface, None)
        return interface, None
    subnet = around[0].subnet
    interface = ip_interface(f"{address}/{subnet.prefixlen if prefix is None else prefix}")
    _check_usable(ip_interface(f"{address}/{subnet.prefixlen}"), None)
    found = next((each for each in around if int(each.first) <= int(address) <= int(each.last)), None)
    if not found:
        ranges_text = " or ".join(f"{each.first}-{each.last}" for each in around)
        raise CniFault("RX511", f"{address} is outside of the range {ranges_text} of {subnet}", "take an address of the range")
    _check_usable(interface, found.gateway)
    return interface, found.gateway


def _check_usable(interface: Interface, gateway: Address | None) -> None:
    address, network = interface.ip, interface.network
    what = ""
    if network.version == 4 and int(network.network_address) >> 24 == 0:
        # The kernel makes no route to such a network (Linux, net/ipv4/fib_frontend.c, fib_add_ifaddr).
        hint = "take the prefix length of the network, such as 24"
        raise CniFault("RX511", f"{address} cannot be in the network {network}, to which no route leads", hint)
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


class Link(NamedTuple):
    """The interface that routes go through."""

    interface: Interface
    gateway: Address | None
    """Of its subnet."""


def read_routes(
    bridge: dict[str, Any], at: Path, link: Link, place: Path, report: Report, faults: Faults
) -> list[tuple[str, str]]:
    """Destination and gateway of each route of the interface's family; the gateway is "" for a destination on the link.

    As in CNI, of several routes to one destination the first is made. The interface's own network needs no route. The others go
    to `report`, below `place`. at: the path of `bridge` in the file.
    """
    interface, gateway = link
    ipam = bridge.get("ipam", {})
    everything = ip_network("0.0.0.0/0" if interface.version == 4 else "::/0")
    given: dict[Network, Address | None] = {}
    places: dict[Network, Path] = {}
    for index, route in enumerate(ipam.get("routes", ())):
        its_place: Path = (*at, "ipam", "routes", index)
        before = len(faults.found)
        target = faults.take((*its_place, "dst"), parsed_network, route["dst"], "{} is no network")
        via = gateway
        if route.get("gw"):
            via = faults.take((*its_place, "gw"), parsed_address, route["gw"], "{} is no IP address")
        if target is None or len(faults.found) > before:
            continue
        why = ""
        if target.version != interface.version:
            why = f"the interface has no address of IPv{target.version}"
        elif target == interface.network and target.num_addresses > 1:
            why = "the network of the interface's address, to which the kernel makes a route"
        elif target in given:
            why = f"a route to {target} stands before it"
        else:
            given[target] = via
            places[target] = its_place
        if why:
            report.ignore("RX516", (*place, "ipam", "routes", index), why)
    named = ipam.get("gateway") or any(entry.get("gateway") for entry in ipam.get("addresses", ()))
    is_gateway = bridge.get("isGateway") or named
    if everything not in given and (bridge.get("isDefaultGateway") or (is_gateway and not given)):
        if gateway is None:
            key = "isDefaultGateway" if bridge.get("isDefaultGateway") else "isGateway"
            hint = "give ipam a subnet or a gateway"
            faults.add(CniFault("RX512", "no gateway and no subnet to take one from", hint), (*at, key))
        else:
            given[everything] = gateway
    made: list[tuple[str, str]] = []
    for target, via in given.items():
        before = len(faults.found)
        faults.take(places.get(target, at), _check_gateway, target, via, interface)
        one = target.num_addresses == 1
        if one and via == target.network_address:
            via = None
        elif len(faults.found) == before and via and via not in interface.network and given.get(ip_network(via), via) != via:
            message = f"the gateway {via} has a route through another gateway"
            faults.add(CniFault("RX512", message, "name one on the link"), places.get(target, at))
        name = "default" if target == everything else str(target.network_address) if one and via is None else str(target)
        made.append((name, str(via) if via else ""))
    return made


def _check_gateway(target: Network, via: Address | None, interface: Interface) -> None:
    """Raise CniFault for a gateway that the kernel does not take."""
    if via is None:
        if target.prefixlen == 0:
            raise CniFault("RX512", f"no gateway for {target}", "give the route a gw, or ipam a gateway")
        return
    network = interface.network
    wrong = via.version != interface.version or via == interface.ip or via.is_multicast or via.is_unspecified or via.is_loopback
    if network.num_addresses > 2 and via.version == 4:
        wrong = wrong or via in (network.network_address, network.broadcast_address)
    if wrong:
        raise CniFault("RX512", f"{via} is no gateway for {target}", "name another machine of the network")


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
