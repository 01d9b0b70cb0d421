"""What an engine has configured in a network namespace.

Read with `ip -json` in this process's network namespace. Loaded by a short-lived child of the supervisor alone.
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
"""Queueing disciplines of which an interface can have one."""
_OWN_ROUTES = ("2", "9")
"""Who made them, the kernel or a router's advertisement (rtnetlink(7), rtm_protocol): the guest's kernel makes the same in the
main table, of the addresses and of what it hears from routers."""
_CARRIED = {"dst", "gateway", "dev", "table", "protocol", "scope", "prefsrc", "metric", "metrics", "flags"}
"""Of what a route may have. Its scope comes of whether it has a gateway."""


def describe(names: list[str]) -> str:
    """What `tcfilter.inspect` reads: three parts separated by NUL.

    First a line for each of these interfaces: name, MAC address, MTU, and 1 if it must be made to receive all multicast frames,
    else 0. Then a line for each thing that the guest does not get. Then the guest's script. Raises RunxError for what cannot be
    given to a virtual machine.
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
    # The guest hears only those multicast frames that the engine's interface receives. A macvlan gets no others.
    allmulticast = int(link.get("linkinfo", {}).get("info_kind") == "macvlan" and "ALLMULTI" not in link["flags"])
    return f"{link['ifname']} {link['address']} {link['mtu']} {allmulticast}"


def read(links: list[Link], tables: dict[str, set[str]], not_carried: list[str]) -> None:
    """Complete these interfaces. Raises RunxError for one that cannot be given to a virtual machine, or a route.

    tables: of each family the tables of routes that are read beside the main one. not_carried: takes what the guest does not get.
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
    """Give a route to the interface that it leads through, if the guest is to have it."""
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
    """Raise RunxError when somebody else handles what comes in at one of the interfaces: frames could not be led past it."""
    for discipline in shown(["tc", "-json", "qdisc", "show"]):
        if discipline["kind"] in _AT_INGRESS and discipline["dev"] in names:
            name, kind = discipline["dev"], discipline["kind"]
            raise RunxError(
                f"the interface {name} of the container's network namespace has the queueing discipline {kind} already, "
                "which a virtual machine cannot be given",
                f"have traffic control act on the host's side of it; if runx has left it, since a supervisor was killed: "
                f"tc qdisc del dev {name} {kind}",
            )


def _ipv6_disabled(name: str) -> bool:
    try:
        with open(f"/proc/sys/net/ipv6/conf/{name}/disable_ipv6", encoding="ascii") as file:
            return file.read().strip() == "1"
    except OSError:
        return True
