"""A socket that gets all connections to the loopback address of a network namespace, whatever their port.

A BPF program does it (Linux 5.9, Documentation/bpf/prog_sk_lookup.rst). It needs no rule of a packet filter and no library, and
goes with the descriptor that holds it.
"""

import os
import struct
import sys

from runx.linux import confine, libc

_NUMBERS = """
name x86_64 aarch64 arm
bpf  321    280     386
"""
_MAP_CREATE, _MAP_UPDATE_ELEM, _PROG_LOAD, _LINK_CREATE = 0, 2, 5, 28  # enum bpf_cmd
_MAP_SOCKMAP, _PROG_SK_LOOKUP, _ATTACH_SK_LOOKUP = 15, 30, 36
_ATTRIBUTES = 128
"""Bytes of union bpf_attr that are given; what is not set is 0."""
_LOOPBACK = bytes((127, 0, 0, 1))
_AF_INET, _IPPROTO_TCP = 2, 6

# Instructions, helpers and fields of struct bpf_sk_lookup (linux/bpf.h).
_LOAD, _STORE, _MOVE, _MOVE_VALUE, _ADD, _LOAD_MAP = 0x61, 0x62, 0xBF, 0xB7, 0x07, 0x18
_EQUAL, _UNEQUAL, _CALL, _EXIT, _TO_END = 0x15, 0x55, 0x85, 0x95, -1
_MAP_LOOKUP, _SK_RELEASE, _SK_ASSIGN = 1, 86, 124
_FAMILY, _PROTOCOL, _LOCAL_IP4 = 8, 12, 40
_PASS = 1


def program(sockets: int) -> bytes:
    """The program: TCP to 127.0.0.1 goes to the socket of the map `sockets`, all else where it went before."""
    body = [(_MOVE, 6, 1, 0, 0)]
    wanted = ((_FAMILY, _AF_INET), (_PROTOCOL, _IPPROTO_TCP), (_LOCAL_IP4, int.from_bytes(_LOOPBACK, sys.byteorder)))
    for field, value in wanted:
        body += [(_LOAD, 2, 6, field, 0), (_UNEQUAL, 2, 0, _TO_END, value)]
    body += [
        (_STORE, 10, 0, -4, 0),
        (_MOVE, 2, 10, 0, 0),
        (_ADD, 2, 0, 0, -4),
        (_LOAD_MAP, 1, 1, 0, sockets),
        (0, 0, 0, 0, 0),
        (_CALL, 0, 0, 0, _MAP_LOOKUP),
        (_EQUAL, 0, 0, _TO_END, 0),
        (_MOVE, 7, 0, 0, 0),
        (_MOVE, 1, 6, 0, 0),
        (_MOVE, 2, 7, 0, 0),
        (_MOVE_VALUE, 3, 0, 0, 0),
        (_CALL, 0, 0, 0, _SK_ASSIGN),
        (_MOVE, 1, 7, 0, 0),
        (_CALL, 0, 0, 0, _SK_RELEASE),
    ]
    end = [(_MOVE_VALUE, 0, 0, 0, _PASS), (_EXIT, 0, 0, 0, 0)]
    code = b""
    for at, (operation, target, source, offset, value) in enumerate((*body, *end)):
        jumps = len(body) - at - 1 if offset == _TO_END else offset
        code += struct.pack("=BBhi", operation, source << 4 | target, jumps, value)
    return code


def attach(listener: int, namespace: int) -> int:
    """Have a listening socket of TCP get all connections to 127.0.0.1 in a network namespace, by its descriptor.

    getsockname(2) of an accepted connection has the port that was asked for. Returns a descriptor: with its end the connections
    go where they went before. Raises OSError.
    """
    sockets = _bpf(_MAP_CREATE, struct.pack("=5I", _MAP_SOCKMAP, 4, 8, 1, 0))
    try:
        key, value = struct.pack("=I", 0), struct.pack("=Q", listener)
        _bpf(_MAP_UPDATE_ELEM, struct.pack("=IIQQQ", sockets, 0, libc.address(key), libc.address(value), 0))
        loaded = _load(program(sockets))
    finally:
        os.close(sockets)
    try:
        return _bpf(_LINK_CREATE, struct.pack("=4I", loaded, namespace, _ATTACH_SK_LOOKUP, 0))
    finally:
        os.close(loaded)


def _load(code: bytes) -> int:
    license_text = b"\0"  # no function that it calls asks for one
    count, at, words = len(code) // 8, libc.address(code), libc.address(license_text)
    head = struct.pack("=IIQQ", _PROG_SK_LOOKUP, count, at, words)
    return _bpf(_PROG_LOAD, head + struct.pack("=IIQII16sII", 0, 0, 0, 0, 0, b"runx_ports", 0, _ATTACH_SK_LOOKUP))


def _bpf(command: int, attributes: bytes) -> int:
    number = confine.numbers(confine.architecture(), _NUMBERS)["bpf"]
    attributes = attributes.ljust(_ATTRIBUTES, b"\0")
    return libc.check(libc.function("syscall", "llPL")(number, command, attributes, len(attributes)), "bpf")
