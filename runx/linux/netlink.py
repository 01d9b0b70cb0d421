"""Requests to the kernel over netlink(7): what it has of a kind, the attributes of each, and changes."""

import errno
import os
import socket
import struct
from collections.abc import Iterator

NETFILTER = 12
"""The protocol nfnetlink, of packet filters (linux/netlink.h)."""

_MESSAGE = struct.Struct("=IHHII")  # struct nlmsghdr: length, type, flags, sequence, port
_ATTRIBUTE = struct.Struct("=HH")  # struct nlattr: length, type
_REQUEST_DUMP = 0x301  # NLM_F_REQUEST | NLM_F_DUMP
_REQUEST_ACK = 0x5  # NLM_F_REQUEST | NLM_F_ACK
_ERROR, _DONE = 2, 3
_KIND = 0x3FFF  # without NLA_F_NESTED and NLA_F_NET_BYTEORDER
_BUFFER = 1024 * 1024


def dump(protocol: int, kind: int, request: bytes) -> Iterator[bytes]:
    """The payload of each message that answers a dump request.

    protocol: such as socket.NETLINK_ROUTE. kind: of the request, such as RTM_GETADDR. request: its payload, the header that the
    family wants. Raises OSError, also for an error that the kernel answers.
    """
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, protocol) as kernel:
        kernel.send(_MESSAGE.pack(_MESSAGE.size + len(request), kind, _REQUEST_DUMP, 0, 0) + request)
        while True:
            data = kernel.recv(_BUFFER)
            at = 0
            while at < len(data):
                length, answer, *_ = _MESSAGE.unpack_from(data, at)
                payload = data[at + _MESSAGE.size : at + length]
                if answer in (_ERROR, _DONE):
                    _check(payload)
                    return
                yield payload
                at += _aligned(length)


def change(kernel: socket.socket, kind: int, request: bytes) -> None:
    """Have the kernel change what the request names, and wait for its answer. It changes what is there, and makes nothing.

    kernel: a socket of netlink(7), in the network namespace of the object. kind, request: as for `dump`. Raises OSError, also for
    an error that the kernel answers.
    """
    kernel.send(_MESSAGE.pack(_MESSAGE.size + len(request), kind, _REQUEST_ACK, 0, 0) + request)
    data = kernel.recv(_BUFFER)
    _, answer, *_ = _MESSAGE.unpack_from(data)
    if answer != _ERROR:
        raise OSError(errno.EPROTO, os.strerror(errno.EPROTO))
    _check(data[_MESSAGE.size :])


def attribute(kind: int, value: bytes) -> bytes:
    """An attribute of a request, padded for the next one."""
    length = _ATTRIBUTE.size + len(value)
    return _ATTRIBUTE.pack(length, kind) + value + bytes(_aligned(length) - length)


def _check(payload: bytes) -> None:
    """Raise the error that struct nlmsgerr has, or the end of a dump that failed: a negative errno, or 0."""
    number = -struct.unpack_from("=i", payload)[0] if len(payload) >= 4 else 0
    if number:
        raise OSError(number, os.strerror(number))


def attributes(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Type and value of each attribute; `data` begins with the first."""
    at = 0
    while at + _ATTRIBUTE.size <= len(data):
        length, kind = _ATTRIBUTE.unpack_from(data, at)
        yield kind & _KIND, data[at + _ATTRIBUTE.size : at + length]
        at += max(_aligned(length), _ATTRIBUTE.size)


def _aligned(length: int) -> int:
    return (length + 3) & ~3
