"""What an engine has configured in a network namespace, and the shell script that makes it so in the guest.

Read with `ip -json` in this process's network namespace. Loaded by a short-lived child of the supervisor alone.
"""

import json
import re
from collections.abc import Iterator
from ipaddress import ip_address, ip_interface
from typing import Any

from runx.errors import RunxError
from runx.exec.takeover import checked

Link = dict[str, Any]
"""An interface as `ip -json -details address show` has it, with its routes under `routes`, by family."""

_FAMILIES = {"inet": "-4", "inet6": "-6"}
_NAME = re.compile(r"[A-Za-z0-9_.@-]+")
_BACKEND = re.compile(r"vif\d+\.\d+")
_AT_INGRESS = ("ingress", "clsact")
"""Queueing disciplines of which an interface can have one."""
_OWN_ROUTES = ("kernel", "ra")
"""Who made them: the guest's kernel makes the same, of the addresses and of what it hears from routers."""

_HEAD = """\
#!/bin/sh
# Brings up what the engine put into the container's network namespace. Written by runx; see docs/networking.md.
set -eu
at=start
trap '[ $? -eq 0 ] || echo "runx: $at failed" >&2' EXIT
"""


def describe(names: list[str]) -> str:
    """What `takeover.look` reads: a line for each of these interfaces (name, MAC address, MTU, and 1 when it has to be made to
    receive all multicast frames, else 0), NUL, and the guest's script. Raises RunxError as `read`."""
    links = read(names)
    return "\n".join(map(_line, links)) + "\0" + guest_script(links)


def _line(link: Link) -> str:
    # The guest hears only those multicast frames that the engine's interface receives. A macvlan gets no others.
    allmulticast = int(link.get("linkinfo", {}).get("info_kind") == "macvlan" and "ALLMULTI" not in link["flags"])
    return f"{link['ifname']} {link['address']} {link['mtu']} {allmulticast}"


def read(names: list[str]) -> list[Link]:
    """The interfaces of these names. Raises RunxError for one that cannot be given to a virtual machine, or a route."""
    shown: list[Link] = json.loads(checked(["ip", "-json", "-details", "address", "show"], "ip address show"))
    links = [link for link in shown if link["ifname"] in names]
    for link in links:
        if wrong := _fault(link):
            name = link["ifname"]
            raise RunxError(
                f"the interface {name} of the container's network namespace cannot be given to a virtual machine: {wrong}",
                "use a network of veth or macvlan interfaces",
            )
        link["disable_ipv6"] = _ipv6_disabled(link["ifname"])
        link["routes"] = {}
    _check_ingress(names)
    by_name = {link["ifname"]: link for link in links}
    for family, option in _FAMILIES.items():
        routes = json.loads(checked(["ip", "-json", option, "route", "show"], "ip route show") or "[]")
        for link in links:
            link["routes"][family] = []
        for route in routes:
            if route.get("protocol") in _OWN_ROUTES:
                continue
            if "nexthops" in route or "via" in route or "type" in route:
                raise RunxError(
                    f"the route to {route['dst']} of the container's network namespace cannot be given to a virtual machine"
                )
            if route.get("dev") in by_name:
                by_name[route["dev"]]["routes"][family].append(route)
    return links


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


def _check_ingress(names: list[str]) -> None:
    """Raise RunxError when somebody else handles what comes in at one of the interfaces: frames could not be led past it."""
    shown = json.loads(checked(["tc", "-json", "qdisc", "show"], "tc qdisc show") or "[]")
    for discipline in shown:
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


def guest_script(links: list[Link]) -> str:
    """The script's text (docs/guest.md, /runx/network; busybox ash)."""
    lines = [_HEAD]
    for link in links:
        lines.append(f"\nat='interface {link['ifname']}'\n")
        lines += [f"{line}\n" for line in _address_lines(link)]
    for link in links:
        lines.append(f"\nat='routes of {link['ifname']}'\n")
        lines += [f"{line}\n" for family in _FAMILIES for line in _route_lines(link, family)]
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
    for entry in link["addr_info"]:
        # Those of the link are the guest's own, as are those that it learns from routers.
        of_the_link = entry["scope"] == "link" and entry["family"] == "inet6"
        if of_the_link or entry.get("dynamic") or entry["family"] not in _FAMILIES:
            continue
        peer = f" peer {entry['address']}/{entry['prefixlen']}" if "address" in entry else f"/{entry['prefixlen']}"
        broadcast = f" broadcast {entry['broadcast']}" if "broadcast" in entry else ""
        yield f"ip {_FAMILIES[entry['family']]} addr add {entry['local']}{peer}{broadcast} dev {name}"


def _route_lines(link: Link, family: str) -> Iterator[str]:
    name = link["ifname"]
    add = f"ip {_FAMILIES[family]} route add"
    networks = [ip_interface(f"{entry['local']}/{entry['prefixlen']}").network for entry in link["addr_info"]]
    # Gateways are reached by what has none.
    for route in sorted(link["routes"][family], key=lambda route: "gateway" in route):
        gateway = route.get("gateway", "")
        if "onlink" in route.get("flags", ()) and not any(ip_address(gateway) in network for network in networks):
            yield f"{add} {gateway} dev {name}"
        via = f" via {gateway}" if gateway else ""
        source = f" src {route['prefsrc']}" if "prefsrc" in route else ""
        metric = f" metric {route['metric']}" if "metric" in route else ""
        yield f"{add} {route['dst']}{via} dev {name}{source}{metric}"
