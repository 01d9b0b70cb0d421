"""Addresses by DHCP that a guest may send with: learned from servers' answers at its backend, and from nothing else."""

import os
import select
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator

import pytest

from frames import OTHER_MAC, arp, bootp, ethernet, icmpv6, ipv4, ipv6, link_local, mac_bytes, options, udp
from runx.errors import RunxError
from runx.exec import spawn
from runx.exec.network import dhcp, ports
from runx.exec.network.anti_spoofing import addresses_program
from runx.exec.network.leases import Leases
from runx.linux import mount, netns

needs_root = pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("tc"), reason="a network namespace, and tc(8)")
MAC, SERVER_MAC, ADDRESS, OTHER = "00:16:3e:0a:0b:0c", "02:00:00:00:00:01", "10.1.0.7", "10.1.0.8"
NOBODY = ".".join("0000")
_OFFER, _ACK, _NAK = 2, 5, 6


def answer(
    given: str = ADDRESS, lease: int | None = 600, *, kind: int = _ACK, to: str = MAC, operation: int = 2, source: int = 67
) -> bytes:
    """A frame of a DHCP server. to: the MAC address in its message."""
    lasts = [] if lease is None else [(51, lease.to_bytes(4, "big"))]
    message = bootp(operation, to, options((53, bytes([kind])), (54, bytes(4)), *lasts), given)
    return ethernet(0x0800, ipv4("10.1.0.1", udp(source, 68, message)), SERVER_MAC, MAC)


def read(frame: bytes) -> tuple[str, int] | None:
    found = dhcp.read(frame)
    return (found.address, found.lease_s) if found else None


@pytest.mark.parametrize(
    ("frame", "expected"),
    [
        (answer(), (ADDRESS, 600)),
        (answer(lease=0xFFFFFFFF), (ADDRESS, dhcp.FOR_EVER)),
        (answer(kind=_OFFER), None),
        (answer(lease=None), None),
        (answer(NOBODY), None),
        (answer("127.0.0.1"), None),
        (answer("224.0.0.1"), None),
        (answer("255.255.255.255"), None),
        (answer(NOBODY, None, kind=_NAK), ("", 0)),
    ],
)
def test_answers(frame: bytes, expected: tuple[str, int] | None) -> None:
    assert read(frame) == expected


@pytest.mark.parametrize("size", range(14 + 20 + 8 + 240, len(answer())))
def test_answers_that_end_early(size: int) -> None:
    """They say the same, or nothing; never something else."""
    assert read(answer()[:size]) in (None, (ADDRESS, 600))


def test_a_length_that_is_wrong() -> None:
    frame = bytearray(answer())
    for length in (0, 7, 8, 20, 248, 0xFFFF):
        frame[38:40] = length.to_bytes(2, "big")
        assert read(bytes(frame)) in (None, (ADDRESS, 600)), length


class Allowance:
    def __init__(self) -> None:
        self.turns = 0
        self.rests = 0.0

    def rests_until(self) -> float:
        return self.rests

    def was_told(self) -> None:
        self.turns += 1


class Place:
    """A bridge with a server's interface, and a guest's backend with the filters that `create` makes."""

    def __init__(self) -> None:
        lines = ["link set lo up", "link add name bridge0 type bridge", "link set bridge0 up"]
        for name, peer in (("server", "port"), ("guest", "vif7.0")):
            lines += [f"link add {name} type veth peer name {peer}", f"link set {peer} master bridge0 up", f"link set {name} up"]
        for line in lines:
            subprocess.run(["ip", *line.split()], check=True)
        spawn.batch("tc", ports.filters("vif7.0", addresses_program(MAC, [], by_dhcp=True).bytecode()), "tc")
        self.server, self.guest = (self._socket(name) for name in ("server", "guest"))
        self.allowance = Allowance()
        self.said: list[str] = []
        host = netns.descriptor()
        self.leases = Leases({"vif7.0": MAC}, host, self.allowance, lambda level, text: self.said.append(f"{level}: {text}"))
        os.close(host)
        first = ethernet(0x86DD, ipv6(link_local(MAC), icmpv6(128)), MAC)
        until(lambda: self.passes(first))

    @staticmethod
    def _socket(name: str) -> socket.socket:
        made = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(3))
        made.bind((name, 3))
        made.settimeout(0.15)
        return made

    def passes(self, frame: bytes) -> bool:
        """Whether the bridge passes a guest's frame on to the server."""
        self.guest.send(frame)
        end = time.monotonic() + 0.15
        try:
            while time.monotonic() < end:
                if self.server.recv(65536)[: len(frame)] == frame:
                    return True
        except TimeoutError:
            pass
        return False

    def may_send_with(self, address: str) -> bool:
        by_ip = self.passes(ethernet(0x0800, ipv4(address, udp(4000, 4001)), MAC))
        assert by_ip == self.passes(ethernet(0x0806, arp(MAC, address, "10.1.0.99"), MAC))
        return by_ip

    def say(self, frame: bytes) -> None:
        self.server.send(frame)
        self.turn()

    def turn(self, wait_s: float = 0.2) -> float | None:
        poller = select.poll()
        at = self.leases.watch(poller)
        self.leases.handle(dict(poller.poll(wait_s * 1000)))
        return at


def until(condition: Callable[[], bool], limit_s: float = 20) -> None:
    end = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < end


@pytest.fixture
def place() -> Iterator[Place]:
    own = netns.descriptor()
    mount.unshare(mount.CLONE_NEWNET)
    try:
        yield Place()
    finally:
        netns.enter(own)
        os.close(own)


@needs_root
def test_a_lease(place: Place) -> None:
    assert not place.may_send_with(ADDRESS)
    place.say(answer())
    assert place.may_send_with(ADDRESS) and not place.may_send_with(OTHER)
    place.say(answer(OTHER))
    assert place.may_send_with(OTHER) and not place.may_send_with(ADDRESS)
    place.say(answer(NOBODY, None, kind=_NAK))
    assert not place.may_send_with(OTHER)
    assert place.said == [
        f"info: vif7.0: the guest has {ADDRESS} from a DHCP server, for 600 s",
        f"info: vif7.0: the guest has {OTHER} from a DHCP server, for 600 s",
        "info: vif7.0: the guest has no address from a DHCP server any more",
    ]
    assert place.allowance.turns == 3


@needs_root
def test_the_end_of_a_lease(place: Place) -> None:
    place.say(answer(lease=1))
    assert place.may_send_with(ADDRESS)
    place.say(answer(lease=2))  # it is renewed
    time.sleep(1.2)
    place.turn(0)
    assert place.may_send_with(ADDRESS)
    time.sleep(1)
    at = place.turn(0)
    assert at is not None and at <= time.monotonic()
    assert not place.may_send_with(ADDRESS)
    place.say(answer(lease=dhcp.FOR_EVER))
    assert place.turn(0) is None and place.may_send_with(ADDRESS)


@needs_root
def test_what_is_not_believed(place: Place) -> None:
    """Answers to others, of others than servers, and all that the guest sends itself."""
    tagged = answer()[:12] + b"\x81\0\0\5" + answer()[12:]
    split = bytearray(answer())
    split[20] |= 0x20  # more fragments
    for frame in (answer(to=OTHER_MAC), answer(operation=1), answer(source=4000), tagged, bytes(split), answer(kind=_OFFER)):
        place.say(frame)
        assert not place.may_send_with(ADDRESS)
    for source in (MAC, SERVER_MAC):
        for target in (MAC, "ff:ff:ff:ff:ff:ff"):
            place.guest.send(mac_bytes(target) + mac_bytes(source) + answer()[12:])
            place.turn(0.05)
            assert not place.may_send_with(ADDRESS)
    assert not place.said


@needs_root
def test_a_guest_that_rests_is_heard_later(place: Place) -> None:
    place.allowance.rests = time.monotonic() + 60
    place.say(answer())
    assert not place.may_send_with(ADDRESS)
    place.allowance.rests = 0.0
    place.turn()
    assert place.may_send_with(ADDRESS)


@needs_root
def test_changes_that_are_told(place: Place) -> None:
    """A guest can have a server answer as often as it likes; the log does not grow."""
    for number in range(30):
        place.say(answer(f"10.1.0.{number + 2}"))
    assert len(place.said) == 8 and place.said[-1].endswith("; further changes are not told")
    assert place.may_send_with("10.1.0.31")


@needs_root
def test_a_filter_that_is_gone(place: Place) -> None:
    """What cannot be taken back ends the container; an interface that is gone is the end of its domain."""
    place.say(answer(lease=1))
    subprocess.run(["tc", "qdisc", "del", "dev", "vif7.0", "ingress"], check=True)
    time.sleep(1.1)
    with pytest.raises(RunxError, match=r"vif7\.0 .* may not send with an address any more"):
        place.turn(0)
    subprocess.run(["ip", "link", "del", "vif7.0"], check=True)
    place.turn(0)
    poller = select.poll()
    place.leases.watch(poller)
    assert not poller.poll(50), "nothing keeps the loop awake"
