"""What an engine has configured in a network namespace is what its guest gets: read in one, made in another, read there."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from netspace import Namespace

pytestmark = [
    pytest.mark.skipif(os.geteuid() != 0, reason="namespaces and mounts need root"),
    pytest.mark.skipif(not shutil.which("tc"), reason="iproute2 is not installed"),
]

MACS = ["02:00:00:00:00:02", "02:00:00:00:00:01"]


@pytest.fixture
def init(programs: tuple[Path, Path]) -> Path:
    return programs[0]


def namespace(directory: Path, init: Path) -> Namespace:
    directory.mkdir()
    space = Namespace(directory, MACS)
    (directory / "bin/add-neighbour").symlink_to(init)
    return space


def describe(space: Namespace) -> list[str]:
    """Interfaces, what is not carried, and the script."""
    program = (
        f"import sys; sys.path[:0] = {sys.path!r}; from runx.exec.network import inspect as e; "
        "sys.stdout.write(e.describe(['eth0', 'eth1']))"
    )
    (space.directory / "describe.py").write_text(program)
    return space.run(f"{sys.executable} {space.directory}/describe.py").split("\0")


CASES = {
    "addresses and routes": """
        ip addr add 10.9.1.5/24 broadcast 10.9.1.255 dev eth0; ip addr add fd09:1::5/64 dev eth0 nodad
        ip addr add 10.9.2.5 peer 10.9.2.1/32 dev eth1
        ip link set eth0 up mtu 1400; ip link set eth1 up
        ip route add default via 10.9.1.1; ip route add default via 10.9.2.1 metric 7
        ip route add 192.0.2.0/24 via 10.8.0.1 dev eth1 onlink src 10.9.1.5
        ip route add 198.51.100.0/24 via 10.9.1.1 mtu 1300 advmss 1200
        ip -6 route add default via fd09:1::1 mtu 1300; ip -6 route add 2001:db8::/32 via fe80::9 dev eth1 metric 5
    """,
    "one interface without IPv6, the other one down": """
        echo 1 > /proc/sys/net/ipv6/conf/eth0/disable_ipv6; ip link set eth0 up; ip addr add 10.9.1.5/24 dev eth0
        ip addr add 10.9.2.5/24 dev eth1
    """,
    "of the loopback interface": """
        ip addr add 192.0.2.7/32 dev lo; ip addr add 127.0.0.53/8 dev lo; ip addr add 2001:db8::7/128 dev lo nodad
        ip link set eth0 up; ip addr add 10.9.1.5/24 dev eth0
    """,
    "permanent neighbours": """
        ip link set eth0 up; ip addr add 10.9.1.5/32 dev eth0
        ip neigh add 169.254.1.1 lladdr 02:aB:00:ff:00:09 dev eth0 nud permanent
        ip neigh add fe80::1 lladdr 02:ab:00:ff:00:09 dev eth0 nud permanent
        ip route add 169.254.1.1 dev eth0 scope link; ip route add default via 169.254.1.1
        ip -6 route add default via fe80::1 dev eth0
    """,
    "rules and tables": """
        ip link set eth0 up; ip addr add 10.9.1.5/24 dev eth0; ip link set eth1 up; ip addr add 10.9.2.5/24 dev eth1
        ip addr add fd09:2::5/64 dev eth1 nodad
        ip route add 10.9.2.0/24 dev eth1 proto kernel scope link src 10.9.2.5 table 100
        ip route add default via 10.9.2.1 table 100; ip route del 10.9.2.0/24 dev eth1
        ip -6 route add fd09:2::/64 dev eth1 table 100; ip -6 route del fd09:2::/64 dev eth1
        ip route add default via 10.9.1.9 table default
        ip rule add from 10.9.2.5 lookup 100; ip rule add to 192.0.2.0/24 fwmark 3/255 tos 0x10 lookup main
        ip -6 rule add from fd09:2::/64 iif lo lookup 100; ip rule add suppress_prefixlength 0 lookup main priority 9
    """,
}


@pytest.mark.parametrize("script", CASES.values(), ids=CASES)
def test_what_is_configured_is_what_the_guest_gets(
    tmp_path: Path,
    init: Path,
    spaces: list[Namespace],
    script: str,
) -> None:
    spaces.append(engine := namespace(tmp_path / "engine", init))
    spaces.append(guest := namespace(tmp_path / "guest", init))
    engine.run(script)
    found = describe(engine)
    assert found[1] == ""
    guest.run(found[2])
    assert describe(guest) == found
    for what in ("address", "route show table main", "-6 route show table main", "rule", "-6 rule", "neigh show nud permanent"):
        theirs, ours = (sorted(_configured(space.run(f"ip -oneline {what}"))) for space in (engine, guest))
        assert ours == theirs


def _configured(text: str) -> list[str]:
    """Its lines without what is neither configured nor the same twice: numbers, addresses of the link, who made a route and
    tried an address."""
    for word in (" proto kernel", " nodad", " tentative"):
        text = text.replace(word, "")
    return [re.sub(r"^\d+: (?=.* inet)", "", line) for line in text.splitlines() if "fe80::" not in line or "via" in line]


NOT_CARRIED = """
    ip link set eth0 up; ip addr add 10.9.1.5/24 dev eth0
    ip route add 192.0.2.0/24 via 10.9.1.1 initcwnd 20; ip route add 198.51.100.0/24 via 10.9.1.1 tos 0x10
    ip route add unreachable 203.0.113.0/24 table 100
    ip route add 203.0.112.0/24 table 100 nexthop via 10.9.1.1 nexthop via 10.9.1.2
    ip route add unreachable 203.0.113.0/24 table 101
    ip rule add lookup 100 priority 1; ip rule add not from 10.9.9.0/24 lookup 100 priority 2; ip rule add blackhole priority 3
    ip rule add iif peer0 lookup 100 priority 4; ip rule add lookup 256 priority 5; ip rule add uidrange 0-5 lookup 100 priority 6
    ip rule del priority 32767
"""


def test_what_is_not_carried_is_named(tmp_path: Path, init: Path, spaces: list[Namespace]) -> None:
    spaces.append(engine := namespace(tmp_path / "engine", init))
    engine.run(NOT_CARRIED)
    _, not_carried, script = describe(engine)
    assert sorted(not_carried.splitlines()) == [
        "initcwnd of the route to 192.0.2.0/24",
        "that there is no rule priority 32767 lookup 253",
        "the route to 203.0.112.0/24 in table 100",
        "the route to 203.0.113.0/24 in table 100",
        "the rule priority 2 from 10.9.9.0/24 lookup 100 not",
        "the rule priority 3 action 6",
        "the rule priority 4 iif peer0 lookup 100",
        "the rule priority 5 lookup 256",
        "the rule priority 6 lookup 100 uid_end 5 uid_start 0",
        "tos of the route to 198.51.100.0/24",
    ]
    assert [line for line in script.splitlines() if " rule " in line] == ["ip -4 rule add priority 1 lookup 100"]


DOCKERS = """
    iptables -t nat -N DOCKER_OUTPUT; iptables -t nat -N DOCKER_POSTROUTING
    iptables -t nat -A OUTPUT -d 127.0.0.11/32 -j DOCKER_OUTPUT
    iptables -t nat -A POSTROUTING -d 127.0.0.11/32 -j DOCKER_POSTROUTING
    iptables -t nat -A DOCKER_OUTPUT -p tcp -j ACCEPT; iptables -t nat -A DOCKER_POSTROUTING -p udp -j ACCEPT
"""
FILTERS = {
    "nothing": (":", []),
    # Tables and chains without a rule, as `iptables -L` makes them, do nothing.
    "empty": ("{0} -L; {0} -N OWN", []),
    "rules": ("{0} -A OUTPUT -d 192.0.2.1 -j DROP; {0} -N OWN; {0} -A OWN -j DROP", ["table ip filter{1}: OUTPUT, OWN"]),
    "policy": ("{0} -P INPUT DROP", ["table ip filter{1}: INPUT"]),
    "IPv6": (
        "{0} -A INPUT -s 192.0.2.1 -j DROP; {2} -A INPUT -j DROP",
        ["table ip filter{1}: INPUT", "table ip6 filter{1}: INPUT"],
    ),
    "docker's names": (DOCKERS.replace("iptables", "{0}"), []),
    "docker's names and others": (DOCKERS.replace("iptables", "{0}") + "{0} -A INPUT -j DROP", ["table ip filter{1}: INPUT"]),
}
KINDS = {"nft": ("iptables-nft", "", "ip6tables-nft"), "legacy": ("iptables-legacy", " (of iptables-legacy)", "ip6tables-legacy")}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize(("script", "found"), FILTERS.values(), ids=FILTERS)
def test_packet_filters_are_named(
    tmp_path: Path, init: Path, spaces: list[Namespace], kind: str, script: str, found: list[str]
) -> None:
    words = KINDS[kind]
    if not shutil.which(words[0]):
        pytest.skip(f"{words[0]} is not installed")
    spaces.append(engine := namespace(tmp_path / "engine", init))
    engine.run(script.format(*words))
    assert describe(engine)[1].splitlines() == [f"packet filters, {line.format(*words)}" for line in found]


@pytest.mark.parametrize(
    ("words", "reason"),
    {
        "10.9.1 02:00:00:00:00:01 lo": "invalid argument",
        "10.9.1.1 02:00:00:00:00 lo": "invalid argument",
        "10.9.1.1 02:00:00:00:00:01:02 lo": "invalid argument",
        "10.9.1.1 02:00:00:00:00:101 lo": "invalid argument",
        "10.9.1.1 02:00:00:00:00:01 none": "no such device",
    }.items(),
)
def test_neighbours_that_cannot_be_added(init: Path, words: str, reason: str) -> None:
    done = subprocess.run(["add-neighbour", *words.split()], executable=init, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (1, f"add-neighbour {words}: {reason}\n")
