"""The programs that say which frames of a guest a bridge may have, as this kernel runs them."""

import ctypes
import socket
import struct

import pytest

from frames import OTHER_MAC, Frame, ethernet, frames, icmpv6, ipv4, ipv6, link_local, udp, unaddressed
from runx.exec.network import ports
from runx.exec.network.anti_spoofing import addresses_program, mac_program
from runx.exec.network.packet_program import PacketProgram

_SO_ATTACH_FILTER = 26
MAC, ADDRESS, ADDRESS_6 = "00:16:3e:0a:0b:0c", "10.1.0.7", "fd00::7"
OTHER, OTHER_6 = "10.1.0.8", "fd00::8"
ALL = frames(MAC, ADDRESS, ADDRESS_6, OTHER, OTHER_6)


class Filtered:
    """A pair of sockets with the program between them. To the kernel, a datagram is a frame."""

    def __init__(self, program: PacketProgram) -> None:
        self._near, self._far = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._far.setblocking(False)
        code = program.packed()
        buffer = ctypes.create_string_buffer(code, len(code))
        descriptor = struct.pack("HP", len(code) // 8, ctypes.addressof(buffer))
        self._far.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, descriptor)

    def passes(self, frame: bytes) -> bool:
        # The kernel says EPERM or nothing to the sender of a datagram that a filter refuses, by its version.
        try:
            self._near.send(frame)
            return self._far.recv(65536) == frame
        except (PermissionError, BlockingIOError):
            return False


@pytest.fixture(scope="module")
def by_mac() -> Filtered:
    return Filtered(mac_program(MAC))


@pytest.fixture(scope="module")
def by_address() -> Filtered:
    return Filtered(addresses_program(MAC, [f"{ADDRESS}/24", f"{ADDRESS_6}/64"]))


@pytest.mark.parametrize("frame", ALL, ids=[frame.name for frame in ALL])
def test_frames(by_mac: Filtered, by_address: Filtered, frame: Frame) -> None:
    assert by_mac.passes(frame.data) == frame.by_mac
    assert by_address.passes(frame.data) == frame.by_address


def test_every_length_of_a_frame(by_address: Filtered) -> None:
    """A frame that ends early is refused, or is one that says nothing that is checked."""
    for frame in ALL:
        if not frame.by_address:
            assert not any(by_address.passes(frame.data[:length]) for length in range(1, 54)), frame.name


def test_an_interface_without_an_address_has_those_of_its_mac_alone() -> None:
    only = Filtered(addresses_program(MAC, []))
    assert only.passes(ethernet(0x86DD, ipv6(link_local(MAC), icmpv6(128)), MAC))
    assert not only.passes(ethernet(0x86DD, ipv6(ADDRESS_6, icmpv6(128)), MAC))
    assert not only.passes(ethernet(0x0800, ipv4(ADDRESS, udp(1, 2)), MAC))
    assert not only.passes(next(frame.data for frame in ALL if frame.name == "arp"))


UNADDRESSED = unaddressed(MAC)


@pytest.mark.parametrize("frame", UNADDRESSED, ids=[frame.name for frame in UNADDRESSED])
def test_questions_for_an_address(frame: Frame) -> None:
    """Before and while it has an address by DHCP; not if it has another's word for it, as from NETCONF."""
    assert Filtered(addresses_program(MAC, [], by_dhcp=True)).passes(frame.data) == frame.by_address
    assert Filtered(addresses_program(MAC, [ADDRESS], by_dhcp=True)).passes(frame.data) == frame.by_address
    assert not Filtered(addresses_program(MAC, [ADDRESS])).passes(frame.data)


def test_who_has_no_address_yet_sends_nothing_else() -> None:
    before = Filtered(addresses_program(MAC, [], by_dhcp=True))
    passed = [frame.name for frame in ALL if before.passes(frame.data) and frame.data[12:14] != b"\x86\xdd"]
    assert not passed


def test_who_has_an_address_by_dhcp_sends_as_with_a_static_one() -> None:
    leased = Filtered(addresses_program(MAC, [ADDRESS, ADDRESS_6], by_dhcp=True))
    assert [frame.name for frame in ALL if leased.passes(frame.data)] == [frame.name for frame in ALL if frame.by_address]


def test_programs_are_short_enough_for_tc() -> None:
    """tc(8) builds its request in 16 KiB."""
    longest = addresses_program(MAC, [ADDRESS, ADDRESS_6], by_dhcp=True)
    assert len(longest.packed()) < 12 * 1024


def test_another_machines_frames_are_of_its_own(by_mac: Filtered) -> None:
    its = Filtered(mac_program(OTHER_MAC))
    frame = ethernet(0x0800, ipv4(OTHER, udp(1, 2)), OTHER_MAC)
    assert its.passes(frame) and not by_mac.passes(frame)


def test_what_no_program_passes_is_dropped() -> None:
    """The program that comes second says TC_ACT_SHOT of each frame."""
    *_, last = ports.filters("vif7.0", mac_program(MAC).bytecode())
    assert last.endswith("prio 2 bpf bytecode '1,6 0 0 2' direct-action")
