"""What an engine has configured in a network namespace, and the shell script that makes it so in the guest.

Read with `ip -json` in this process's network namespace. Loaded by a short-lived child of the supervisor alone.
"""

import re
from collections.abc import Container, Iterator
from ipaddress import ip_interface
from typing import Any

from runx.errors import RunxError
from runx.exec import engine_filters
from runx.exec.engine_rules import Rules, shown

Link = dict[str, Any]
"""An interface as `ip -json -details address show` has it; with its routes by family under `routes`, its neighbours
under `neighbours`, and under `own_networks` those to which the kernel has made a route."""

_FAMILIES = {"inet": "-4", "inet6": "-6"}
_NAME = re.compile(r"[A-Za-z0-9_.@-]+")
_BACKEND = re.compile(r"vif\d+\.\d+")
_AT_INGRESS = ("ingress", "clsact")
"""Queueing disciplines of which an interface can have one."""
_OWN_ROUTES = ("2", "9")
"""Who made them, the kernel or a router's advertisement (rtnetlink(7), rtm_protocol): the guest's kernel makes the same in the
main table, of the addresses and of what it hears from routers."""
_CARRIED = {"dst", "gateway", "dev", "table", "protocol", "scope", "prefsrc", "metric", "metrics", "flags"}
"""Of what a route may have. Its scope comes of whether it has a gateway."""
_METRICS = ("mtu", "advmss")
"""Of a route's metrics those that busybox's ip knows."""

_HEAD = """\
#!/bin/sh
# Brings up what the engine put into the container's network namespace. Written by runx; see docs/networking.md.
set -eu
at=start
trap '[ $? -eq 0 ] || echo "runx: $at failed" >&2' EXIT
"""


def describe(names: list[str]) -> str:
    """What `takeover.look` reads, in three parts separated by NUL: a line for each of these interfaces (name, MAC address, MTU,
    and 1 when it has to be made to receive all multicast frames, else 0); a line for each thing that the guest does not get; the
    guest's script. Raises RunxError for what cannot be given to a virtual machine."""
    rules = {family: Rules(option, names) for family, option in _FAMILIES.items()}
    not_carried = [what for family in _FAMILIES for what in rules[family].not_carried] + engine_filters.read()
    interfaces: list[Link] = shown(["ip", "-json", "-details", "address", "show"])
    links = [link for link in interfaces if link["ifname"] in names]
    read(links, {family: rules[family].tables for family in _FAMILIES}, not_carried)
    loopback = [link for link in interfaces if link["ifname"] == "lo"]
    script = guest_script(links, loopback, [command for family in _FAMILIES for command in rules[family].commands])
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
        link["routes"] = {family: [] for family in _FAMILIES}
        link["neighbours"] = []
        link["own_networks"] = set()
    by_name = {link["ifname"]: link for link in links}
    _check_ingress(by_name)
    for family, option in _FAMILIES.items():
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
    unknown |= {name for metrics in route.get("metrics", ()) for name in metrics} - {*_METRICS}
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


def guest_script(links: list[Link], loopback: list[Link], rules: list[str]) -> str:
    """The script's text (docs/guest.md, /runx/network; busybox ash).

    loopback: interfaces that the guest has by itself. rules: the commands that make the policy rules.
    """
    lines = [_HEAD]
    for link in loopback:
        lines += [f"{line}\n" for line in _address_commands(link) if " 127.0.0.1/8 " not in line and " ::1/128 " not in line]
    for link in links:
        lines.append(f"\nat='interface {link['ifname']}'\n")
        lines += [f"{line}\n" for line in _address_lines(link)]
    for link in links:
        lines.append(f"\nat='routes of {link['ifname']}'\n")
        lines += [f"{line}\n" for family in _FAMILIES for line in _route_lines(link, family)]
    if rules:
        lines.append("\nat='policy rules'\n")
        lines += [f"{line}\n" for line in rules]
    return "".join(lines)


def _address_lines(link: Link) -> Iterator[str]:
    name = link["ifname"]
    settings = f"/proc/sys/net/ipv6/conf/{name}"
    yield f"await-interface {link['address']} {name}"
    yield f"ip link set {name} mtu {link['mtu']}"
    if link["disable_ipv6"]:
        yield f"echo 1 > {settings}/disable_ipv6"
    else:
        # The engine's network has found out already that nobody else has the address.
        yield f"echo 0 > {settings}/accept_dad"
    if "UP" in link["flags"]:
        yield f"ip link set {name} up"
    yield from _address_commands(link)
    for entry in link["neighbours"]:
        yield f"add-neighbour {entry['dst']} {entry['lladdr']} {name}"


def _address_commands(link: Link) -> Iterator[str]:
    for family, option in _FAMILIES.items():
        for entry in _addresses(link, family):
            peer = f" peer {entry['address']}/{entry['prefixlen']}" if "address" in entry else f"/{entry['prefixlen']}"
            broadcast = f" broadcast {entry['broadcast']}" if "broadcast" in entry else ""
            yield f"ip {option} addr add {entry['local']}{peer}{broadcast} dev {link['ifname']}"


def _addresses(link: Link, family: str) -> Iterator[dict[str, Any]]:
    """Those that the guest is given. Those of the link are its own, as are those that it learns from routers."""
    for entry in link["addr_info"]:
        if entry["family"] == family and not entry.get("dynamic") and not (family == "inet6" and entry["scope"] == "link"):
            yield entry


def _route_lines(link: Link, family: str) -> Iterator[str]:
    name, option = link["ifname"], _FAMILIES[family]
    # Gateways are reached by what has none.
    for route in sorted(link["routes"][family], key=lambda route: "gateway" in route):
        words = [f"ip {option} route add {route['dst']}"]
        words += [f"via {route['gateway']}"] if "gateway" in route else []
        words.append(f"dev {name}")
        words += ["onlink"] if "onlink" in route.get("flags", ()) else []
        words += [f"src {route['prefsrc']}"] if "prefsrc" in route else []
        words += [f"metric {route['metric']}"] if "metric" in route else []
        words += [f"table {route['table']}"] if "table" in route else []
        words += [f"{key} {metrics[key]}" for metrics in route.get("metrics", ()) for key in _METRICS if key in metrics]
        yield " ".join(words)
    if "UP" in link["flags"]:
        for network in sorted(_networks(link, family) - link["own_networks"]):
            # The engine has taken it away, or has moved it to another table. The guest's kernel may not have made it.
            yield f"ip {option} route del {network} dev {name} proto kernel 2> /dev/null || :"


def _networks(link: Link, family: str) -> set[str]:
    """Those to which the kernel makes a route when the interface gets its addresses."""
    found = (
        ip_interface(f"{entry.get('address', entry['local'])}/{entry['prefixlen']}").network for entry in _addresses(link, family)
    )
    return {str(network) for network in found if network.num_addresses > 1}
