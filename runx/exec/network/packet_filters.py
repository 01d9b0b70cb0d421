"""Name the packet filters in a network namespace. A virtual machine does not get them, and its frames do not pass them.

Only a short-lived child of the supervisor loads this module.
"""

import errno
import os
import struct
from collections.abc import Iterator

from runx.errors import RunxError
from runx.exec import spawn
from runx.linux import netlink

# linux/netfilter/nf_tables.h, linux/netfilter/nfnetlink.h
_NFTABLES = 10 << 8
_GET_CHAIN, _GET_RULE = 4, 7
_CHAIN_TABLE, _CHAIN_NAME, _CHAIN_POLICY = 1, 3, 5
_RULE_TABLE, _RULE_CHAIN = 1, 2
_DROP = struct.pack(">I", 0)
_ALL_FAMILIES = bytes(4)  # struct nfgenmsg: family, version, resource id
_NO_NFTABLES = (errno.EPROTONOSUPPORT, errno.EINVAL, errno.EOPNOTSUPP)
"""What a kernel answers that has no netfilter, or no nf_tables."""
_FAMILIES = {1: "inet", 2: "ip", 3: "arp", 5: "netdev", 7: "bridge", 10: "ip6"}
_DOCKERS = ("DOCKER_OUTPUT", "DOCKER_POSTROUTING")
"""Chains that lead to docker's DNS server, which guests reach in another way (docs/networking.md, "Names")."""
_LEGACY = {"/proc/self/net/ip_tables_names": "iptables-legacy-save", "/proc/self/net/ip6_tables_names": "ip6tables-legacy-save"}

Filters = dict[str, set[str]]
"""For each table the chains with rules, or with a policy that drops."""


def read() -> list[str]:
    """The filters in this process's network namespace, in words."""
    found: Filters = {}
    if _has_nftables():
        try:
            _read_nftables(found)
        except OSError as error:
            if error.errno not in _NO_NFTABLES:
                return [f"packet filters, if there are any, which cannot be read: {error.strerror}"]
    for names, program in _LEGACY.items():
        _read_legacy(names, program, found)
    return [f"packet filters, table {table}: {', '.join(sorted(chains))}" for table, chains in sorted(found.items())]


def _has_nftables() -> bool:
    """Whether the kernel has nf_tables now. A request over netlink would load the module."""
    try:
        with open("/proc/modules", encoding="ascii", errors="replace") as file:
            if any(line.startswith("nf_tables ") for line in file):
                return True
        with open(f"/lib/modules/{os.uname().release}/modules.builtin", encoding="ascii", errors="replace") as file:
            return any(line.endswith("/nf_tables.ko\n") for line in file)
    except OSError:
        return True  # a kernel without modules


def _read_nftables(found: Filters) -> None:
    for family, attributes, _ in _dump(_GET_CHAIN):
        if attributes.get(_CHAIN_POLICY) == _DROP:
            _add(found, family, attributes[_CHAIN_TABLE], attributes[_CHAIN_NAME])
    for family, attributes, payload in _dump(_GET_RULE):
        if not any(name.encode() + b"\0" in payload for name in _DOCKERS):  # the rule is in one of them, or leads to one
            _add(found, family, attributes[_RULE_TABLE], attributes[_RULE_CHAIN])


def _add(found: Filters, family: int, table: bytes, chain: bytes) -> None:
    name = f"{_FAMILIES.get(family, family)} {_text(table)}"
    found.setdefault(name, set()).add(_text(chain))


def _text(name: bytes) -> str:
    return name.rstrip(b"\0").decode("ascii", "replace")


def _dump(what: int) -> Iterator[tuple[int, dict[int, bytes], bytes]]:
    """All chains or rules: the family, the attributes, and these as they came. Raises OSError."""
    for message in netlink.dump(netlink.NETFILTER, _NFTABLES | what, _ALL_FAMILIES):
        payload = message[len(_ALL_FAMILIES) :]
        yield message[0], dict(netlink.attributes(payload)), payload


def _read_legacy(names: str, program: str, found: Filters) -> None:
    """Read the filters of the older kind of iptables (iptables-save(8))."""
    try:
        with open(names, encoding="ascii", errors="replace") as file:
            tables = file.read().split()
    except OSError:
        return  # the kernel has none
    if not tables:
        return
    family = "ip6" if "6" in program else "ip"
    try:
        lines = spawn.checked([program], program).splitlines()
    except RunxError as error:
        found.update({f"{family} {table} (of iptables-legacy)": {error.message} for table in tables})
        return
    table = ""
    for line in lines:
        words = line.split()
        if line.startswith("*"):
            table = f"{family} {line[1:]} (of iptables-legacy)"
        elif line.startswith(":") and words[1] == "DROP":
            found.setdefault(table, set()).add(words[0][1:])
        elif line.startswith("-A ") and not any(name in words for name in _DOCKERS):
            found.setdefault(table, set()).add(words[1])
