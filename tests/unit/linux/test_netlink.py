"""What the kernel answers over netlink, and what must not hang us."""

import errno
import socket
import struct

import pytest

from runx.linux import netlink

RTM_GETLINK, RTM_GETADDR = 18, 22
IFLA_IFNAME = 3


def test_a_dump_of_links() -> None:
    request = struct.pack("=BBHiII", socket.AF_UNSPEC, 0, 0, 0, 0, 0)  # struct ifinfomsg
    found = [dict(netlink.attributes(message[16:])) for message in netlink.dump(socket.NETLINK_ROUTE, RTM_GETLINK, request)]
    names = {link[IFLA_IFNAME].rstrip(b"\0").decode() for link in found}
    assert names == {name for _, name in socket.if_nameindex()}


def test_an_error_of_the_kernel() -> None:
    with pytest.raises(OSError) as caught:
        list(netlink.dump(socket.NETLINK_ROUTE, 1000, bytes(4)))
    assert caught.value.errno == errno.EOPNOTSUPP


def test_a_protocol_that_there_is_not() -> None:
    with pytest.raises(OSError):
        list(netlink.dump(31, RTM_GETADDR, bytes(8)))


def test_attributes() -> None:
    flagged = struct.pack("=HH", 8, 0x8000 | 3) + b"\1\2\3\4"
    odd = struct.pack("=HH", 5, 7) + b"x\0\0\0"
    assert list(netlink.attributes(flagged + odd + b"\0\0")) == [(3, b"\1\2\3\4"), (7, b"x")]
    assert list(netlink.attributes(bytes(8))) == [(0, b""), (0, b"")], "a length of zero makes no loop that does not end"
