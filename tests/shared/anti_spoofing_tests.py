"""A hostile guest on a bridge: what of its frames gets there, in the lab and in the double."""

import shlex
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from bridge_tests import SUBNET, Bridge, bridge, leases, settings
from frames import Frame, ethernet, frames, ipv4, ipv6, link_local, udp, unaddressed, untagged
from programs import compiled
from runxtools.machine import Machine
from runxtools.testing.containers import LIMIT_S, REACH, Running

assert bridge and leases  # fixtures

ADDRESS, ADDRESS_6, OTHER, OTHER_6 = f"{SUBNET}.7", "fd00:213::7", f"{SUBNET}.8", "fd00:213::8"
DROPPED_BY_BRIDGES = ("another version", "no mac")
"""Frames that a bridge does not pass on some hosts, or on none."""
ROUTED = "2001:db8:213:1::"
LISTENER = """
import socket, sys, time
with socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3)) as heard:
    heard.setsockopt(socket.SOL_SOCKET, 33, 8 << 20)  # SO_RCVBUFFORCE
    heard.bind((sys.argv[1], 0))
    print("listening", flush=True)
    sys.stdin.read()
    heard.settimeout(2)
    end = time.monotonic() + 60
    try:
        while time.monotonic() < end:
            print(heard.recv(65536).hex())
    except TimeoutError:
        pass
"""
NO_FIREWALL = """
for file in /proc/sys/net/bridge/bridge-nf-call-*tables; do
    [ ! -e "$file" ] || echo 0 > "$file"
done
"""
"""docker has the host's firewall see frames of bridges, which joins or drops fragments that we want to see."""
ADVERTISE = """
import socket, sys
with socket.socket(socket.AF_PACKET, socket.SOCK_RAW) as link:
    link.bind((sys.argv[1], 0))
    link.send(bytes.fromhex(sys.argv[2]))
"""


@pytest.fixture
def sender(host: Machine, scratch: str, tmp_path: Path) -> list[str]:
    """Options of `ctr run` that give a container the program of sendframes.c as /mnt/sendframes."""
    host.put(compiled("sendframes", tmp_path), f"{scratch}/sendframes")
    return ["--mount", f"type=bind,src={scratch},dst=/mnt,options=rbind:ro"]


def addresses(bridge: Bridge, **changes: object) -> list[str]:
    """Options of a container with an interface of each family."""
    four = bridge.netconf(ADDRESS, ipam={"subnet": f"{SUBNET}.0/24"}, **changes)
    return four + bridge.netconf(ADDRESS_6, ipam={"subnet": "fd00:213::/64"}, **changes)


OWN_ADDRESS = "ip -4 addr show dev $1 | sed -n 's/.* inet \\([0-9.]*\\).*/\\1/p'"


class Attacker:
    """A container that sends frames when it is told to, and is told its addresses by its interface."""

    def __init__(
        self,
        host: Machine,
        options: list[str],
        interface: str = "eth0",
        reached: Sequence[str] = (f"{SUBNET}.1",),
        first: str = ":",
        then: str = ":",
    ) -> None:
        """reached: addresses that it reaches before. first, then: what it does before that, and before it sends."""
        # What a new interface sends first is lost on a loaded machine: wait until it passes something on.
        script = f"""
            {REACH}
            set -- {interface}
            echo ready; cat /sys/class/net/$1/address; echo "$({OWN_ADDRESS})"
            {first}
            {" && ".join(f"reach {address}" for address in reached)} && echo reached
            {then}
            /mnt/sendframes $1 && echo sent
        """
        self._host = host
        self.container = Running(host, script, options)
        self._lines = self.container.process.stdout
        assert self._lines is not None
        self.mac, self.address = (self._lines.readline().decode().strip() for _ in range(2))
        assert self._lines.readline() == b"reached\n"

    def send(self, bridge: Bridge, sent: list[Frame]) -> "Attack":
        """Send these frames, and end."""
        self._host.run(["sh", "-c", NO_FIREWALL], check=True)
        pipe = subprocess.PIPE
        listener = self._host.popen(["python3", "-c", LISTENER, bridge.name], stdin=pipe, stdout=pipe)
        assert listener.stdout is not None and listener.stdout.readline() == b"listening\n"
        status, output, errors = self.container.end("".join(f"{frame.data.hex()}\n" for frame in sent).encode())
        heard, _ = listener.communicate(timeout=LIMIT_S)
        assert (status, output) == (0, b"sent\n"), errors
        return Attack(sent, heard.decode().split())


def attack(host: Machine, bridge: Bridge, options: list[str], interface: str = "eth0") -> "Attack":
    """All frames of tests/support/frames.py, sent by a container with interfaces of both families."""
    attacker = Attacker(host, options, interface, (f"{SUBNET}.1", "fd00:213::1"))
    return attacker.send(bridge, frames(attacker.mac, ADDRESS, ADDRESS_6, OTHER, OTHER_6))


class Attack:
    """Frames that a container has sent, and what came to the bridge."""

    def __init__(self, sent: list[Frame], heard: list[str]) -> None:
        self.sent = sent
        self.heard = {bytes.fromhex(line) for line in heard}

    def passed(self, frame: Frame) -> bool:
        seen = untagged(frame.data)
        return any(heard[: len(seen)] == seen for heard in self.heard)  # a frame may have been padded

    @property
    def names(self) -> list[str]:
        return [frame.name for frame in self.sent if self.passed(frame) and frame.name not in DROPPED_BY_BRIDGES]


def expected(attack: Attack, *, by_mac: bool) -> list[str]:
    """Names of frames that the bridge should have, with the level `mac` or if nothing is checked."""
    return [frame.name for frame in attack.sent if (frame.by_mac or not by_mac) and frame.name not in DROPPED_BY_BRIDGES]


def test_by_default_a_guest_has_its_mac_address_alone(host: Machine, bridge: Bridge, sender: list[str]) -> None:
    done = attack(host, bridge, addresses(bridge) + sender)
    assert done.names == expected(done, by_mac=True)


def is_of(family: int, frame: Frame) -> bool:
    """Whether the frame is of this family, or of none."""
    kind = untagged(frame.data)[12:14]
    return kind not in (b"\x08\x00", b"\x08\x06", b"\x86\xdd") or (kind == b"\x86\xdd") == (family == 6)


@pytest.mark.parametrize(("interface", "family"), [("eth0", 4), ("eth1", 6)])
def test_a_guest_has_its_own_addresses_alone(
    host: Machine, bridge: Bridge, sender: list[str], interface: str, family: int
) -> None:
    """Each interface has one address of its own: nothing of the other family leaves it but with addresses made of its MAC."""
    options = addresses(bridge) + sender
    with settings(host, '[network]\nanti_spoofing = "addresses"\n'):
        done = attack(host, bridge, options, interface)
    wrong = [frame.name for frame in done.sent if done.passed(frame) and not frame.by_address]
    assert not wrong
    assert done.names == [
        frame.name
        for frame in done.sent
        if frame.by_address and (is_of(family, frame) or (family == 4 and not _is_from(frame, ADDRESS_6)))
    ]


def _is_from(frame: Frame, address: str) -> bool:
    return frame.data[22:38] == ipv6(address, b"")[8:24] and frame.data[12:14] == b"\x86\xdd"


@pytest.mark.usefixtures("leases")
def test_a_guest_has_its_address_by_dhcp_alone(host: Machine, bridge: Bridge, sender: list[str]) -> None:
    options = bridge.netconf() + sender
    with settings(host, '[network]\nanti_spoofing = "addresses"\n'):
        attacker = Attacker(host, options)
    sent = frames(attacker.mac, attacker.address, ADDRESS_6, OTHER, OTHER_6) + unaddressed(attacker.mac)
    done = attacker.send(bridge, sent)
    wrong = [frame.name for frame in done.sent if done.passed(frame) and not frame.by_address]
    assert not wrong
    assert done.names == [frame.name for frame in done.sent if frame.by_address and not _is_from(frame, ADDRESS_6)]


LEASE_S = 12
SERVER = """
interface {bridge}
start {subnet}.100
end {subnet}.110
option subnet 255.255.255.0
option router {subnet}.1
option lease {lease}
min_lease 1
lease_file {scratch}/udhcpd.leases
pidfile {scratch}/udhcpd.pid
"""


@pytest.fixture
def short_leases(host: Machine, bridge: Bridge, scratch: str) -> str:
    """A DHCP server with short leases, busybox's: the file with its process ID."""
    text = SERVER.format(bridge=bridge.name, subnet=SUBNET, lease=LEASE_S, scratch=scratch)
    script = 'cd "$1"; cat > udhcpd.conf; : > udhcpd.leases; busybox udhcpd udhcpd.conf'
    host.run(["sh", "-euc", script, "sh", scratch], stdin=text.encode(), check=True)
    return f"{scratch}/udhcpd.pid"


def test_an_address_ends_with_its_lease(host: Machine, bridge: Bridge, sender: list[str], short_leases: str) -> None:
    """It lasts as long as the server renews it. A guest that goes on to use it does not reach the bridge."""
    end = f"kill $(cat {shlex.quote(short_leases)})"
    options = bridge.netconf() + sender
    try:
        with settings(host, '[network]\nanti_spoofing = "addresses"\n'):
            attacker = Attacker(host, options, first=f"sleep {2 * LEASE_S}", then=f"sleep {LEASE_S + 2}")
    finally:
        host.run(["sh", "-c", end], check=True)
    late = Frame("late", ethernet(0x0800, ipv4(attacker.address, udp(4000, 4001)), attacker.mac), True, False)
    asked = Frame("asked", next(frame.data for frame in unaddressed(attacker.mac)), True, True)
    assert attacker.send(bridge, [late, asked]).names == ["asked"]


def test_addresses_of_a_guest_that_behaves(host: Machine, bridge: Bridge) -> None:
    """What is checked does not hinder static addresses, link-local ones, and those of an advertised prefix."""
    options = addresses(bridge)
    script = f"""
        {REACH}
        echo ready
        read line
        reach {SUBNET}.1 && echo reached
        reach fd00:213::1 && echo reached by IPv6
        for try in $(seq 60); do ip -6 addr show eth1 | grep -q {ROUTED[:-2]} && break; sleep 1; done
        cat /sys/class/net/eth1/address
        read line
        reach {ROUTED}1 && echo reached by the advertised prefix
    """
    with settings(host, '[network]\nanti_spoofing = "addresses"\n'):
        container = Running(host, script, options)
    try:
        script = f'{REACH} reach "$1"'
        for address in (ADDRESS, ADDRESS_6):
            host.run(["sh", "-c", script, "sh", address], check=True, timeout=LIMIT_S)
        host.run(["ip", "-6", "addr", "add", f"{ROUTED}1/64", "dev", bridge.name, "nodad"], check=True)
        mac = host.run(["cat", f"/sys/class/net/{bridge.name}/address"], check=True).stdout.decode().strip()
        prefix = b"\x03\x04\x40\xc0" + b"\x00\x00\xff\xff" * 2 + bytes(4) + ipv6(ROUTED, b"")[8:24]
        body = b"\x86\0" + _checksum_of(link_local(mac), b"\x40\0\x07\x08" + bytes(8) + prefix)
        host.run(["python3", "-c", ADVERTISE, bridge.name, ethernet(0x86DD, ipv6(link_local(mac), body), mac).hex()], check=True)
        stdin, stdout = container.process.stdin, container.process.stdout
        assert stdin is not None and stdout is not None
        stdin.write(b"go\n")
        stdin.flush()
        assert [stdout.readline() for _ in range(2)] == [b"reached\n", b"reached by IPv6\n"]
        address = link_local(stdout.readline().decode().strip(), ROUTED)
        host.run(["sh", "-c", script, "sh", address], check=True, timeout=LIMIT_S)
        assert container.end(b"go\n")[:2] == (0, b"reached by the advertised prefix\n")
    finally:
        container.stop()


def _checksum_of(source: str, rest: bytes) -> bytes:
    """A router advertisement from its checksum on, with that of ICMPv6 (RFC 4443, 2.3)."""
    packet = ipv6(source, b"\x86\0\0\0" + rest)
    text = packet[8:40] + len(packet[40:]).to_bytes(4, "big") + b"\0\0\0\x3a" + packet[40:]
    total = sum(int.from_bytes(text[at : at + 2], "big") for at in range(0, len(text), 2))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return (~total & 0xFFFF).to_bytes(2, "big") + rest


def test_nothing_is_checked_if_the_host_says_so(host: Machine, bridge: Bridge, sender: list[str]) -> None:
    """But the file of the network may ask for it."""
    free, asked = addresses(bridge), addresses(bridge, macspoofchk=True)
    with settings(host, "[network]\nanti_spoofing = false\n"):
        done = attack(host, bridge, free + sender)
        checked = attack(host, bridge, asked + sender)
    assert done.names == expected(done, by_mac=False)
    assert checked.names == expected(checked, by_mac=True)


@pytest.fixture
def other(host: Machine, bridge: Bridge, request: pytest.FixtureRequest) -> Iterator[Running]:
    """Another container of the bridge. The parameter: whether its port is isolated."""
    options = bridge.netconf(OTHER, ipam={"subnet": f"{SUBNET}.0/24"}, portIsolation=request.param)
    container = Running(host, "echo ready; read line", options)
    yield container
    container.stop()


@pytest.mark.parametrize("other", [True, False], indirect=True, ids=["isolated", "not isolated"])
def test_isolated_ports(host: Machine, bridge: Bridge, other: Running, request: pytest.FixtureRequest) -> None:
    """They reach the bridge, and ports that are not isolated, but not each other."""
    options = bridge.netconf(ADDRESS, ipam={"subnet": f"{SUBNET}.0/24"}, portIsolation=True)
    script = f"{REACH} echo ready; reach {SUBNET}.1 && echo reached; busybox ping -c 6 -W 2 {OTHER} | grep -c 'bytes from'"
    container = Running(host, script, options)
    _, output, errors = container.end()
    reached, answers = output.split(b"\n")[:2]
    assert reached == b"reached", errors
    assert (int(answers) == 0) == request.node.callspec.params["other"]
    assert other.end(b"end\n")[0] == 0


def test_no_backend_is_up_without_its_filters(host: Machine, bridge: Bridge) -> None:
    """A host whose tc(8) fails starts no container, and says why."""
    options = addresses(bridge)
    hide = "mount --bind /bin/false $(command -v tc)"
    host.run(["sh", "-euc", hide], check=True)
    try:
        result = host.run(["ctr", "run", "--rm", "--runc-binary", "/usr/local/bin/runx", *options,
                           "localhost/runx-test:latest", "refused", "true"], timeout=LIMIT_S)  # fmt: skip
    finally:
        host.run(["sh", "-euc", "umount $(command -v tc)"], check=True)
        # While the image is packed, it is `start` that fails: ctr leaves the task, as it does with every runtime.
        host.run(["ctr", "tasks", "rm", "--force", "refused"])
        host.run(["ctr", "containers", "rm", "refused"])
    assert result.returncode != 0
    assert b"limiting what a guest may send with tc(8) failed" in result.stderr, result.stderr
    assert not bridge.ports()
