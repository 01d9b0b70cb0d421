"""Attach a domain's interfaces to bridges of the host, with what the host checks of the guest's frames.

xl's hotplug script leaves the backend of an interface down. `create` writes what is to be done into the container's directory.
The supervisor does it before the domain runs: filters first, then the bridge. So a domain that never had a supervisor is on no
bridge, and no frame comes before its filter. The filters are the backend's, and go with it.
"""

from runx.errors import RunxError, reason
from runx.exec import spawn

TYPE_CHECKING = False  # as typing's, which would cost each supervisor memory
if TYPE_CHECKING:
    from collections.abc import Sequence

    from runx.exec.plan_json import Interface
    from runx.exec.xen.xenstore import XenStore

FILE = "ports"
"""In the container's directory: a line for each interface, with bridge, MTU, `isolated` or `-`, the MAC address if a DHCP server
gives the one address that the guest may send with or `-`, and the program or `-`."""
_BACKENDS = "/sys/class/net"


def keep(directory: str, interfaces: "Sequence[Interface]") -> None:
    """Write the file of these interfaces, if there are any. Raises RunxError."""
    lines = []
    for interface in interfaces:
        bridge = interface["bridge"]
        mtu = interface["mtu"] or _mtu_of(bridge)
        isolated = "isolated" if interface["isolated"] else "-"
        leased = interface["mac"] if _is_leased(interface) else "-"
        lines.append(f"{bridge}\t{mtu}\t{isolated}\t{leased}\t{_program(interface) or '-'}\n")
    if lines:
        with open(f"{directory}/{FILE}", "w", encoding="ascii") as file:
            file.writelines(lines)


def _mtu_of(bridge: str) -> int:
    try:
        with open(f"{_BACKENDS}/{bridge}/mtu", encoding="ascii") as file:
            return int(file.read())
    except OSError as error:
        raise RunxError(f"the bridge {bridge}: {reason(error)}") from None


def _program(interface: "Interface") -> str:
    """What tc-bpf(8) takes; "" if nothing is checked."""
    from runx.exec.network import anti_spoofing  # for `create` alone

    if interface["anti_spoofing"] == "mac":
        return anti_spoofing.mac_program(interface["mac"]).bytecode()
    if interface["anti_spoofing"] == "addresses":
        own = [interface["address"]] if interface["address"] else []
        return anti_spoofing.addresses_program(interface["mac"], own, by_dhcp=_is_leased(interface)).bytecode()
    return ""


def _is_leased(interface: "Interface") -> bool:
    """Whether a DHCP server says which address the guest may send with."""
    return interface["anti_spoofing"] == "addresses" and interface["address"] is None and not interface["layer2"]


def attach(store: "XenStore", domid: int, directory: str, host_network: int) -> "dict[str, str]":
    """Attach the interfaces of a domain that does not run yet to their bridges.

    host_network: a descriptor of the host's network namespace. The MAC address, by the backend's name, of each interface whose
    address a DHCP server gives and the host checks (leases.py). Raises RunxError; the backends go with the domain.
    """
    leased: dict[str, str] = {}
    try:
        with open(f"{directory}/{FILE}", encoding="ascii") as file:
            lines = file.read().splitlines()
    except FileNotFoundError:
        return leased  # no interface of the plan
    rules: list[str] = []
    links: list[str] = []
    for number, line in enumerate(lines):
        bridge, mtu, isolated, mac, program = line.split("\t")
        vif = f"vif{domid}.{number}"
        if program != "-":
            rules += filters(vif, program)
        if mac != "-":
            leased[vif] = mac
        # addrgenmode: the backend must not have an address that the guest would see.
        links.append(f"link set dev {vif} addrgenmode none mtu {mtu} master {bridge}")
        if isolated != "-":
            links.append(f"link set dev {vif} type bridge_slave isolated on")
        links.append(f"link set dev {vif} up")
        store.write(f"/local/domain/{domid}/device/vif/{number}/mtu", mtu)
    if rules:
        spawn.batch("tc", rules, "limiting what a guest may send with tc(8)", host_network)
    spawn.batch("ip", links, "attaching interfaces to bridges with ip(8)", host_network)
    return leased


def filters(vif: str, program: str) -> list[str]:
    """Commands of tc(8) that drop each frame of the guest for which a program gives 0."""
    add = f"filter add dev {vif} parent ffff: protocol all"
    return [
        f"qdisc add dev {vif} ingress",
        # Frames that a filter without an action matches go on to the bridge. leases.py exchanges its program.
        f"{add} prio 1 handle 1 bpf bytecode '{program}' flowid 1:1",
        # All others are for this program. Its result is TC_ACT_SHOT. So the host needs no module but cls_bpf (not act_gact).
        f"{add} prio 2 bpf bytecode '1,6 0 0 2' direct-action",
    ]
