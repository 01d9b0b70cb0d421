"""What DHCP servers answer to a guest, as the host sees it at the guest's backend (RFC 2131).

Only frames that the bridge sends to the guest are looked at, and of these only a server's answers to the guest's MAC address. The
kernel picks them out; `read` takes what it has left.
"""

import struct

from runx.exec.network.packet_program import ALL, PACKET_TYPE, VLAN_TAG_PRESENT, PacketProgram


class Answer:
    """A server has given the guest an address, or has taken it back."""

    __slots__ = ("address", "lease_s")

    def __init__(self, address: str, lease_s: int) -> None:
        """address: "" if the guest has none any more. lease_s: how long it may have it."""
        self.address, self.lease_s = address, lease_s


_ETHERNET = 14
_IPV4, _UDP = 0x0800, 17
_PACKET_OUTGOING = 4  # linux/if_packet.h
_SERVER, _CLIENT = 67, 68
_BOOTP = 8
"""Offset of a DHCP message in a UDP packet."""
_OPTIONS = 240
_ACK, _NAK = 5, 6
_PAD, _LEASE_TIME, _KIND, _END = 0, 51, 53, 255
FOR_EVER = 0xFFFFFFFF


def answers_program(mac: str) -> PacketProgram:
    """The program of a packet socket at the guest's backend: DHCP servers' answers to this MAC address, and nothing else."""
    octets = bytes.fromhex(mac.replace(":", ""))
    message = _ETHERNET + _BOOTP
    program = PacketProgram()
    for size, offset, value in (
        (4, PACKET_TYPE, _PACKET_OUTGOING),  # what the guest sends is not believed
        (4, VLAN_TAG_PRESENT, 0),
        (2, 12, _IPV4),
        (1, _ETHERNET + 9, _UDP),
    ):
        program.load(size, offset)
        program.jump_unless(value, "refuse")
    program.load(1, _ETHERNET)
    program.mask(0xF0)
    program.jump_unless(0x40, "refuse")
    program.load(2, _ETHERNET + 6)
    program.mask(0x3FFF)
    program.jump_unless(0, "refuse")  # a fragment
    program.load_header_length(_ETHERNET)
    for size, offset, value in (
        (4, _ETHERNET, _SERVER << 16 | _CLIENT),
        (1, message, 2),  # an answer
        (2, message + 1, 0x0106),  # to a host with an Ethernet address
        (4, message + 28, int.from_bytes(octets[:4], "big")),
        (2, message + 32, int.from_bytes(octets[4:], "big")),
        (4, message + 236, 0x63825363),
    ):
        program.load_at_index(size, offset)
        program.jump_unless(value, "refuse")
    program.leave(ALL)
    program.label("refuse")
    program.leave(0)
    return program


def read(frame: bytes) -> Answer | None:
    """The answer in a frame that `answers_program` has let pass; None for one that says nothing about an address."""
    udp = _ETHERNET + (frame[_ETHERNET] & 0xF) * 4
    (length,) = struct.unpack_from(">H", frame, udp + 4)
    message = frame[udp + _BOOTP : udp + length]
    given = message[16:20]
    options = _options(message[_OPTIONS:])
    kind = options.get(_KIND)
    if kind == bytes([_NAK]):
        return Answer("", 0)
    if kind != bytes([_ACK]) or len(given) != 4 or not _is_of_a_host(given):
        return None
    lease = options.get(_LEASE_TIME, b"")
    # Without a time it is the answer to a host that has an address already (DHCPINFORM).
    return Answer(".".join(map(str, given)), int.from_bytes(lease, "big")) if len(lease) == 4 else None


def _options(data: bytes) -> dict[int, bytes]:
    """The first value of each option, up to the end or to what is not one."""
    found: dict[int, bytes] = {}
    at = 0
    while at < len(data) and data[at] != _END:
        if data[at] == _PAD:
            at += 1
            continue
        if at + 1 >= len(data):
            break
        value = data[at + 2 : at + 2 + data[at + 1]]
        found.setdefault(data[at], value)
        at += 2 + data[at + 1]
    return found


def _is_of_a_host(address: bytes) -> bool:
    """Whether a host can have it: not the unspecified one, of the loopback, of a group, or of all."""
    return 0 < address[0] < 224 and address[0] != 127
