"""/runx/network: the shell script that brings the guest's interfaces up (docs/guest.md; busybox ash).

PID 1 runs it beside the set-up of the root. The DHCP client stays outside of the container's PID namespace.
"""

from collections.abc import Iterator
from ipaddress import ip_interface

from runx.compiler.model.plan import Interface, VmPlan
from runx.shell import command, head, quote

_FIRST_IPV6_METRIC = 1024
"""The kernel's metric for a route without one (Linux, IP6_RT_PRIO_USER)."""


def network_script(plan: VmPlan) -> str:
    """The script's text; empty if there is no interface."""
    interfaces = plan.machine.interfaces
    if not interfaces:
        return ""
    about = f"Brings up the network of container {plan.id}. Written by runx; see docs/guest.md."
    script = [head(about), "mkdir /run/network\n"]
    # The lines of DHCP clients come after these in the process's resolv.conf.
    lines = resolv_conf(interfaces)
    if lines:
        words = " ".join(map(quote, lines))
        script.append(f"\nat=resolv.conf\nprintf '%s\\n' {words} > /run/network/configured.dns\ncollect-dns\n")
    for index, interface in enumerate(interfaces):
        script.append(f"\nat={quote(f'network {interface.network}, {interface.name}')}\n")
        script += [f"{line}\n" for line in _interface(interface, index)]
    return "".join(script)


def resolv_conf(interfaces: tuple[Interface, ...]) -> list[str]:
    """The lines of resolv.conf(5) that the configuration gives."""
    search = dict.fromkeys(word for interface in interfaces for word in interface.search)
    options = dict.fromkeys(word for interface in interfaces for word in interface.dns_options)
    servers = dict.fromkeys(server for interface in interfaces for server in interface.nameservers)
    return [
        *([f"search {' '.join(search)}"] if search else []),
        *(f"nameserver {server}" for server in servers),
        *([f"options {' '.join(options)}"] if options else []),
    ]


def _interface(interface: Interface, index: int) -> Iterator[str]:
    name = interface.name
    # Several interfaces may appear in any order. Their addresses distinguish them.
    yield command("await-interface", interface.mac, name)
    if interface.mtu:
        yield command("ip", "link", "set", name, "mtu", str(interface.mtu))
    if interface.layer2:
        yield command("ip", "link", "set", name, "up")
        return
    if interface.address is None:
        knows_names = interface.nameservers or interface.search or interface.dns_options
        yield command("ip", "link", "set", name, "up")
        # Variables for guest-assets/network/udhcpc.script.
        yield f"METRIC={index} DNS={'no' if knows_names else 'yes'} {command('take-lease', name)}"
        return
    address = ip_interface(interface.address)
    if address.version == 6:
        # Nobody else has the address. Without this, it could not be used for a second.
        yield f"echo 0 > /proc/sys/net/ipv6/conf/{name}/accept_dad"
    yield command("ip", "link", "set", name, "up")
    broadcast = ("broadcast", "+") if address.version == 4 and address.network.prefixlen < 31 else ()
    yield command("ip", f"-{address.version}", "addr", "add", interface.address, *broadcast, "dev", name)
    yield from _routes(interface, index)


def _routes(interface: Interface, index: int) -> Iterator[str]:
    address = ip_interface(interface.address or "")
    ip = ("ip", f"-{address.version}", "route", "add")
    metric = _FIRST_IPV6_METRIC + index if address.version == 6 else index
    # Of several default routes, the one of the first interface is used.
    rank = ("metric", str(metric)) if index else ()
    # Routes without a gateway come first: they lead to the gateways.
    on_link = [target for target, gateway in interface.routes if not gateway]
    outside = [gateway for _, gateway in interface.routes if gateway and ip_interface(gateway).ip not in address.network]
    for target in dict.fromkeys((*on_link, *outside)):
        yield command(*ip, target, "dev", interface.name, *rank)
    for target, gateway in interface.routes:
        if gateway:
            yield command(*ip, target, "via", gateway, "dev", interface.name, *rank)
