"""Networks by NETCONF: a container on a bridge of dom0, in the lab and in the double."""

import json
import re
import shlex
import subprocess
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest

from runxtools.machine import Machine
from runxtools.testing.containers import LIMIT_S, REACH, Running, command, sh, until

SUBNET = "10.213.77"
NETWORKS = "/etc/runx/networks"
"""On the list of a host without a runx.toml."""


class Bridge:
    """A bridge of dom0 with the first address of SUBNET.0/24 and of fd00:213::/64, and CNI files that name it."""

    def __init__(self, host: Machine) -> None:
        self.host = host
        self.files: list[str] = []
        self.name = f"rx{uuid.uuid4().hex[:8]}"
        script = """
            ip link add "$1" type bridge
            echo 0 > "/proc/sys/net/ipv6/conf/$1/accept_dad"
            ip addr add "$2.1/24" dev "$1"
            ip -6 addr add fd00:213::1/64 dev "$1"
            ip link set "$1" up
        """
        host.run(["sh", "-euc", script, "sh", self.name, SUBNET], check=True)

    def netconf(self, address: str = "", **changes: object) -> list[str]:
        """Options of ctr for a network of this bridge, with a file like those in CNI's documentation."""
        settings = {"cniVersion": "0.2.0", "name": "testnet", "type": "bridge", "bridge": self.name} | changes
        path = f"{NETWORKS}/{uuid.uuid4().hex}.conf"
        self.files.append(path)
        script = 'mkdir -p "$(dirname "$1")"; cat > "$1"'
        self.host.run(["sh", "-euc", script, "sh", path], stdin=json.dumps(settings).encode(), check=True)
        return ["--env", f"NETCONF={path},testnet" + (f",{address}" if address else "")]

    def ports(self) -> list[str]:
        return self.host.run(["ls", f"/sys/class/net/{self.name}/brif"], check=True).stdout.decode().split()


@pytest.fixture
def bridge(host: Machine) -> Iterator[Bridge]:
    made = Bridge(host)
    yield made
    try:
        until(lambda: not made.ports(), made.ports)  # also interfaces of ended containers
    finally:
        host.run(["ip", "link", "del", made.name], check=True)
        host.run(["rm", "-f", *made.files], check=True)
        host.run(["rmdir", "-p", "--ignore-fail-on-non-empty", NETWORKS])


def test_a_static_address_reaches_dom0_and_is_reached(host: Machine, bridge: Bridge) -> None:
    options = bridge.netconf(
        f"{SUBNET}.7",
        isGateway=True,
        mtu=1400,
        ipam={"type": "host-local", "subnet": f"{SUBNET}.0/24"},
        dns={"nameservers": [f"{SUBNET}.1"], "search": ["test.example"], "options": ["ndots:2"]},
    )
    options += bridge.netconf("fd00:213::7", ipam={"type": "host-local", "ranges": [[{"subnet": "fd00:213::/64"}]]})
    script = f"""
        {REACH}
        echo ready
        read line
        cat /sys/class/net/eth0/mtu; ip -4 addr show eth0; ip route; cat /etc/resolv.conf
        reach {SUBNET}.1 && echo reached
        reach fd00:213::1 && echo reached by IPv6
        ls /proc | grep -c '^[0-9]*$'
    """
    container = Running(host, script, options)
    assert len(bridge.ports()) == 2
    for address in (f"{SUBNET}.7", "fd00:213::7"):
        host.run(["sh", "-c", f'{REACH} reach "$1"', "sh", address], check=True)
    status, output, errors = container.end(b"go\n")
    assert status == 0, errors
    text = output.decode()
    assert text.startswith("1400\n")
    assert f"inet {SUBNET}.7/24 brd {SUBNET}.255" in text
    assert f"default via {SUBNET}.1 dev eth0" in text
    assert f"search test.example\nnameserver {SUBNET}.1\noptions ndots:2\n" in text
    assert "\nreached\nreached by IPv6\n" in text


def test_tcp_both_ways(host: Machine, bridge: Bridge) -> None:
    """All bytes arrive in order, at the container's MTU."""
    options = bridge.netconf(f"{SUBNET}.8/24")
    script = f"""
        (echo pong; cat) | nc -l -p 4000 -w 60 > /tmp/in &
        echo ready
        wait; wc -c < /tmp/in
        nc -w 60 {SUBNET}.1 4001 < /bin/busybox
    """
    server = """
import socket, sys
listener = socket.create_server((sys.argv[1] + ".1", 4001))
listener.settimeout(240)
with socket.create_connection((sys.argv[1] + ".8", 4000), timeout=240) as there:
    answer = there.recv(5)
    there.sendall(b"x" * 300000)
there, _ = listener.accept()
there.settimeout(240)
size = 0
while chunk := there.recv(65536):
    size += len(chunk)
print(answer, size)
"""
    container = Running(host, script, options)
    asked = host.run(["python3", "-c", server, SUBNET], timeout=300)
    assert asked.returncode == 0, asked.stderr
    size = int(host.run(["stat", "-L", "-c", "%s", "/bin/busybox"], check=True).stdout)
    assert asked.stdout.decode().split()[0] == r"b'pong\n'"
    assert int(asked.stdout.decode().split()[1]) == size
    assert container.end()[:2] == (0, b"300000\n")


@contextmanager
def dhcp_server(host: Machine, bridge: str, subnet: str, scratch: str) -> Iterator[Iterator[bytes]]:
    """A DHCP server on a bridge, for addresses that begin with `subnet`: the lines of its log.

    dnsmasq's shortest lease is two minutes.
    """
    words = [
        "dnsmasq", "--keep-in-foreground", "--log-facility=-", "--port=0", "--bind-interfaces", f"--interface={bridge}",
        f"--dhcp-range={subnet}.100,{subnet}.110,255.255.255.0,2m", f"--dhcp-option=6,{subnet}.53",
        "--dhcp-option=15,dhcp.example",
        f"--dhcp-leasefile={scratch}/leases", "--pid-file=", "--conf-file=/dev/null",
    ]  # fmt: skip
    server = host.popen(
        ["sh", "-c", f"{shlex.join(words)} 2>&1 & echo $!; wait"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
    )
    assert server.stdout is not None
    pid = server.stdout.readline().decode().strip()
    yield iter(server.stdout)
    host.run(["kill", pid], check=True)
    server.wait(60)


@pytest.fixture
def leases(host: Machine, bridge: Bridge, scratch: str) -> Iterator[Iterator[bytes]]:
    with dhcp_server(host, bridge.name, SUBNET, scratch) as lines:
        yield lines


def test_dhcp(host: Machine, bridge: Bridge, leases: Iterator[bytes]) -> None:
    """The lease is taken before the process starts, and renewed while it runs, by a client that is invisible to it."""
    script = "echo ready; read line; ip -4 addr show eth0; ip route; cat /etc/resolv.conf; ps"
    container = Running(host, script, bridge.netconf())
    try:
        acknowledged = 0
        for line in leases:
            acknowledged += b"DHCPACK" in line
            if acknowledged == 2:
                break
        assert acknowledged == 2, "the lease was not renewed"
        status, output, errors = container.end(b"go\n")
    finally:
        container.stop()
    assert status == 0, errors
    text = output.decode()
    assert f"inet {SUBNET}.10" in text or f"inet {SUBNET}.110" in text
    assert f"default via {SUBNET}.1 dev eth0" in text
    assert f"search dhcp.example\nnameserver {SUBNET}.53\n" in text, text
    assert "udhcpc" not in text


@contextmanager
def settings(host: Machine, text: str) -> Iterator[None]:
    """A host with this runx.toml, in an overlay on /etc, which the double shares with its host. CNI files are written before."""
    put = """
        mkdir -p /run/settings/runx
        cat > /run/settings/runx/runx.toml
        mount -t overlay -o lowerdir=/run/settings:/etc overlay /etc
    """
    host.run(["sh", "-euc", put], stdin=text.encode(), check=True)
    yield
    host.run(["sh", "-euc", "umount /etc; rm -r /run/settings"], check=True)


@pytest.fixture
def host_is_bridge(host: Machine, bridge: Bridge) -> Iterator[None]:
    """A runx.toml that maps the host's network to the bridge."""
    with settings(host, f'[network]\nhost = "{bridge.name}"\n'):
        yield


def test_the_hosts_network(host: Machine) -> None:
    """The error has a hint."""
    result = host.run(command(["true"], ["--net-host"]), timeout=LIMIT_S)
    assert result.returncode
    assert b"the network of the host cannot be used in a virtual machine" in result.stderr
    assert b"network.host in runx.toml" in result.stderr


@pytest.mark.usefixtures("host_is_bridge", "leases")
def test_a_bridge_for_the_hosts_network(host: Machine, bridge: Bridge) -> None:
    script = f"{REACH} echo ready; read line; ip -4 addr show eth0; reach {SUBNET}.1"
    container = Running(host, script, ["--net-host"])
    try:
        assert len(bridge.ports()) == 1
        status, output, errors = container.end(b"go\n")
    finally:
        container.stop()
    assert status == 0, errors
    assert f"inet {SUBNET}.1".encode() in output, output


def test_no_server_is_an_error_with_its_network(host: Machine, bridge: Bridge) -> None:
    result = sh(host, "echo must not run", options=bridge.netconf())
    assert result.returncode != 0
    assert b"must not run" not in result.stdout
    assert b"network testnet, eth0 failed" in result.stderr, result.stderr


def test_a_missing_bridge_is_told_before_anything_starts(host: Machine, bridge: Bridge) -> None:
    result = sh(host, "true", options=bridge.netconf(bridge="rx-none"))
    assert result.returncode != 0
    assert b"the host has no bridge rx-none" in result.stderr, result.stderr


def test_ten_at_once(host: Machine, bridge: Bridge) -> None:
    """Each has its own IP and MAC address, and reaches the bridge."""
    settings = {"ipam": {"type": "host-local", "subnet": f"{SUBNET}.0/24"}}
    script = f"{REACH} echo ready; read -r line; cat /sys/class/net/eth0/address; reach {SUBNET}.1 && echo reached"
    options = [["--memory-limit", str(40 << 20), *bridge.netconf(f"{SUBNET}.{20 + n}", **settings)] for n in range(10)]
    running: list[Running] = []
    try:
        with ThreadPoolExecutor(len(options)) as pool:
            list(pool.map(lambda words: running.append(Running(host, script, words)), options))
            assert len(bridge.ports()) == len(options)
            ends = list(pool.map(lambda container: container.end(b"go\n"), running))
    finally:
        for container in running:
            container.stop()
    assert [status for status, _, _ in ends] == [0] * len(options), ends
    macs = {output.removesuffix(b"\nreached\n") for _, output, _ in ends}
    assert len(macs) == len(options) and all(re.fullmatch(rb"00:16:3e(:[0-9a-f]{2}){3}", mac) for mac in macs), ends
