"""Read what an engine configured in this process's network namespace, by `ip -json`.

Only a short-lived child of the supervisor loads this module.
"""

import re
from collections.abc import Container
from typing import Any

from runx.errors import RunxError
from runx.exec.network import packet_filters
from runx.exec.network.guest_script import FAMILIES, METRICS, Link, guest_script
from runx.exec.network.iproute import shown
from runx.exec.network.policy_rules import Rules

_NAME = re.compile(r"[A-Za-z0-9_.@-]+")
_BACKEND = re.compile(r"vif\d+\.\d+")
_AT_INGRESS = ("ingress", "clsact")
"""Queueing disciplines for incoming frames. An interface can have one of them."""
_OWN_ROUTES = ("2", "9")
"""Origins of routes: the kernel, and a router's advertisement (rtnetlink(7), rtm_protocol). The guest's kernel makes the same
routes in the main table, from the addresses and from what routers advertise."""
_CARRIED = {"dst", "gateway", "dev", "table", "protocol", "scope", "prefsrc", "metric", "metrics", "flags"}
"""Properties of a route that the guest gets. The scope follows from whether there is a gateway."""


def describe(names: list[str]) -> str:
    """The text that `tcfilter.inspect` reads: three parts separated by NUL.

    First a line for each of these interfaces: name, MAC address, MTU, and 1 if it must be made to receive all multicast frames,
    else 0. Then a line for each part of the namespace that the guest does not get. Then the guest's script. Raises RunxError for
    an interface or route that cannot be given to a virtual machine.
    """
    rules = {family: Rules(option, names) for family, option in FAMILIES.items()}
    not_carried = [what for family in FAMILIES for what in rules[family].not_carried] + packet_filters.read()
    interfaces: list[Link] = shown(["ip", "-json", "-details", "address", "show"])
    links = [link for link in interfaces if link["ifname"] in names]
    read(links, {family: rules[family].tables for family in FAMILIES}, not_carried)
    loopback = [link for link in interfaces if link["ifname"] == "lo"]
    script = guest_script(links, loopback, [command for family in FAMILIES for command in rules[family].commands])
    return "\0".join(("\n".join(map(_line, links)), "\n".join(not_carried), script))


def _line(link: Link) -> str:
    # The guest receives the multicast frames that the engine's interface receives. A macvlan receives only those of its groups.
    allmulticast = int(link.get("linkinfo", {}).get("info_kind") == "macvlan" and "ALLMULTI" not in link["flags"])
    return f"{link['ifname']} {link['address']} {link['mtu']} {allmulticast}"


def read(links: list[Link], tables: dict[str, set[str]], not_carried: list[str]) -> None:
    """Add routes, neighbours and settings to these interfaces.

    tables: for each family the tables of routes to read, beside the main one. not_carried: gets the parts that the guest does not
    get. Raises RunxError for an interface or route that cannot be given to a virtual machine.
    """
    for link in links:
        if wrong := _fault(link):
            name = link["ifname"]
            raise RunxError(
                f"the interface {name} of the container's network namespace cannot be given to a virtual machine: {wrong}",
                "use a network of veth or macvlan interfaces",
            )
        link["disable_ipv6"] = _ipv6_disabled(link["ifname"])
        link["routes"] = {family: [] for family in FAMILIES}
        link["neighbours"] = []
        link["own_networks"] = set()
    by_name = {link["ifname"]: link for link in links}
    _check_ingress(by_name)
    for family, option in FAMILIES.items():
        for route in shown(["ip", "-N", "-json", option, "route", "show", "table", "all"]):
            _assign_route(route, family, by_name, tables[family], not_carried)
    for entry in shown(["ip", "-json", "neighbour", "show", "nud", "permanent"]):
        if entry["dev"] in by_name and "lladdr" in entry:
            by_name[entry["dev"]]["neighbours"].append(entry)


def _assign_route(route: dict[str, Any], family: str, by_name: dict[str, Link], tables: set[str], not_carried: list[str]) -> None:
    """Add a route to its interface, if the guest gets it."""
    link = by_name.get(route.get("dev", ""))
    table = route.get("table", "")
    if table not in ("", *tables):
        return
    if not table and route.get("protocol") in _OWN_ROUTES:
        if link:
            link["own_networks"].add(route["dst"])
        return
    where = f"the route to {route['dst']}" + (f" in table {table}" if table else "")
    if "nexthops" in route or "via" in route or "type" in route:
        if table:
            not_carried.append(where)
            return
        raise RunxError(f"{where} of the container's network namespace cannot be given to a virtual machine")
    if not link:
        return
    unknown = route.keys() - _CARRIED - ({"pref"} if route.get("pref") == "medium" else set())
    unknown |= {name for metrics in route.get("metrics", ()) for name in metrics} - {*METRICS}
    not_carried += [f"{name} of {where}" for name in sorted(unknown)]
    link["routes"][family].append(route)


def _fault(link: Link) -> str:
    name, kind = link["ifname"], link.get("linkinfo", {}).get("info_kind", "")
    if _BACKEND.fullmatch(name):
        return "it belongs to another virtual machine"
    if not _NAME.fullmatch(name):
        return "its name has characters that runx does not pass on"
    if link.get("link_type") != "ether":
        return f"it carries no Ethernet frames ({kind or link.get('link_type', 'unknown')})"
    if kind in ("ipvlan", "ipvtap"):
        return f"an {kind} interface works for addresses of its own kernel alone"
    return ""


def _check_ingress(names: Container[str]) -> None:
    """Raise RunxError when an interface has a queueing discipline for incoming frames already: it can have one only."""
    for discipline in shown(["tc", "-json", "qdisc", "show"]):
        if discipline["kind"] in _AT_INGRESS and discipline["dev"] in names:
            name, kind = discipline["dev"], discipline["kind"]
            raise RunxError(
                f"the interface {name} of the container's network namespace has the queueing discipline {kind} already, "
                "which a virtual machine cannot be given",
                f"control traffic on the host's side of it; if a supervisor that was killed has left it: "
                f"tc qdisc del dev {name} {kind}",
            )


def _ipv6_disabled(name: str) -> bool:
    try:
        with open(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6", encoding="ascii") as file:
            return file.read().strip() == "1"
    except OSError:
        return True
