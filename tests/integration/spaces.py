"""Network namespaces as engines ready them."""

import json

from runxtools.double.host import Double
from runxtools.testing.bundles import Bundle

FIRST = (
    "ip link add {0} type bridge; ip addr add 10.9.{1}.1/24 dev {0}; ip addr add fd09:{1}::1/64 dev {0} nodad; ip link set {0} up"
)


class Space:
    """A named network namespace of dom0, with an interface on each of some new bridges."""

    def __init__(self, double: Double, name: str) -> None:
        self.double = double
        self.name = name
        self.path = f"/run/netns/{name}"
        self.bridges: list[str] = []
        self.sh(f"ip netns add {name}; ip -n {name} link set lo up")

    def sh(self, script: str) -> str:
        return self.double.run(["sh", "-euc", script], check=True).stdout.decode()

    def add(self, interface: str, number: int, mtu: int = 1500) -> None:
        """An interface with the addresses 10.9.NUMBER.5/24 and fd09:NUMBER::5/64, whose bridge has .1 and ::1."""
        bridge = f"br{number}"
        self.sh(FIRST.format(bridge, number))
        self.sh(f"""
            ip link add {self.name}-{number} mtu {mtu} type veth peer name {interface} mtu {mtu} netns {self.name}
            ip link set {self.name}-{number} master {bridge} up
            ip -n {self.name} addr add 10.9.{number}.5/24 dev {interface}
            ip -n {self.name} addr add fd09:{number}::5/64 dev {interface} nodad
            ip -n {self.name} link set {interface} up
        """)
        self.bridges.append(bridge)

    def state(self) -> str:
        """Everything that is configured in it, but for what the kernel does by itself with time."""
        addresses = json.loads(self.sh(f"ip -n {self.name} -j addr"))
        for link in addresses:
            link["addr_info"] = [entry for entry in link["addr_info"] if entry["scope"] != "link"]
        routes = self.sh(f"ip -n {self.name} route; ip -n {self.name} -6 route; tc -n {self.name} qdisc")
        return f"{addresses}\n{routes}"

    def remove(self) -> None:
        self.sh("".join(f"ip link delete {bridge};" for bridge in self.bridges) + f"ip netns delete {self.name}")


def join(bundle: Bundle, path: str) -> None:
    for entry in bundle.config["linux"]["namespaces"]:
        if entry["type"] == "network":
            entry["path"] = path


def links(double: Double) -> set[str]:
    return {link["ifname"] for link in json.loads(double.run(["ip", "-j", "link"], check=True).stdout)}
