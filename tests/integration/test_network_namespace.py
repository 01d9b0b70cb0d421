"""Interfaces that an engine has put into a network namespace become the guest's."""

import json
import subprocess
import uuid
from pathlib import Path

import pytest

from runxtools.double.host import Double
from runxtools.testing.bundles import LIMIT_S, Bundle
from runxtools.testing.containers import REACH, until
from spaces import FIRST, Space, join, links


def test_two_interfaces_with_all_that_is_configured(double: Double, bundle: Bundle, space: Space) -> None:
    space.add("eth0", 1, mtu=1400)
    space.add("net1", 2)
    space.sh("""
        ip -n engine route add default via 10.9.1.1
        ip -n engine route add 192.0.2.0/24 via 10.9.2.1 dev net1 metric 7
        ip -n engine route add 169.254.1.1 dev net1; ip -n engine route add 198.51.100.0/24 via 169.254.1.1 dev net1
        ip -n engine -6 route add default via fd09:1::1
    """)
    before, links_before = space.state(), links(double)
    join(bundle, space.path)
    script = f"""
        {REACH}
        for address in 10.9.1.1 fd09:1::1 10.9.2.1 fd09:2::1; do
            reach $address && echo reached $address
        done
        ip -o addr; ip route; ip -6 route; cat /sys/class/net/eth0/mtu /sys/class/net/net1/mtu
        echo ready; read -r line
    """
    bundle.write("/bin/sh", "-c", script)
    pipe = subprocess.PIPE
    process = bundle.host.popen(bundle.argv("run", "c"), stdin=pipe, stdout=pipe, stderr=pipe)
    assert process.stdout is not None
    seen = b""
    while not seen.endswith(b"ready\n"):
        data = process.stdout.read(4096)
        assert data, (seen, process.communicate())
        seen += data
    text = seen.decode()
    for address in ("10.9.1.1", "fd09:1::1", "10.9.2.1", "fd09:2::1"):
        assert f"reached {address}\n" in text
    for line in (
        "eth0    inet 10.9.1.5/24",
        "eth0    inet6 fd09:1::5/64",
        "net1    inet 10.9.2.5/24",
        "default via 10.9.1.1 dev eth0",
        "192.0.2.0/24 via 10.9.2.1 dev net1  metric 7",
        "198.51.100.0/24 via 169.254.1.1 dev net1",
        "default via fd09:1::1 dev eth0",
        "\n1400\n1500\n",
    ):
        assert line in text
    for address in ("10.9.1.5", "fd09:1::5", "10.9.2.5"):
        double.run(["sh", "-c", f'{REACH} reach "$1"', "sh", address], check=True)
    assert process.communicate(b"end\n", timeout=LIMIT_S)[1] == b""
    assert process.returncode == 0
    bundle.runx("delete", "--force", "c", check=True)
    assert space.state() == before
    assert links(double) == links_before


def warnings(bundle: Bundle) -> list[str]:
    """What the log warns of in the container's network namespace."""
    log = bundle.directory / "log"
    lines = [json.loads(line) for line in log.read_text().splitlines()] if log.exists() else []
    start = "the virtual machine does not get what is in the container's network namespace: "
    return sorted(
        line["msg"].removeprefix(start) for line in lines if line["level"] == "warning" and line["msg"].startswith(start)
    )


GATEWAYS_OF_THE_LINK = {
    # As Calico has it: the host's end answers for every address.
    "proxy ARP": """
        cd /proc/sys/net/ipv4/conf/host6; echo 1 > forwarding; echo 1 > proxy_arp
        ip link set br6 up; ip route add 169.254.0.0/16 dev br6
    """,
    # As Amazon's plugin has it: nobody answers.
    "permanent neighbours": """
        ip link set host6 arp off
        ip neigh add 10.9.6.5 lladdr $(cat /sys/class/net/host6/address | sed s/^../02/) dev host6 nud permanent
        ip -n engine neigh add 169.254.1.1 lladdr $(cat /sys/class/net/host6/address) dev eth0 nud permanent
        ip -n engine neigh add fe80::1 lladdr $(cat /sys/class/net/host6/address) dev eth0 nud permanent
    """,
}


@pytest.mark.parametrize("setup", GATEWAYS_OF_THE_LINK.values(), ids=GATEWAYS_OF_THE_LINK)
def test_a_gateway_outside_of_all_networks(bundle: Bundle, space: Space, setup: str) -> None:
    space.sh("""
        ip link add br6 type bridge
        ip link add host6 type veth peer name eth0 netns engine
        ip link set host6 up
        ip -n engine link set eth0 address $(cat /sys/class/net/host6/address | sed s/^../02/)
        ip addr add 192.0.2.9/32 dev br6
        ip route add 10.9.6.5 dev host6
        ip -n engine addr add 10.9.6.5/32 dev eth0
        ip -n engine addr add fd09:6::5/128 dev eth0 nodad
        ip -n engine link set eth0 up
        ip -n engine route add 169.254.1.1 dev eth0 scope link
        ip -n engine route add default via 169.254.1.1 dev eth0
        ip -n engine -6 route add default via fe80::1 dev eth0
    """)
    space.bridges.append("br6")
    space.sh(setup)
    join(bundle, space.path)
    result = bundle.sh(REACH + "reach 192.0.2.9 && ip route && ip -6 route && ip neigh show nud permanent")
    lines = sorted(line.strip() for line in result.stdout.decode().splitlines())
    assert "169.254.1.1 dev eth0 scope link" in lines, result.stderr
    assert "default via 169.254.1.1 dev eth0" in lines
    assert [line for line in lines if line.startswith("default via fe80::1 dev eth0 ")]
    theirs = sorted(line.split()[:5] for line in space.sh("ip -n engine neigh show nud permanent").splitlines())
    assert [line.split()[:5] for line in lines if "PERMANENT" in line] == theirs
    assert warnings(bundle) == []
    bundle.runx("delete", "--force", "c", check=True)
    space.sh("ip -n engine link delete eth0")


def test_rules_that_choose_among_tables(bundle: Bundle, space: Space) -> None:
    """As the plugin sbr does it for a pod with two networks: replies leave by the interface of their address."""
    space.add("eth0", 1)
    space.add("net1", 2)
    space.sh("""
        ip -n engine route add default via 10.9.1.1
        ip -n engine route add 10.9.2.0/24 dev net1 proto kernel scope link src 10.9.2.5 table 100
        ip -n engine route del 10.9.2.0/24 dev net1
        ip -n engine route add default via 10.9.2.1 dev net1 mtu 1300 table 100
        ip -n engine rule add from 10.9.2.5 lookup 100
        ip -n engine rule add fwmark 0x10/0xff to 198.51.100.0/24 iif lo lookup 255 suppress_prefixlength 0 priority 77
        ip -n engine -6 route add default via fd09:2::1 dev net1 table 100
        ip -n engine -6 rule add from fd09:2::5 lookup 100
        ip -n engine rule add from 10.9.2.5 oif net1 lookup 100 priority 78
        ip -n engine rule add from 10.9.2.5 lookup 5000 priority 79
        ip -n engine route add unreachable 203.0.113.0/24 table 100
        ip -n engine route add unreachable 203.0.113.0/24 table 101
        ip -n engine route add 198.51.100.0/24 via 10.9.1.1 initcwnd 20
    """)
    before = space.sh("ip -n engine rule; ip -n engine -6 rule")
    join(bundle, space.path)
    result = bundle.sh("""
        for from in 10.9.1.5 10.9.2.5; do ip route get 192.0.2.9 from $from; done
        ip -6 route get 2001:db8::1 from fd09:2::5
        ip route show table 100; ip route | grep -c 10.9.2.0; ip rule; ip -6 rule
    """)
    text = result.stdout.decode()
    for words in (
        "192.0.2.9 from 10.9.1.5 via 10.9.1.1 dev eth0",
        "192.0.2.9 from 10.9.2.5 via 10.9.2.1 dev net1",
        "via fd09:2::1 dev net1",
        "\n10.9.2.0/24 dev net1",
        "\ndefault via 10.9.2.1 dev net1",
        "\n0\n",
    ):
        assert words in text, (text, result.stderr)
    rules = sorted(" ".join(line.split()) for line in before.splitlines())
    unknown = [rule for rule in rules if "oif" in rule or "5000" in rule]
    assert sorted(" ".join(line.split()) for line in text[text.index("\n0:") :].splitlines() if line) == [
        rule for rule in rules if rule not in unknown
    ]
    assert warnings(bundle) == [
        "initcwnd of the route to 198.51.100.0/24",
        "the route to 203.0.113.0/24 in table 100",
        "the rule priority 78 from 10.9.2.5 lookup 100 oif net1",
        "the rule priority 79 from 10.9.2.5 lookup 5000",
    ]
    bundle.runx("delete", "--force", "c", check=True)
    assert space.sh("ip -n engine rule; ip -n engine -6 rule") == before


def test_filled_between_create_and_start(double: Double, bundle: Bundle) -> None:
    """As ctr and newer dockers do it: by the pid, in a namespace that is the supervisor's own."""
    bundle.write("/bin/sh", "-c", REACH + "reach 10.9.3.1 && ip -o addr show eth0")
    out = bundle.directory / "out"
    pid_file = bundle.directory / "pid"
    create = bundle.argv("create", "--pid-file", str(pid_file), "c")
    # Its streams are files: a pipe would not end before the container does.
    double.run(["sh", "-c", f'exec "$@" < /dev/null > {out} 2>&1', "sh", *create], check=True, timeout=LIMIT_S)
    pid = pid_file.read_text()
    script = (
        FIRST.format("br3", 3)
        + f"""
        ip link add v3 type veth peer name eth0 netns {pid}; ip link set v3 master br3 up
        nsenter --net=/proc/{pid}/ns/net ip addr add 10.9.3.5/24 dev eth0
        nsenter --net=/proc/{pid}/ns/net ip link set eth0 up
    """
    )
    double.run(["sh", "-euc", script], check=True)
    bundle.runx("start", "c", check=True)
    double.run(["tail", f"--pid={pid}", "-f", "/dev/null"], check=True, timeout=LIMIT_S)
    assert "inet 10.9.3.5/24" in out.read_text()
    bundle.runx("delete", "c", check=True)
    double.run(["ip", "link", "delete", "br3"], check=True)
    until(lambda: "v3" not in links(double))


def test_netconf_goes_before_the_engines_interfaces(double: Double, bundle: Bundle, space: Space, tmp_path: Path) -> None:
    space.add("eth0", 1)
    space.sh(FIRST.format("br4", 4))
    network = {"cniVersion": "0.2.0", "name": "n", "type": "bridge", "bridge": "br4", "ipam": {"subnet": "10.9.4.0/24"}}
    file = f"/etc/runx/networks/{uuid.uuid4().hex}.conf"
    script = 'mkdir -p "$(dirname "$1")"; cat > "$1"'
    double.run(["sh", "-euc", script, "sh", file], stdin=json.dumps(network).encode(), check=True)
    bundle.config["process"]["env"].append(f"NETCONF={file},n,10.9.4.7")
    join(bundle, space.path)
    result = bundle.sh(REACH + "reach 10.9.4.1 && ip -o addr")
    double.run(["rm", file], check=True)
    double.run(["rmdir", "-p", "--ignore-fail-on-non-empty", "/etc/runx/networks"])
    assert "inet 10.9.4.7/24" in result.stdout.decode(), result.stderr
    assert "10.9.1.5" not in result.stdout.decode()
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert ["warning"] == [line["level"] for line in lines if "eth0: its networks are those of NETCONF" in line["msg"]]
    double.run(["ip", "link", "delete", "br4"], check=True)


def test_filled_by_a_hook(double: Double, bundle: Bundle, tmp_path: Path) -> None:
    """As docker (prestart, libnetwork-setkey) and nerdctl (createRuntime) do it: by the pid of the state on standard input."""
    script = tmp_path / "hook"
    script.write_text(
        """#!/bin/sh
        set -eu
        PATH=/usr/sbin:/usr/bin:/sbin:/bin
        state=$(cat); pid=${state#*'"pid": '}; pid=${pid%%,*}
        mkdir -p /run/hooks-netns; touch /run/hooks-netns/key; mount --bind /proc/$pid/ns/net /run/hooks-netns/key
        ip link add v5 type veth peer name tmp5 && ip link set v5 master br5 up
        ip link set tmp5 netns /run/hooks-netns/key name eth0
        there() { nsenter --net=/run/hooks-netns/key "$@"; }
        there ip link set eth0 address 02:42:0a:09:05:05 mtu 1450
        there ip addr add 10.9.5.5/24 broadcast 10.9.5.255 dev eth0
        there sh -c 'echo 1 > /proc/sys/net/ipv6/conf/eth0/disable_ipv6'
        there ip link set eth0 up
        there ip route add default via 10.9.5.1
        """
    )
    script.chmod(0o755)
    double.run(["sh", "-euc", FIRST.format("br5", 5)], check=True)
    bundle.config["hooks"] = {"prestart": [{"path": str(script)}]}
    result = bundle.sh(REACH + "reach 10.9.5.1 && ip addr show eth0; ip route")
    text = result.stdout.decode()
    assert "link/ether 02:42:0a:09:05:05 " in text, result.stderr
    assert "mtu 1450 " in text
    assert "inet 10.9.5.5/24 brd 10.9.5.255 " in text
    assert "inet6" not in text
    assert "default via 10.9.5.1 dev eth0" in text
    # The engine holds the namespace, and finds it as it made it.
    left = double.run(
        ["nsenter", "--net=/run/hooks-netns/key", "sh", "-c", "ip -o -4 addr show eth0; tc qdisc"], check=True
    ).stdout
    assert b"inet 10.9.5.5/24" in left
    assert b"ingress" not in left
    double.run(["sh", "-euc", "umount /run/hooks-netns/key; ip link delete br5"], check=True)
    bundle.runx("delete", "--force", "c")


def test_devices_of_the_host(double: Double, bundle: Bundle, space: Space) -> None:
    """linux.netDevices: they move with their addresses, under another name, and are never moved back; unless `create` fails."""
    space.sh(f"""
        {FIRST.format("br3", 3)}
        for n in 1 2; do ip link add peer$n type veth peer name host$n mtu 1440; ip link set peer$n master br3 up; done
        ip addr add 10.9.3.5/24 brd + dev host1; ip addr add fd09:3::5/64 dev host1 nodad
    """)
    space.bridges.append("br3")
    join(bundle, space.path)
    bundle.config["linux"]["netDevices"] = {"host1": {"name": "net7"}, "host2": {"name": "x%d"}, "none": {}}
    bundle.write(
        "/bin/sh", "-c", f"{REACH} reach 10.9.3.1 && reach fd09:3::1 && echo reached; ip -o addr; cat /sys/class/net/net7/mtu"
    )
    refused = bundle.host.run(bundle.argv("run", "c"))
    assert refused.returncode == 1 and b"linux.netDevices.none: the host has no network device none" in refused.stderr, refused
    del bundle.config["linux"]["netDevices"]["none"]

    space.sh("ip -n engine link add x0 type veth peer name taken")
    bundle.config["linux"]["netDevices"]["host2"] = {"name": "taken"}
    bundle.write("/bin/sh", "-c", "true")
    before = space.sh("ip -o -br addr; ip -o -br link")
    failed = bundle.host.run(bundle.argv("run", "c"))
    assert failed.returncode == 1 and b"namespace has a device taken already" in failed.stderr, failed
    back = space.sh("ip -o -br addr show dev host1; ip -o -br addr show dev host2; ip -n engine -o -br link")
    assert "10.9.3.5/24 fd09:3::5/64" in back and "host2" in back and "net7" not in back, (before, back)
    space.sh("ip -n engine link del x0")

    bundle.config["linux"]["netDevices"]["host2"] = {"name": "x%d"}
    bundle.write(
        "/bin/sh", "-c", f"{REACH} reach 10.9.3.1 && reach fd09:3::1 && echo reached; ip -o addr; cat /sys/class/net/net7/mtu"
    )
    result = bundle.host.run(bundle.argv("run", "c"), check=True, timeout=LIMIT_S)
    text = result.stdout.decode()
    assert text.startswith("reached\n") and text.endswith("\n1440\n"), result
    assert "net7    inet 10.9.3.5/24" in text and "net7    inet6 fd09:3::5/64" in text and "x0    inet6 fe80" in text, text
    left = space.sh("ip -n engine -o -br addr")
    assert "net7@" in left and "10.9.3.5/24" in left and "x0@" in left, left
    assert "host1" not in space.sh("ip -o -br link")
