"""The program that says of each frame of a guest whether the bridge may have it (docs/networking.md, "What a guest may send").

With the level `mac`, the sender's MAC address decides. With `addresses`, a frame must be IPv4, ARP or IPv6 without a VLAN tag,
and its sender's address must be the guest's. It must not be a router advertisement or redirect, or a DHCP server's. Headers in
front of ICMPv6 and UDP are followed (RFC 7113); a frame whose headers do not end, or go on in the next fragment, is refused.

What a guest says to a DHCP server is checked as well: servers know a client by its MAC address or by an identifier, so neither
may be another's, and a guest cannot give an address back that it would go on to use (RFC 2131; RFC 2132, 9.6, 9.14).
"""

import socket

from runx.exec.network.packet_program import ALL, VLAN_TAG_PRESENT, PacketProgram

TYPE_CHECKING = False  # as typing's
if TYPE_CHECKING:
    from collections.abc import Iterable

_ETHERNET = 14
_IPV4, _ARP, _IPV6 = 0x0800, 0x0806, 0x86DD
_UDP, _FRAGMENT, _ICMPV6 = 17, 44, 58
_EXTENSIONS = (0, 43, 60)
"""Hop-by-hop options, routing, destination options: headers with the next one's number and a length in units of 8 bytes."""
_EXTENSIONS_LIMIT = 6
"""Extension headers of a packet that are followed. RFC 8200 has no use for more."""
_DHCP_CLIENT, _DHCP_SERVER, _DHCPV6_SERVER = 68, 67, 547
_BROADCAST = 0xFFFFFFFF
_BOOTP = 8
"""Offset of a DHCP message in a UDP packet."""
_OPTIONS = 240
"""Offset of the options in a DHCP message, after the magic cookie."""
_OPTIONS_LIMIT = 24
"""Options of a client's message that are looked at. busybox sends 6, systemd-networkd and dhcpcd about a dozen."""
_PAD, _OVERLOAD, _KIND, _CLIENT, _END_OF_OPTIONS = 0, 52, 53, 61, 255
_DISCOVER, _REQUEST, _INFORM = 1, 3, 8
"""What a client may say. DECLINE and RELEASE give an address back to the server, which may lease it to another."""
_ADVERTISEMENT, _REDIRECT = 134, 137
_SOLICITATION, _NEIGHBOUR = 135, 136
_WITHOUT_ADDRESS = (131, 132, 133, 143)
"""ICMPv6 that a host sends before it has an address: reports of multicast listeners, and the question for routers."""

_HAS_ADDRESS = 0
"""Word of memory: 1 if the source is the guest's address, 0 if it is the unspecified one."""
_NEXT = 1
"""Word of memory: number of the next header."""


def interface_identifier(mac: str) -> bytes:
    """The lower half of the IPv6 addresses that a host makes of its MAC address (RFC 4291, appendix A)."""
    octets = bytes.fromhex(mac.replace(":", ""))
    return bytes([octets[0] ^ 2]) + octets[1:3] + b"\xff\xfe" + octets[3:]


def mac_program(mac: str) -> PacketProgram:
    """The program of the level `mac`."""
    program = PacketProgram()
    _check_mac(program, mac, 6)
    program.leave(ALL)
    _end(program)
    return program


def addresses_program(mac: str, addresses: "Iterable[str]", *, by_dhcp: bool = False) -> PacketProgram:
    """The program of the level `addresses`.

    addresses: the guest's own, beside those made of its MAC address; with or without `/` and a length. by_dhcp: whether it may
    ask a DHCP server for one.
    """
    of_4: list[int] = []
    of_6: list[bytes] = []
    for text in addresses:
        address = text.partition("/")[0]
        if ":" in address:
            of_6.append(socket.inet_pton(socket.AF_INET6, address))
        else:
            of_4.append(int.from_bytes(socket.inet_pton(socket.AF_INET, address), "big"))
    program = PacketProgram()
    _check_mac(program, mac, 6)
    program.load(4, VLAN_TAG_PRESENT)
    program.jump_unless(0, "refuse")
    program.load(2, 12)
    if of_4 or by_dhcp:
        program.jump_if(_IPV4, "ipv4")
    if of_4:
        program.jump_if(_ARP, "arp")
    program.jump_unless(_IPV6, "refuse")
    _ipv6(program, interface_identifier(mac), of_6)
    if of_4 or by_dhcp:
        program.label("ipv4")
        _ipv4(program, mac, of_4, by_dhcp)
    if of_4:
        program.label("arp")
        _arp(program, mac, of_4)
    _end(program)
    return program


def _end(program: PacketProgram) -> None:
    program.label("accept")
    program.leave(ALL)
    program.label("refuse")
    program.leave(0)


def _check_mac(program: PacketProgram, mac: str, offset: int) -> None:
    octets = bytes.fromhex(mac.replace(":", ""))
    program.load(4, offset)
    program.jump_unless(int.from_bytes(octets[:4], "big"), "refuse")
    program.load(2, offset + 4)
    program.jump_unless(int.from_bytes(octets[4:], "big"), "refuse")


def _ipv4(program: PacketProgram, mac: str, own: list[int], by_dhcp: bool) -> None:
    program.load(1, _ETHERNET)
    program.mask(0xF0)
    program.jump_unless(0x40, "refuse")
    program.load(4, _ETHERNET + 12)
    for address in own:
        program.jump_if(address, "ipv4 own")
    if by_dhcp:
        _without_an_address(program)
    else:
        program.jump("refuse")
    program.label("ipv4 own")
    program.load(1, _ETHERNET + 9)
    program.jump_unless(_UDP, "accept")
    program.load(2, _ETHERNET + 6)
    program.mask(0x1FFF)
    program.jump_unless(0, "accept")  # not the first fragment: without a first one, it is of no use
    program.load_header_length(_ETHERNET)
    program.load_at_index(2, _ETHERNET)
    program.jump_if(_DHCP_SERVER, "refuse")
    program.load_at_index(2, _ETHERNET + 2)
    program.jump_unless(_DHCP_SERVER, "accept")
    program.label("dhcp client")
    _dhcp_client(program, mac)


def _without_an_address(program: PacketProgram) -> None:
    """What a host may send that has none: its question to all DHCP servers. The source is in the accumulator."""
    program.jump_unless(0, "refuse")
    program.load(1, _ETHERNET + 9)
    program.jump_unless(_UDP, "refuse")
    program.load(2, _ETHERNET + 6)
    program.mask(0x1FFF)
    program.jump_unless(0, "refuse")
    program.load(4, _ETHERNET + 16)
    program.jump_unless(_BROADCAST, "refuse")
    program.load_header_length(_ETHERNET)
    program.load_at_index(4, _ETHERNET)
    program.jump_if(_DHCP_CLIENT << 16 | _DHCP_SERVER, "dhcp client")
    program.jump("refuse")


def _dhcp_client(program: PacketProgram, mac: str) -> None:
    """A message to a DHCP server, whose UDP header is at the index. It is refused if it speaks for another, or as a relay."""
    octets = bytes.fromhex(mac.replace(":", ""))
    message = _ETHERNET + _BOOTP
    program.load(2, _ETHERNET + 6)
    program.mask(0x2000)
    program.jump_unless(0, "refuse")  # in fragments, what is checked could be in another one
    for size, offset, value in (
        (1, 0, 1),  # a request
        (2, 1, 0x0106),  # of a host with an Ethernet address
        (4, 24, 0),  # that no relay has passed on
        (4, 28, int.from_bytes(octets[:4], "big")),
        (2, 32, int.from_bytes(octets[4:], "big")),
        (4, 236, 0x63825363),  # with DHCP's options
        (2, _OPTIONS, _KIND << 8 | 1),
    ):
        program.load_at_index(size, message + offset)
        program.jump_unless(value, "refuse")
    program.load_at_index(1, message + _OPTIONS + 2)
    for kind in (_DISCOVER, _REQUEST, _INFORM):
        program.jump_if(kind, "dhcp options")
    program.jump("refuse")
    program.label("dhcp options")
    program.set_accumulator(message + _OPTIONS + 3)
    program.add_index()
    program.index_from_accumulator()
    for number in range(_OPTIONS_LIMIT):
        program.load_at_index(1, 0)
        program.jump_if(_END_OF_OPTIONS, "accept")
        program.jump_unless(_PAD, f"option {number}")
        program.set_accumulator(1)
        program.jump(f"next option {number}")
        program.label(f"option {number}")
        program.jump_if(_KIND, "refuse")  # the second one
        program.jump_if(_OVERLOAD, "refuse")  # there would be more in other fields
        program.jump_unless(_CLIENT, f"other option {number}")
        program.load_at_index(4, 0)
        program.jump_unless(int.from_bytes(bytes([_CLIENT, 7, 1]) + octets[:1], "big"), "refuse")
        program.load_at_index(4, 4)
        program.jump_unless(int.from_bytes(octets[1:5], "big"), "refuse")
        program.load_at_index(1, 8)
        program.jump_unless(octets[5], "refuse")
        program.label(f"other option {number}")
        program.load_at_index(1, 1)
        program.add(2)
        program.label(f"next option {number}")
        program.add_index()
        program.index_from_accumulator()
    program.jump("refuse")


def _arp(program: PacketProgram, mac: str, own: list[int]) -> None:
    program.load(4, _ETHERNET)
    program.jump_unless(0x00010800, "refuse")  # Ethernet, IPv4
    program.load(2, _ETHERNET + 4)
    program.jump_unless(0x0604, "refuse")  # lengths of their addresses
    _check_mac(program, mac, _ETHERNET + 8)
    program.load(4, _ETHERNET + 14)
    for address in own:
        program.jump_if(address, "accept")
    # A probe, whether another has the address (RFC 5227). A probe for another's address would keep that host from using it.
    program.jump_unless(0, "refuse")
    program.load(4, _ETHERNET + 24)
    for address in own:
        program.jump_if(address, "accept")
    program.jump("refuse")


def _ipv6(program: PacketProgram, identifier: bytes, own: list[bytes]) -> None:
    program.load(1, _ETHERNET)
    program.mask(0xF0)
    program.jump_unless(0x60, "refuse")
    program.set_index(0)
    _is_own(program, "source", _ETHERNET + 8, identifier, own, "ipv6 own")
    for offset in range(0, 16, 4):
        program.load(4, _ETHERNET + 8 + offset)
        program.jump_unless(0, "refuse")
    program.set_accumulator(0)
    program.jump("ipv6 source")
    program.label("ipv6 own")
    program.set_accumulator(1)
    program.label("ipv6 source")
    program.store(_HAS_ADDRESS)
    program.set_index(40)
    program.load(1, _ETHERNET + 6)
    _follow_headers(program)
    program.label("icmpv6")
    _icmpv6(program, identifier, own)
    program.label("udp6")
    program.load_at_index(2, _ETHERNET)
    program.jump_if(_DHCPV6_SERVER, "refuse")
    program.label("other6")
    program.load_stored(_HAS_ADDRESS)
    program.jump_if(1, "accept")
    program.jump("refuse")


def _follow_headers(program: PacketProgram) -> None:
    """From a header's number in the accumulator, and its offset after the Ethernet header in the index."""
    for number in range(_EXTENSIONS_LIMIT + 1):
        program.jump_if(_ICMPV6, "icmpv6")
        program.jump_if(_UDP, "udp6")
        for kind in _EXTENSIONS:
            program.jump_if(kind, f"extension {number}")
        program.jump_unless(_FRAGMENT, "other6")
        program.load_at_index(2, _ETHERNET + 2)
        program.mask(0xFFF8)
        program.jump_unless(0, "other6")  # not the first fragment, which must have all headers (RFC 7112)
        program.load_at_index(1, _ETHERNET)
        program.store(_NEXT)
        program.set_accumulator(8)
        program.jump(f"next {number}")
        program.label(f"extension {number}")
        program.load_at_index(1, _ETHERNET)
        program.store(_NEXT)
        program.load_at_index(1, _ETHERNET + 1)
        program.add(1)
        program.shift_left(3)
        program.label(f"next {number}")
        program.add_index()
        program.index_from_accumulator()
        program.load_stored(_NEXT)
    program.jump("refuse")


def _icmpv6(program: PacketProgram, identifier: bytes, own: list[bytes]) -> None:
    program.load_at_index(1, _ETHERNET)
    program.jump_if(_ADVERTISEMENT, "refuse")
    program.jump_if(_REDIRECT, "refuse")
    program.jump_if(_NEIGHBOUR, "target")  # it says whose the address is
    for kind in _WITHOUT_ADDRESS:
        program.jump_if(kind, "accept")
    program.jump_unless(_SOLICITATION, "other6")
    program.load_stored(_HAS_ADDRESS)
    program.jump_if(1, "accept")
    # Without an address, it asks whether another has the target (RFC 4862): that would keep another from using its own.
    program.label("target")
    _is_own(program, "target", _ETHERNET + 8, identifier, own, "accept")
    program.jump("refuse")


def _is_own(program: PacketProgram, what: str, offset: int, identifier: bytes, own: list[bytes], label: str) -> None:
    """Jump to the label if the IPv6 address at the index and `offset` is the guest's. Go on if not."""
    candidates = [(8, identifier), *((0, address) for address in own)]
    for number, (skipped, value) in enumerate(candidates):
        other = f"{what} is not {number}"
        for position in range(0, len(value), 4):
            program.load_at_index(4, offset + skipped + position)
            program.jump_unless(int.from_bytes(value[position : position + 4], "big"), other)
        program.jump(label)
        program.label(other)
