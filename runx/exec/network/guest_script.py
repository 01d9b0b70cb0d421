"""Write the guest's network script, for a network that an engine configured (docs/guest.md, /runx/network; busybox ash).

Only a short-lived child of the supervisor loads this module.
"""

from collections.abc import Iterator
from ipaddress import ip_interface
from typing import Any

Link = dict[str, Any]
"""An interface in the form of `ip -json -details address show`, with three more keys: `routes` by family, `neighbours`, and
`own_networks`, the networks to which the kernel made a route."""

FAMILIES = {"inet": "-4", "inet6": "-6"}
METRICS = ("mtu", "advmss")
"""Metrics of a route that busybox's ip knows."""

_HEAD = """\
#!/bin/sh
# Brings up what the engine put into the container's network namespace. Written by runx; see docs/networking.md.
set -eu
at=start
trap '[ $? -eq 0 ] || echo "runx: $at failed" >&2' EXIT
"""


def guest_script(links: list[Link], loopback: list[Link], rules: list[str]) -> str:
    """The script's text (docs/guest.md, /runx/network; busybox ash).

    loopback: the loopback interface, which the guest has already. rules: commands that make the policy rules.
    """
    lines = [_HEAD]
    for link in loopback:
        lines += [f"{line}\n" for line in _address_commands(link) if " 127.0.0.1/8 " not in line and " ::1/128 " not in line]
    for link in links:
        lines.append(f"\nat='interface {link['ifname']}'\n")
        lines += [f"{line}\n" for line in _address_lines(link)]
    for link in links:
        lines.append(f"\nat='routes of {link['ifname']}'\n")
        lines += [f"{line}\n" for family in FAMILIES for line in _route_lines(link, family)]
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
        # The engine's network has checked already that no other machine has the address.
        yield f"echo 0 > {settings}/accept_dad"
    if "UP" in link["flags"]:
        yield f"ip link set {name} up"
    yield from _address_commands(link)
    for entry in link["neighbours"]:
        yield f"add-neighbour {entry['dst']} {entry['lladdr']} {name}"


def _address_commands(link: Link) -> Iterator[str]:
    for family, option in FAMILIES.items():
        for entry in _addresses(link, family):
            peer = f" peer {entry['address']}/{entry['prefixlen']}" if "address" in entry else f"/{entry['prefixlen']}"
            broadcast = f" broadcast {entry['broadcast']}" if "broadcast" in entry else ""
            yield f"ip {option} addr add {entry['local']}{peer}{broadcast} dev {link['ifname']}"


def _addresses(link: Link, family: str) -> Iterator[dict[str, Any]]:
    """Addresses copied to the guest. Link-local and router-advertised ones are not."""
    for entry in link["addr_info"]:
        if entry["family"] == family and not entry.get("dynamic") and not (family == "inet6" and entry["scope"] == "link"):
            yield entry


def _route_lines(link: Link, family: str) -> Iterator[str]:
    name, option = link["ifname"], FAMILIES[family]
    # Routes without a gateway come first: they lead to the gateways.
    for route in sorted(link["routes"][family], key=lambda route: "gateway" in route):
        words = [f"ip {option} route add {route['dst']}"]
        words += [f"via {route['gateway']}"] if "gateway" in route else []
        words.append(f"dev {name}")
        words += ["onlink"] if "onlink" in route.get("flags", ()) else []
        words += [f"src {route['prefsrc']}"] if "prefsrc" in route else []
        words += [f"metric {route['metric']}"] if "metric" in route else []
        words += [f"table {route['table']}"] if "table" in route else []
        words += [f"{key} {metrics[key]}" for metrics in route.get("metrics", ()) for key in METRICS if key in metrics]
        yield " ".join(words)
    if "UP" in link["flags"]:
        for network in sorted(_networks(link, family) - link["own_networks"]):
            # The engine deleted this route or moved it to another table, so delete the one that the guest's kernel may have made.
            yield f"ip {option} route del {network} dev {name} proto kernel 2> /dev/null || :"


def _networks(link: Link, family: str) -> set[str]:
    """Networks to which the kernel makes a route when the interface gets its addresses."""
    found = (
        ip_interface(f"{entry.get('address', entry['local'])}/{entry['prefixlen']}").network for entry in _addresses(link, family)
    )
    return {str(network) for network in found if network.num_addresses > 1}
