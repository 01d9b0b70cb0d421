"""The IP addresses of an interface of the host, asked of its kernel (rtnetlink(7), RTM_GETADDR)."""

import socket
import struct
from collections.abc import Iterator

_RTM_GETADDR, _NLMSG_ERROR, _NLMSG_DONE = 22, 2, 3
_NLM_F_REQUEST_DUMP = 0x301
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_HEADER = struct.Struct("=IHHII")  # struct nlmsghdr: length, type, flags, sequence, port
_ADDRESS = struct.Struct("=BBBBI")  # struct ifaddrmsg: family, prefix length, flags, scope, index
_ATTRIBUTE = struct.Struct("=HH")  # struct rtattr: length, type
_FAMILIES = (socket.AF_INET, socket.AF_INET6)


def addresses(interface: str) -> frozenset[str]:
    """Those of an interface, as text; none when there is no such interface. Raises OSError."""
    try:
        wanted = socket.if_nametoindex(interface)
    except OSError:
        return frozenset()
    return frozenset(address for index, address in _all() if index == wanted)


def _all() -> Iterator[tuple[int, str]]:
    """Index of the interface, and address."""
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE) as kernel:
        body = _ADDRESS.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
        kernel.send(_HEADER.pack(_HEADER.size + len(body), _RTM_GETADDR, _NLM_F_REQUEST_DUMP, 1, 0) + body)
        while True:
            messages = memoryview(kernel.recv(65536))
            while messages:
                length, kind, *_ = _HEADER.unpack_from(messages)
                if kind in (_NLMSG_DONE, _NLMSG_ERROR):
                    return
                family, *_, index = _ADDRESS.unpack_from(messages, _HEADER.size)
                if family in _FAMILIES:
                    yield from ((index, address) for address in _own(messages[_HEADER.size + _ADDRESS.size : length], family))
                messages = messages[_aligned(length) :]


def _own(attributes: memoryview, family: int) -> Iterator[str]:
    """Of a point-to-point interface IFA_ADDRESS is the other end's, and IFA_LOCAL its own; IPv6 may have the former alone."""
    found: dict[int, bytes] = {}
    while attributes:
        length, kind = _ATTRIBUTE.unpack_from(attributes)
        found[kind] = bytes(attributes[_ATTRIBUTE.size : length])
        attributes = attributes[_aligned(length) :]
    value = found.get(_IFA_LOCAL) or found.get(_IFA_ADDRESS)
    if value:
        yield socket.inet_ntop(family, value)


def _aligned(length: int) -> int:
    return (length + 3) & ~3
