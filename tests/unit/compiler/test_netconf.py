"""NETCONF: its grammar, the CNI file it names, and the scripts that come of both."""

import json
import os
import re
import subprocess
import sys
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from compiler_cases import TextFacts
from runx.compiler.diagnostics import CompileError
from runx.compiler.frontends.netconf import parse_netconf
from runx.compiler.host.host_facts import HostFacts, HostFactsWithBridges
from runx.compiler.model.plan import Interface
from runx.compiler.passes import resolve
from runx.compiler.passes.memory import MAX_QUEUES, QUEUE_MIB
from runx.compiler.passes.resolve import mac_address
from runx.compiler.pipeline import Compilation, Inputs, compile
from runx.errors import RunxError

FILE = "/etc/cni/net.d/net.conf"
NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,30}", fullmatch=True)
PATHS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0\n,")).map(lambda text: f"/{text}")


def compiled(cni: dict[str, Any], *suffixes: str, resources: dict[str, Any] | None = None) -> Compilation:
    """A container with a NETCONF of FILE for each suffix (`net,10.0.0.2`)."""
    config = {
        "ociVersion": "1.2.0",
        "process": {"cwd": "/", "args": ["/x"], "env": [f"NETCONF={FILE},{suffix}" for suffix in suffixes]},
        "root": {"path": "rootfs"},
        "linux": {"namespaces": [{"type": "network"}], "resources": resources},
    }
    facts = TextFacts(json.dumps(config), files={FILE: json.dumps({"name": "net", "type": "bridge"} | cni)})
    return compile(Inputs("/bundle", container_id="box", state_root="/r", assets="/a", facts=facts))


def interface(cni: dict[str, Any], suffix: str = "net") -> Interface:
    return compiled(cni, suffix).plan.domain.interfaces[0]


@given(PATHS, NAMES, st.none() | st.ip_addresses(), st.none() | st.integers(0, 32))
def test_what_is_written_is_read(path: str, name: str, address: Any, prefix: int | None) -> None:
    text = f"{path},{name}"
    if address:
        text += f",{address}" + ("" if prefix is None else f"/{prefix}")
    assert parse_netconf(text) == (path, name, address, prefix if address else None)


@given(st.text())
def test_nothing_else_is_read(text: str) -> None:
    """Any text is either one that the form allows, or an error; never an exception of another kind."""
    try:
        file, name, address, _ = parse_netconf(text)
    except ValueError as error:
        assert not hasattr(error, "pos_in_stream")
        return
    tail = "" if address is None else re.escape(text.split(",")[2])
    assert text.startswith(f"{file},{name}") and text.endswith(tail)
    if address:
        assert ip_address(text.split(",")[2].split("/")[0]) == address


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x", 'expected the absolute path of a CNI file at character 1, not "x"'),
        ("/a,", "ends where the network's name should follow"),
        ("/a,b,10.0.0.7/255.255.0.0", 'expected the end at character 18, not "."'),
        ("/a,b,10.0.0.7/24/5", 'expected the end at character 17, not "/"'),
        ("/a,.b", 'expected the network\'s name at character 4, not "."'),
        ("/a,b,c", 'expected an IP address at character 6, not "c"'),
        ("/a,b,1.2.3.4/", "ends where a prefix length should follow"),
        ("/a,b,1.2.3.999", '"1.2.3.999" at character 6 is no IP address'),
        ("/a,b,::1/129", "the prefix length 129 at character 10 is more than 128"),
    ],
)
def test_an_error_says_what_was_expected_and_where(text: str, message: str) -> None:
    with pytest.raises(ValueError, match=re.escape(message)):
        parse_netconf(text)


@pytest.mark.parametrize(
    ("cni", "suffix", "address", "routes"),
    [
        ({}, "net", None, ()),
        ({"ipam": {"subnet": "10.0.0.0/8"}}, "net", None, ()),
        ({"ipam": {"subnet": "10.0.0.0/8"}}, "net,10.0.0.7", "10.0.0.7/8", ()),
        ({"ipam": {"subnet": "10.0.0.0/8"}}, "net,10.0.0.7/24", "10.0.0.7/24", ()),
        ({}, "net,10.0.0.7/24", "10.0.0.7/24", ()),
        # As in CNI, a route without any gateway is on the link.
        ({"ipam": {"routes": [{"dst": "10.9.0.0/16"}]}}, "net,10.0.0.7/24", "10.0.0.7/24", (("10.9.0.0/16", ""),)),
        # The first address is the gateway's when the bridge is one.
        ({"isGateway": True, "ipam": {"subnet": "10.2.0.0/16"}}, "net,10.2.0.7", "10.2.0.7/16", (("default", "10.2.0.1"),)),
        ({"ipam": {"subnet": "10.2.0.0/16", "gateway": "10.2.3.4"}}, "net,10.2.0.7", "10.2.0.7/16", (("default", "10.2.3.4"),)),
        # Routes are the whole truth, unless the gateway is to be the default all the same.
        (
            {"isGateway": True, "ipam": {"subnet": "10.2.0.0/16", "routes": [{"dst": "10.9.0.0/16"}, {"dst": "fd00::/8"}]}},
            "net,10.2.0.7", "10.2.0.7/16", (("10.9.0.0/16", "10.2.0.1"),),
        ),
        (
            {"isDefaultGateway": True, "ipam": {"subnet": "10.2.0.0/16", "routes": [{"dst": "10.9.0.0/16", "gw": "10.2.0.2"}]}},
            "net,10.2.0.7", "10.2.0.7/16", (("10.9.0.0/16", "10.2.0.2"), ("default", "10.2.0.1")),
        ),
        ({"ipam": {"subnet": "fd00::/64", "routes": [{"dst": "::/0"}]}}, "net,fd00::7", "fd00::7/64", (("default", "fd00::1"),)),
        (
            {"ipam": {"type": "static", "addresses": [{"address": "10.5.0.2/24", "gateway": "10.5.0.1"}]}},
            "net", "10.5.0.2/24", (("default", "10.5.0.1"),),
        ),
    ],
)  # fmt: skip
def test_addresses_and_routes(cni: dict[str, Any], suffix: str, address: str | None, routes: tuple[tuple[str, str], ...]) -> None:
    found = interface(cni, suffix)
    assert (found.address, found.routes) == (address, routes)


@pytest.mark.parametrize(
    ("cni", "faults"),
    [
        ({"plugins": [None]}, ["plugins[0]: must not be null"]),
        ({"name": None}, ["name: missing"]),
    ],
)
def test_one_fault_has_one_message(cni: dict[str, Any], faults: list[str]) -> None:
    with pytest.raises(CompileError) as caught:
        compiled(cni, "net")
    assert [fault.message.split(": ", 2)[2] for fault in caught.value.diagnostics] == faults


def test_an_empty_domain_is_none() -> None:
    """Go writes one that is absent so."""
    assert interface({"dns": {"domain": "", "nameservers": ["10.0.0.1"]}}).search == ()


def test_names() -> None:
    found = interface({"dns": {"nameservers": ["10.0.0.1"], "domain": "a.b", "search": ["c", "d"], "options": ["ndots:1"]}})
    assert (found.nameservers, found.search, found.dns_options) == (("10.0.0.1",), ("c", "d"), ("ndots:1",))
    assert interface({"dns": {"domain": "a.b"}}).search == ("a.b",)
    with pytest.raises(CompileError, match=r'net\.conf:1:59: dns\.nameservers\[0\]: "10\.0\.0" is no IP address'):
        interface({"dns": {"nameservers": ["10.0.0"]}})


def test_mac_addresses_stay_and_differ() -> None:
    plan = compiled({}, "net", "net").plan
    macs = [interface.mac for interface in plan.domain.interfaces]
    assert macs == [interface.mac for interface in compiled({}, "net", "net").plan.domain.interfaces]
    macs += [mac_address("box", "/other", 0), mac_address("other", "/r", 0)]
    assert len(set(macs)) == len(macs)
    assert all(re.fullmatch(r"00:16:3e(:[0-9a-f]{2}){3}", mac) for mac in macs)


def test_no_two_interfaces_of_a_host_have_one_mac_address(monkeypatch: pytest.MonkeyPatch) -> None:
    first, second = (interface.mac for interface in compiled({}, "net", "net").plan.domain.interfaces)
    monkeypatch.setattr(TextFacts, "mac_owners", {first: "/r/other", second: "/r/box"})
    others = [interface.mac for interface in compiled({}, "net", "net").plan.domain.interfaces]
    assert others == [mac_address("box", "/r", 0, 1), second], "the second one is its own, from an earlier look"
    assert first not in others
    monkeypatch.setattr(resolve, "mac_address", lambda *words: f"00:16:3e:00:00:{words[-1] // 2:02x}")
    assert [interface.mac[-2:] for interface in compiled({}, "net", "net", "net").plan.domain.interfaces] == ["00", "01", "02"]


def test_the_environment_stays_exact() -> None:
    assert compiled({}, "net").plan.process.env == (f"NETCONF={FILE},net",)


def test_an_interface_takes_nothing_of_the_containers_memory() -> None:
    def memory_mib(*suffixes: str, cpus: int = 1) -> int:
        resources = {"memory": {"limit": 256 << 20}, "cpu": {"quota": cpus * 100000}}
        return compiled({}, *suffixes, resources=resources).plan.domain.memory_mib

    # Without NETCONF an engine may bring one.
    assert memory_mib("net") == memory_mib()
    assert memory_mib("net", "net") == memory_mib("net") + QUEUE_MIB
    assert memory_mib("net", "net", cpus=4) == memory_mib(cpus=4) + 4 * QUEUE_MIB
    assert memory_mib("net", "net", cpus=40) == memory_mib(cpus=40) + MAX_QUEUES * QUEUE_MIB


def test_a_missing_bridge_is_an_error_but_for_a_plan() -> None:
    assert HostFacts().kind("/sys/class/net/lo/bridge") == "missing"
    facts = HostFactsWithBridges()
    assert facts.kind("/sys/class/net/lo/bridge") == "directory"
    assert facts.kind("/sys/class/net/lo") == "directory"
    assert facts.kind("/sys/class/net/lo/other") == "missing"
    assert facts.missing == ["lo"]


def test_a_plan_is_shown_without_its_bridge(tmp_path: Path) -> None:
    """But with a warning; and its table of networks says what each interface is."""
    (tmp_path / "rootfs").mkdir()
    cni = {"name": "net", "type": "bridge", "bridge": "no-such-br", "isGateway": True, "ipam": {"subnet": "10.0.0.0/8"}}
    (tmp_path / "net.conf").write_text(json.dumps(cni | {"dns": {"nameservers": ["10.0.0.53"]}}))
    config = {"ociVersion": "1.2.0", "root": {"path": "rootfs"}, "linux": {"namespaces": [{"type": "network"}]}}
    config["process"] = {"cwd": "/", "args": ["/x"], "env": [f"NETCONF={tmp_path}/net.conf,net,10.0.0.7"]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "runx.toml").write_text(f"[policy]\nnetworks = ['{tmp_path}']\n")
    argv = [sys.executable, "-m", "runx", "plan", "--config", tmp_path / "runx.toml", tmp_path]
    done = subprocess.run(argv, cwd=SCRIPTS.parents[1], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr == "runx: warning: this host has no bridge no-such-br, without which `runx create` would fail\n"
    shown = dict(line.split(maxsplit=1) for line in done.stdout.split("Network eth0\n")[1].split("\n\n")[0].splitlines())
    assert shown | {"MAC": ""} == {
        "network": "net, from process.env[0]", "bridge": "no-such-br", "MAC": "", "address": "10.0.0.7/8",
        "sends": "with its MAC address alone",
        "route": "default via 10.0.0.1", "nameservers": "10.0.0.53",
    }  # fmt: skip
    facts = HostFacts(host_config=f"{tmp_path}/runx.toml")
    with pytest.raises(CompileError, match="the host has no bridge no-such-br"):
        compile(Inputs(str(tmp_path), container_id="box", state_root="/r", assets="/a", facts=facts))


def test_an_image_brings_no_network(tmp_path: Path) -> None:
    """Its ENV could name a file that it holds; the way through /proc does not help it either."""
    root = tmp_path / "rootfs"
    root.mkdir()
    (root / "net.conf").write_text("{}")
    (tmp_path / "net.conf").write_text("{}")
    facts, listed = HostFacts(), (str(tmp_path),)
    assert facts.netconf(f"{tmp_path}/net.conf", str(root), listed) == b"{}"
    here = os.open(tmp_path, os.O_RDONLY)
    try:
        for path in (f"{root}/net.conf", f"/proc/self/fd/{here}/rootfs/net.conf", f"{root}/../rootfs/net.conf"):
            with pytest.raises(RunxError, match="inside the container's root filesystem"):
                facts.netconf(path, str(root), listed)
    finally:
        os.close(here)
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(RunxError, match="not a file"):
        facts.netconf(f"{tmp_path}/fifo", str(root), listed)


def test_a_network_is_in_a_directory_of_the_list(tmp_path: Path) -> None:
    """After symbolic links: neither a link into the list nor one out of it changes whose file it is."""
    listed, elsewhere = tmp_path / "listed", tmp_path / "elsewhere"
    for directory in (listed, elsewhere, tmp_path / "listed-too", listed / "below"):
        directory.mkdir()
        (directory / "net.conf").write_text("{}")
    (tmp_path / "alias").symlink_to("listed")
    (listed / "out.conf").symlink_to(elsewhere / "net.conf")
    (elsewhere / "in.conf").symlink_to(listed / "net.conf")
    facts, root = HostFacts(), f"{tmp_path}/root"

    for path in ("listed/net.conf", "listed/below/net.conf", "alias/net.conf", "elsewhere/in.conf"):
        for directory in (listed, tmp_path / "alias"):
            assert facts.netconf(f"{tmp_path}/{path}", root, (f"{tmp_path}/none", str(directory))) == b"{}"
    for path in ("elsewhere/net.conf", "listed/out.conf", "listed-too/net.conf", "listed/../elsewhere/net.conf", "none"):
        with pytest.raises(RunxError, match=r"is in no directory of policy\.networks") as caught:
            facts.netconf(f"{tmp_path}/{path}", root, (str(listed),))
        assert caught.value.fault_id == "RX704"
        assert caught.value.message.startswith(f"{tmp_path}/{path} is in"), "it does not tell where a link leads"
        assert "networks in [policy] of /etc/runx/runx.toml" in caught.value.hint
    with pytest.raises(RunxError, match=r"policy\.networks \(none\)"):
        facts.netconf(f"{listed}/net.conf", root, ())
    with pytest.raises(RunxError, match="net9: no such file"):
        facts.netconf(f"{listed}/net9", root, (str(listed),))


@pytest.mark.parametrize("path", ["listed", "listed/net.conf"])
def test_others_write_no_network(tmp_path: Path, path: str) -> None:
    """A kubelet's ConfigMap belongs to root too, but stands in no list; a directory for all users must not stand in one."""
    (tmp_path / "listed").mkdir()
    (tmp_path / "listed/net.conf").write_text("{}")
    (tmp_path / path).chmod(0o1777)
    with pytest.raises(RunxError, match=f"net.conf is no network of the host: {tmp_path}/{path} can be written") as caught:
        HostFacts().netconf(f"{tmp_path}/listed/net.conf", f"{tmp_path}/root", (f"{tmp_path}/listed",))
    assert caught.value.fault_id == "RX705"


def test_the_list_of_a_broken_file_is_not_taken_for_empty() -> None:
    """The faults of a bundle are told beside those of a runx.toml, but no fault that the file may mend."""

    class Facts(TextFacts):
        def host_config(self) -> tuple[str, bytes]:
            return "runx.toml", b"[policy]\nnetworks = ['/nets']\nbroken = 1\n"

    config = {"ociVersion": "1.2.0", "root": {"path": "r"}, "linux": {"namespaces": [{"type": "network"}]}}
    config["process"] = {"cwd": "", "args": ["/x"], "env": ["NETCONF=/nets/a,net"]}
    with pytest.raises(CompileError) as caught:
        compile(Inputs("/b", container_id="box", state_root="/r", assets="/a", facts=Facts(json.dumps(config))))
    assert "policy.broken" in caught.value.message and "process.cwd" in caught.value.message
    assert "policy.networks" not in caught.value.message


def test_the_text_of_a_file_is_not_told() -> None:
    """Who sets the variable may not be allowed to read it."""
    config = {"ociVersion": "1.2.0", "root": {"path": "r"}, "linux": {"namespaces": [{"type": "network"}]}}
    config["process"] = {"cwd": "/", "args": ["/x"], "env": [f"NETCONF={FILE},net"]}
    facts = TextFacts(json.dumps(config), files={FILE: "root:$secret$:1:\nuser:x"})
    with pytest.raises(CompileError, match=rf"{FILE}:1:1: not JSON") as caught:
        compile(Inputs("/bundle", container_id="box", state_root="/r", assets="/a", facts=facts))
    assert "secret" not in caught.value.message


SCRIPTS = Path(__file__).parents[3] / "guest-assets" / "network"

IP_STUB = """\
#!/bin/sh
case "$*" in
"-4 addr show"*) cat "$HELD" ;;
*) echo "$*" >> "$CALLS" ;;
esac
"""


def lease(directory: Path, event: str, held: str = "", **variables: str) -> list[str]:
    """Run udhcpc's script with a stub for ip; what it called, and collect-dns."""
    (directory / "bin").mkdir(exist_ok=True)
    (directory / "run").mkdir(exist_ok=True)
    for name, text in (("ip", IP_STUB), ("collect-dns", '#!/bin/sh\necho collect-dns >> "$CALLS"\n')):
        (directory / "bin" / name).write_text(text)
        (directory / "bin" / name).chmod(0o755)
    (directory / "held").write_text(held)
    (directory / "calls").write_text("")
    script = (SCRIPTS / "udhcpc.script").read_text().replace("/run/network/", f"{directory}/run/")
    environment = {"PATH": f"{directory}/bin:/bin", "CALLS": f"{directory}/calls", "HELD": f"{directory}/held", "METRIC": "0"}
    environment |= {"interface": "eth0", "ip": "10.0.0.9", "mask": "24"} | variables
    subprocess.run(["/bin/sh", "-s", event], input=script.encode(), env=environment, check=True)
    return (directory / "calls").read_text().splitlines()


def take_lease(directory: Path, client: str) -> "subprocess.CompletedProcess[str]":
    """Run take-lease with this script for udhcpc."""
    (directory / "bin").mkdir()
    (directory / "bin/udhcpc").write_text(f"#!/bin/sh\n{client}\n")
    (directory / "bin/udhcpc").chmod(0o755)
    script = (SCRIPTS / "take-lease").read_text().replace("/run/network/", f"{directory}/")
    environment = {"PATH": f"{directory}/bin:/bin"}
    return subprocess.run(["/bin/sh", "-s", "eth0"], input=script, env=environment, capture_output=True, text=True)


STEPS = "for step in 'started, v1.37.0' 'broadcasting discover' 'broadcasting discover'; do echo \"udhcpc: $step\" >&2; done; "


def test_the_log_has_the_lease_and_no_steps(tmp_path: Path) -> None:
    lease = "udhcpc: lease of 10.0.0.9 obtained from 10.0.0.1, lease time 3600"
    done = take_lease(tmp_path, f"[ \"$*\" = '-i eth0 -n -t 10 -T 2' ] && {STEPS} echo 'ip: no such route'; echo '{lease}' >&2")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", f"ip: no such route\n{lease}\n")


def test_the_log_says_why_there_is_no_lease(tmp_path: Path) -> None:
    done = take_lease(tmp_path, f"{STEPS} echo 'udhcpc: no lease, failing' >&2; exit 1")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == "udhcpc: started, v1.37.0\nudhcpc: no lease, failing\n"


def test_a_lease_is_taken(tmp_path: Path) -> None:
    calls = lease(tmp_path, "bound", router="10.0.0.1 10.0.0.2", dns="10.0.0.1 10.0.0.3", domain="example.org")
    assert calls == [
        "-4 addr flush dev eth0",
        "-4 addr add 10.0.0.9/24 broadcast + dev eth0",
        "-4 route replace default via 10.0.0.1 dev eth0 metric 0",
        "collect-dns",
    ]
    expected = "search example.org\nnameserver 10.0.0.1\nnameserver 10.0.0.3\n"
    assert (tmp_path / "run/eth0.dns").read_text() == expected


def test_a_renewed_lease_disturbs_nothing(tmp_path: Path) -> None:
    assert lease(tmp_path, "renew", held="    inet 10.0.0.9/24 brd 10.0.0.255 scope global eth0\n", DNS="no", dns="1.1.1.1") == []
    assert not (tmp_path / "run/eth0.dns").exists()


def test_classless_routes_take_the_routers_place(tmp_path: Path) -> None:
    routes = "10.8.0.0/16 10.0.0.5 10.9.0.0/16 0.0.0.0"
    assert lease(tmp_path, "bound", router="10.0.0.1", staticroutes=routes)[2:] == [
        "-4 route replace 10.8.0.0/16 via 10.0.0.5 dev eth0 metric 0",
        "-4 route replace 10.9.0.0/16 dev eth0 metric 0",
    ]


def test_a_lost_lease_goes(tmp_path: Path) -> None:
    assert lease(tmp_path, "deconfig") == ["-4 addr flush dev eth0", "link set eth0 up"]


@pytest.mark.skipif(os.geteuid() != 0, reason="a network namespace needs root")
def test_addresses_of_an_interface() -> None:
    """Of the kernel: all of them, and of no other interface."""
    code = f"""
import sys
sys.path[:0] = {sys.path!r}
from runx.compiler.host.addresses import addresses
print(sorted(addresses("br0")), sorted(addresses("x")))
"""
    script = """
        ip link add br0 type bridge && ip link add other type bridge && ip addr add 10.7.0.1/24 dev other
        for address in 10.1.0.1/24 10.1.0.2/24 fd00::1/64; do ip addr add $address dev br0; done
        exec "$@"
    """
    argv = ["unshare", "--net", "sh", "-euc", script, "sh", sys.executable, "-c", code]
    said = subprocess.run(argv, capture_output=True, text=True, check=True).stdout
    assert said == "['10.1.0.1', '10.1.0.2', 'fd00::1'] []\n"


class Asked(TextFacts):
    """Keeps which addresses it was asked for."""

    def __init__(self, text: str, files: dict[str, str]) -> None:
        super().__init__(text, files=files)
        self.addresses: list[tuple[str, str]] = []

    def has_address(self, interface: str, address: str) -> bool:
        self.addresses.append((interface, address))
        return True


TWO_SUBNETS = {"ranges": [[{"subnet": "10.1.0.0/24"}], [{"subnet": "fd00::/64"}]]}


@pytest.mark.parametrize(
    ("suffix", "cni", "wanted"),
    [
        ("net,10.1.0.7", {"isGateway": True, "ipam": {"subnet": "10.1.0.0/24"}}, ["10.1.0.1"]),
        ("net", {"isDefaultGateway": True, "ipam": TWO_SUBNETS}, ["10.1.0.1", "fd00::1"]),
        ("net,10.1.0.7", {"ipam": {"subnet": "10.1.0.0/24"}}, []),
        ("net", {"isGateway": True}, []),
    ],
)
def test_a_bridge_that_is_the_gateway_has_its_address(suffix: str, cni: dict[str, Any], wanted: list[str]) -> None:
    """With DHCP the gateways of all subnets."""
    config = {
        "ociVersion": "1.2.0",
        "process": {"cwd": "/", "args": ["/x"], "env": [f"NETCONF={FILE},{suffix}"]},
        "root": {"path": "rootfs"},
        "linux": {"namespaces": [{"type": "network"}]},
    }
    facts = Asked(json.dumps(config), {FILE: json.dumps({"name": "net", "type": "bridge"} | cni)})
    compile(Inputs("/bundle", container_id="box", state_root="/r", assets="/a", facts=facts))
    assert facts.addresses == [("cni0", address) for address in wanted]


def test_a_file_of_cni_1_1() -> None:
    """Its new words about plugins and their verbs change nothing; properties of routes are listed."""
    route = {"dst": "10.9.0.0/16", "mtu": 1400, "advmss": 1360, "priority": 100, "table": 100, "scope": 0}
    bridge = {"type": "bridge", "bridge": "mynet0", "mtu": 1450, "ipam": {"subnet": "10.2.0.0/16", "routes": [route]}}
    words = {"cniVersion": "1.1.0", "cniVersions": ["1.0.0", "1.1.0"], "disableGC": True, "loadOnlyInlinedPlugins": True}
    result = compiled({**words, "disableCheck": "true", "plugins": [bridge]}, "net,10.2.0.7")
    made = result.plan.machine.interfaces[0]
    assert (made.mtu, made.routes) == (1450, (("10.9.0.0/16", "10.2.0.1"),))
    listed = {entry.path.rpartition(".")[2]: entry.reason for entry in result.plan.ignored if entry.id == "RX514"}
    assert sorted(listed) == ["advmss", "mtu", "priority", "table"]
    assert listed["table"] == "the route is made in the main table"
    bridge["ipam"]["routes"] = [{"dst": "10.9.0.0/16", "table": 254}]
    of_main = compiled({**words, "plugins": [bridge]}, "net,10.2.0.7").plan
    assert not [entry for entry in of_main.ignored if entry.id == "RX514"], "254 is the main table"
    unknown = [entry.path.rpartition(".")[2] for entry in result.plan.ignored if entry.id == "RX015"]
    assert unknown == ["type"], "this test's own, beside the plugins"
