"""The IP addresses of an interface of the host, from its kernel (rtnetlink(7), RTM_GETADDR)."""

import socket
import struct
from collections.abc import Iterator

from runx.linux import netlink

_RTM_GETADDR = 22
_IFA_ADDRESS, _IFA_LOCAL = 1, 2
_HEADER = struct.Struct("=BBBBI")  # struct ifaddrmsg: family, prefix length, flags, scope, index
_FAMILIES = (socket.AF_INET, socket.AF_INET6)


def addresses(interface: str) -> frozenset[str]:
    """The addresses of an interface, as text; none if there is no such interface. Raises OSError."""
    try:
        wanted = socket.if_nametoindex(interface)
    except OSError:
        return frozenset()
    return frozenset(address for index, address in _all() if index == wanted)


def _all() -> Iterator[tuple[int, str]]:
    """Index of the interface, and address."""
    request = _HEADER.pack(socket.AF_UNSPEC, 0, 0, 0, 0)
    for message in netlink.dump(socket.NETLINK_ROUTE, _RTM_GETADDR, request):
        family, *_, index = _HEADER.unpack_from(message)
        found = dict(netlink.attributes(message[_HEADER.size :]))
        # On a point-to-point interface IFA_ADDRESS is the other end's, and IFA_LOCAL its own. IPv6 may have IFA_ADDRESS alone.
        value = found.get(_IFA_LOCAL) or found.get(_IFA_ADDRESS)
        if family in _FAMILIES and value:
            yield index, socket.inet_ntop(family, value)
