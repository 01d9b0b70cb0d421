"""Frames of a hostile guest, each with a name, and which of them a bridge may have.

A frame goes to all hosts of the link, so that a listener anywhere on the bridge sees it.
"""

import struct
from ipaddress import IPv4Address, IPv6Address
from typing import NamedTuple

OTHER_MAC = "02:00:00:00:00:99"
BROADCAST = "ff:ff:ff:ff:ff:ff"
_IPV4, _ARP, _IPV6, _VLAN = 0x0800, 0x0806, 0x86DD, 0x8100
_UDP, _ICMPV6 = 17, 58
_UNSPECIFIED = str(IPv4Address(0))
_HOP_BY_HOP, _ROUTING, _FRAGMENT, _DESTINATION = 0, 43, 44, 60


class Frame(NamedTuple):
    name: str
    data: bytes
    by_mac: bool
    """Whether it may pass with the level `mac`."""
    by_address: bool
    """Whether it may pass with the level `addresses`."""


def mac_bytes(text: str) -> bytes:
    return bytes.fromhex(text.replace(":", ""))


def link_local(mac: str, prefix: str = "fe80::") -> str:
    """The address of a prefix of 64 bits that a host makes of its MAC address."""
    octets = mac_bytes(mac)
    identifier = bytes([octets[0] ^ 2]) + octets[1:3] + b"\xff\xfe" + octets[3:]
    return str(IPv6Address(IPv6Address(prefix).packed[:8] + identifier))


def ethernet(kind: int, payload: bytes, source: str, target: str = BROADCAST) -> bytes:
    return mac_bytes(target) + mac_bytes(source) + struct.pack(">H", kind) + payload


def ipv4(source: str, payload: bytes, protocol: int = _UDP, offset: int = 0, more: bool = False, options: bytes = b"") -> bytes:
    length = 20 + len(options)
    fragment = offset // 8 | (0x2000 if more else 0)
    head = struct.pack(
        ">BBHHHBBH4s4s", 0x40 | length // 4, 0, length + len(payload), 7, fragment, 64, protocol, 0, IPv4Address(source).packed,
        b"\xff" * 4,
    ) + options  # fmt: skip
    total = sum(struct.unpack(f">{len(head) // 2}H", head))
    total = (total & 0xFFFF) + (total >> 16)
    total = (total & 0xFFFF) + (total >> 16)
    return head[:10] + struct.pack(">H", ~total & 0xFFFF) + head[12:] + payload


def udp(source: int, target: int, data: bytes = b"x" * 20) -> bytes:
    return struct.pack(">HHHH", source, target, 8 + len(data), 0) + data


def options(*pairs: tuple[int, bytes]) -> bytes:
    """Options of DHCP (RFC 2132), with the mark of their end."""
    return b"".join(bytes([kind, len(value)]) + value for kind, value in pairs) + b"\xff"


def client_id(mac: str) -> tuple[int, bytes]:
    return 61, b"\x01" + mac_bytes(mac)


def bootp(operation: int, mac: str, said: bytes, given: str = _UNSPECIFIED, relay: str = _UNSPECIFIED, about: str = "") -> bytes:
    """A DHCP message (RFC 2131, 2). operation: 1 of a client, 2 of a server. said: its options. about: the client's address."""
    parts = (
        struct.pack(">BBBBIHH", operation, 1, 6, 0, 7, 0, 0),
        *(IPv4Address(address).packed for address in (about or _UNSPECIFIED, given, _UNSPECIFIED, relay)),
        mac_bytes(mac), bytes(10 + 64 + 128), b"\x63\x82\x53\x63", said,
    )  # fmt: skip
    return b"".join(parts)


def asks(mac: str, source: str, *said: tuple[int, bytes], kind: int = 3, sender: str = "", relay: str = _UNSPECIFIED) -> bytes:
    """A client's message to a DHCP server, as a frame. kind: 1 for DHCPDISCOVER. sender: the frame's MAC address, else `mac`."""
    data = bootp(1, mac, options((53, bytes([kind])), *said), relay=relay, about=source)
    return ethernet(_IPV4, ipv4(source, udp(68, 67, data)), sender or mac)


def arp(mac: str, address: str, target: str) -> bytes:
    parts = struct.pack(">HHBBH", 1, _IPV4, 6, 4, 1), mac_bytes(mac), IPv4Address(address).packed, bytes(6)
    return b"".join(parts) + IPv4Address(target).packed


def ipv6(source: str, payload: bytes, kind: int = _ICMPV6) -> bytes:
    return (
        struct.pack(">IHBB", 6 << 28, len(payload), kind, 255)
        + IPv6Address(source).packed
        + IPv6Address("ff02::1").packed
        + payload
    )


def icmpv6(kind: int, target: str = "::") -> bytes:
    return struct.pack(">BBHI", kind, 0, 0, 0) + IPv6Address(target).packed


def extension(following: int, payload: bytes, units: int = 0) -> bytes:
    return bytes([following, units]) + bytes(6 + 8 * units) + payload


def fragment(following: int, payload: bytes, offset: int = 0, more: bool = True) -> bytes:
    return struct.pack(">BBHI", following, 0, offset | more, 7) + payload


def _dhcp_for_others(mac: str, address: str) -> list[tuple[str, bytes]]:
    """What a guest may not say to a DHCP server: in another's name, as a relay, or to give an address back."""
    request = (53, b"\x03")
    bare = bootp(1, mac, options(request), about=address)
    later = bootp(1, mac, options((12, b"me"), request), about=address)
    unended = bootp(1, mac, options(request)[:-1], about=address)
    return [
        ("a dhcp client of another's mac", asks(OTHER_MAC, address, sender=mac)),
        ("a dhcp client with another's identifier", asks(mac, address, (50, bytes(4)), client_id(OTHER_MAC))),
        ("a dhcp client with an identifier of its own", asks(mac, address, (61, b"\xff" + bytes(8)))),
        ("a dhcp client with a hidden identifier", asks(mac, address, (200, bytes(200)), (52, b"\1"), client_id(mac))),
        ("a dhcp relay", asks(mac, address, relay=address)),
        ("it gives its lease back", asks(mac, address, kind=7)),
        ("it says the address is another's", asks(mac, address, kind=4)),
        ("it says two things", asks(mac, address, (53, b"\x07"))),
        ("it says first who it is", ethernet(_IPV4, ipv4(address, udp(68, 67, later)), mac)),
        ("options without an end", ethernet(_IPV4, ipv4(address, udp(68, 67, unended)), mac)),
        ("too many options", asks(mac, address, *((200, b"x"),) * 24)),
        ("a dhcp client in fragments", ethernet(_IPV4, ipv4(address, udp(68, 67, bare), more=True), mac)),
        ("a dhcp client from another port", ethernet(_IPV4, ipv4(address, udp(4000, 67, b"x" * 20)), mac)),
    ]


def unaddressed(mac: str) -> list[Frame]:
    """Frames of a guest that has no address yet, or none any more, and may ask a DHCP server for one."""
    good = [
        ("without address", asks(mac, _UNSPECIFIED, kind=1)),
        ("without address, with its identifier", asks(mac, _UNSPECIFIED, client_id(mac), kind=1)),
    ]
    question = asks(mac, _UNSPECIFIED)
    foreign = [
        ("without address, of another's mac", asks(OTHER_MAC, _UNSPECIFIED, sender=mac)),
        ("without address, with another's identifier", asks(mac, _UNSPECIFIED, client_id(OTHER_MAC))),
        ("without address, to another port", ethernet(_IPV4, ipv4(_UNSPECIFIED, udp(68, 4001)), mac)),
        ("without address, in fragments", ethernet(_IPV4, ipv4(_UNSPECIFIED, udp(68, 67), more=True), mac)),
        ("without address, not udp", ethernet(_IPV4, ipv4(_UNSPECIFIED, bytes(20), 2), mac)),
        ("without address, to one host", question[:30] + b"\x0a\x01\0\x08" + question[34:]),
    ]
    return [*(Frame(name, data, True, True) for name, data in good), *(Frame(name, data, True, False) for name, data in foreign)]


def untagged(frame: bytes) -> bytes:
    """The frame as a socket shows it, which takes a VLAN tag out."""
    return frame[:12] + frame[16:] if frame[12:14] == struct.pack(">H", _VLAN) else frame


def frames(mac: str, address: str, address_6: str, other: str, other_6: str) -> list[Frame]:
    """Frames of a guest with these addresses. other, other_6: addresses of another machine of the link."""
    local = link_local(mac)
    global_6 = link_local(mac, "2001:db8:1:2::")
    advertisement = icmpv6(134)
    good: list[tuple[str, bytes]] = [
        ("udp", ethernet(_IPV4, ipv4(address, udp(4000, 4001)), mac)),
        ("udp with options", ethernet(_IPV4, ipv4(address, udp(4000, 4001), options=b"\x01" * 8), mac)),
        ("a dhcp client", asks(mac, address)),
        ("a dhcp client with its identifier", asks(mac, address, (50, IPv4Address(address).packed), (0, b""), client_id(mac))),
        ("a dhcp client with many options", asks(mac, address, *((200, b"x"),) * 22)),
        ("a dhcp client that asks for more", asks(mac, address, kind=8)),
        ("icmp", ethernet(_IPV4, ipv4(address, b"\x08\0\0\0\0\x01\0\x02", 1), mac)),
        ("first fragment", ethernet(_IPV4, ipv4(address, udp(4000, 4001), more=True), mac)),
        ("last fragment", ethernet(_IPV4, ipv4(address, b"\0\x43" * 8, offset=64), mac)),
        ("arp", ethernet(_ARP, arp(mac, address, other), mac)),
        ("arp probe for its own", ethernet(_ARP, arp(mac, _UNSPECIFIED, address), mac)),
        ("udp6", ethernet(_IPV6, ipv6(address_6, udp(4000, 4001), _UDP), mac)),
        ("udp6 link-local", ethernet(_IPV6, ipv6(local, udp(546, 547), _UDP), mac)),
        ("udp6 of an advertised prefix", ethernet(_IPV6, ipv6(global_6, udp(4000, 4001), _UDP), mac)),
        ("router solicitation", ethernet(_IPV6, ipv6(local, icmpv6(133)), mac)),
        ("router solicitation without address", ethernet(_IPV6, ipv6("::", icmpv6(133)), mac)),
        ("listener report", ethernet(_IPV6, ipv6("::", extension(_ICMPV6, icmpv6(143)), _HOP_BY_HOP), mac)),
        ("who has", ethernet(_IPV6, ipv6(local, icmpv6(135, other_6)), mac)),
        ("has anybody its own", ethernet(_IPV6, ipv6("::", icmpv6(135, global_6)), mac)),
        ("it has its own", ethernet(_IPV6, ipv6(address_6, icmpv6(136, address_6)), mac)),
        ("ping6", ethernet(_IPV6, ipv6(local, icmpv6(128)), mac)),
        ("ping6 with options", ethernet(_IPV6, ipv6(local, extension(_ICMPV6, icmpv6(128), 2), _DESTINATION), mac)),
        ("first fragment 6", ethernet(_IPV6, ipv6(local, fragment(_UDP, udp(4000, 4001)), _FRAGMENT), mac)),
        ("last fragment 6", ethernet(_IPV6, ipv6(local, fragment(_ICMPV6, advertisement, 64, False), _FRAGMENT), mac)),
        ("tcp6", ethernet(_IPV6, ipv6(address_6, bytes(20), 6), mac)),
    ]
    foreign: list[tuple[str, bytes]] = [
        ("another's address", ethernet(_IPV4, ipv4(other, udp(4000, 4001)), mac)),
        ("no address", ethernet(_IPV4, ipv4(_UNSPECIFIED, udp(4000, 4001)), mac)),
        *_dhcp_for_others(mac, address),
        ("another version", ethernet(_IPV4, b"\x65" + ipv4(address, udp(4000, 4001))[1:], mac)),
        ("dhcp server", ethernet(_IPV4, ipv4(address, udp(67, 68)), mac)),
        ("dhcp server with options", ethernet(_IPV4, ipv4(address, udp(67, 68), options=b"\x01" * 12), mac)),
        ("dhcp server in fragments", ethernet(_IPV4, ipv4(address, udp(67, 68), more=True), mac)),
        ("half an udp header", ethernet(_IPV4, ipv4(address, b"", options=b"\x01" * 40), mac)),
        ("arp with another's address", ethernet(_ARP, arp(mac, other, address), mac)),
        ("arp with another's mac", ethernet(_ARP, arp(OTHER_MAC, address, other), mac)),
        ("arp probe for another's", ethernet(_ARP, arp(mac, _UNSPECIFIED, other), mac)),
        ("reverse arp", ethernet(0x8035, arp(mac, address, other), mac)),
        ("another's address 6", ethernet(_IPV6, ipv6(other_6, udp(4000, 4001), _UDP), mac)),
        ("another's link-local", ethernet(_IPV6, ipv6(link_local(OTHER_MAC), icmpv6(128)), mac)),
        ("no address 6", ethernet(_IPV6, ipv6("::", udp(4000, 4001), _UDP), mac)),
        ("advertisement", ethernet(_IPV6, ipv6(local, advertisement), mac)),
        ("redirect", ethernet(_IPV6, ipv6(local, icmpv6(137)), mac)),
        ("it has another's", ethernet(_IPV6, ipv6(local, icmpv6(136, other_6)), mac)),
        ("has anybody another's", ethernet(_IPV6, ipv6("::", icmpv6(135, other_6)), mac)),
        ("dhcpv6 server", ethernet(_IPV6, ipv6(local, udp(547, 546), _UDP), mac)),
        ("spanning tree", ethernet(38, b"\x42\x42\x03" + bytes(35), mac, "01:80:c2:00:00:00")),
        ("another protocol", ethernet(0x88B5, b"x" * 46, mac)),
        ("vlan", ethernet(_VLAN, struct.pack(">HH", 5, _IPV4) + ipv4(address, udp(4000, 4005)), mac)),
    ]
    hidden = [
        ("options", _HOP_BY_HOP, extension(_ICMPV6, advertisement)),
        ("a routing header", _ROUTING, extension(_ICMPV6, advertisement, 3)),
        ("a fragment header", _FRAGMENT, fragment(_ICMPV6, advertisement, 0, False)),
        ("a fragment and options", _FRAGMENT, fragment(_DESTINATION, extension(_ICMPV6, advertisement))),
        ("options that end in the next fragment", _FRAGMENT, fragment(_DESTINATION, extension(_ICMPV6, b"", 0))),
        ("a header beyond the end", _DESTINATION, bytes([_ICMPV6, 200]) + bytes(22)),
    ]
    for many in (3, 6, 7, 40):
        payload, following = advertisement, _ICMPV6
        for _ in range(many):
            payload, following = extension(following, payload), _DESTINATION
        hidden.append((f"{many} headers", following, payload))
    foreign += [(f"advertisement after {name}", ethernet(_IPV6, ipv6(local, data, kind), mac)) for name, kind, data in hidden]
    spoofed: list[tuple[str, bytes]] = [
        ("another's mac", ethernet(_IPV4, ipv4(address, udp(4000, 4001)), OTHER_MAC)),
        ("almost its mac", ethernet(_IPV4, ipv4(address, udp(4000, 4001)), mac[:-1] + ("0" if mac[-1] != "0" else "1"))),
        ("no mac", ethernet(_IPV4, ipv4(address, udp(4000, 4001)), "00:00:00:00:00:00")),
        ("another's mac 6", ethernet(_IPV6, ipv6(local, icmpv6(128)), OTHER_MAC)),
        ("another's mac, arp", ethernet(_ARP, arp(OTHER_MAC, other, address), OTHER_MAC)),
    ]
    return [
        *(Frame(name, data, True, True) for name, data in good),
        *(Frame(name, data, True, False) for name, data in foreign),
        *(Frame(name, data, False, False) for name, data in spoofed),
    ]
