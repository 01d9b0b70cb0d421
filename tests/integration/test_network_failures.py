"""An engine's interfaces that cannot be given to a guest, and starts that fail after some were: what was is as before."""

import json
import subprocess
from pathlib import Path

import pytest

from runxtools.double.host import Double
from runxtools.testing.bundles import LIMIT_S, Bundle
from runxtools.testing.containers import REACH, until
from spaces import FIRST, Space, join, links


def test_a_killed_supervisor_leaves_a_clean_namespace(double: Double, bundle: Bundle, space: Space) -> None:
    space.add("eth0", 1)
    before = space.state()
    join(bundle, space.path)
    process = bundle.popen("echo ready; read -r line")
    state = json.loads(bundle.runx("state", "c", check=True).stdout)
    assert "ingress" in space.state()
    double.run(["kill", "-9", str(state["pid"])], check=True)
    process.communicate(timeout=LIMIT_S)
    bundle.runx("delete", "--force", "c", check=True)
    assert space.state() == before
    assert not [name for name in links(double) if name.startswith("vif")]


def create(bundle: Bundle, script: str) -> Path:
    """Create a container of a shell script; the file of its output."""
    bundle.write("/bin/sh", "-c", script)
    out = bundle.directory / "out"
    with out.open("wb") as file:
        argv = bundle.argv("create", "c")
        process = bundle.host.popen(argv, stdin=subprocess.DEVNULL, stdout=file, stderr=file)
        assert process.wait(LIMIT_S) == 0, out.read_text()
    return out


@pytest.fixture
def pair(space: Space) -> Space:
    """A macvlan interface, which has to be made to receive more than it does, and a veth."""
    space.sh(f"{FIRST.format('br1', 1)}; ip link add link br1 name eth0 netns engine type macvlan mode bridge")
    space.bridges.append("br1")
    space.sh("ip -n engine addr add 10.9.1.5/24 dev eth0; ip -n engine link set eth0 up")
    space.add("net1", 2)
    return space


STARTS_FAIL = {
    "attach": ("network-attach-fails", "xl network-attach failed with exit status 3"),
    "unpause": ("unpause-fails", "xl unpause failed"),
}


@pytest.mark.parametrize(("fault", "words"), STARTS_FAIL.values(), ids=STARTS_FAIL)
def test_a_start_that_fails_can_be_tried_again(double: Double, bundle: Bundle, pair: Space, fault: str, words: str) -> None:
    before, links_before = pair.state(), links(double)
    mac = pair.sh('ip -n engine -j link show net1 | sed \'s/.*"address":"//; s/".*//\'').strip()
    join(bundle, pair.path)
    out = create(bundle, REACH + "reach 10.9.2.1 && ip -o addr; echo over; sleep 1000")
    for _ in range(2):
        double.fault(fault, mac)
        failed = bundle.runx("start", "c")
        double.no_fault(fault)
        assert failed.returncode == 1
        assert words in failed.stderr.decode()
        assert json.loads(bundle.runx("state", "c", check=True).stdout)["status"] == "created"
        assert pair.state() == before
        assert links(double) == links_before
    bundle.runx("start", "c", check=True)
    until(lambda: "over\n" in out.read_text())
    assert "ALLMULTI" in pair.sh("ip -n engine link show eth0")
    bundle.runx("kill", "c", "KILL", check=True)
    bundle.await_stopped()
    assert "eth0    inet 10.9.1.5/24" in out.read_text()
    assert "net1    inet 10.9.2.5/24" in out.read_text()
    bundle.runx("delete", "c", check=True)
    assert pair.state() == before
    assert links(double) == links_before


def test_a_start_that_cannot_be_undone_ends_the_container(double: Double, bundle: Bundle, pair: Space) -> None:
    before, links_before = pair.state(), links(double)
    join(bundle, pair.path)
    create(bundle, "echo must not run")
    double.fault("unpause-fails", "no such luck")
    double.fault("network-detach-fails", "it stays")
    failed = bundle.runx("start", "c")
    double.no_fault("network-detach-fails")
    double.no_fault("unpause-fails")
    assert failed.returncode == 1
    for words in ("no such luck", "the container is ended", "xl network-detach failed: it stays"):
        assert words in failed.stderr.decode()
    bundle.await_stopped()
    bundle.runx("delete", "c", check=True)
    assert pair.state() == before
    assert links(double) == links_before


CANNOT_BE_GIVEN = {
    "ingress": (
        """
        ip -n engine link add eth0 type veth peer name eth1
        tc -n engine qdisc add dev eth1 ingress
        """,
        "the interface eth1 of the container's network namespace has the queueing discipline ingress already",
    ),
    "clsact": (
        "ip -n engine link add eth0 type veth peer name eth1; tc -n engine qdisc add dev eth0 clsact",
        "the interface eth0 of the container's network namespace has the queueing discipline clsact already",
    ),
    "tun": (
        "ip -n engine tuntap add dev tun7 mode tun",
        "the interface tun7 of the container's network namespace cannot be given",
    ),
    "vif": ("ip -n engine link add vif7.0 type veth peer name eth0", "it belongs to another virtual machine"),
    "multipath": (
        """
        ip -n engine link add eth0 type veth peer name eth1
        ip -n engine link set eth0 up; ip -n engine link set eth1 up
        ip -n engine addr add 10.9.1.5/24 dev eth0
        ip -n engine route add 10.8.0.0/16 nexthop via 10.9.1.1 nexthop via 10.9.1.2
        """,
        "the route to 10.8.0.0/16",
    ),
}


@pytest.mark.parametrize(("setup", "words"), CANNOT_BE_GIVEN.values(), ids=CANNOT_BE_GIVEN)
def test_what_cannot_be_given(bundle: Bundle, space: Space, setup: str, words: str) -> None:
    space.sh(setup)
    before = space.state()
    join(bundle, space.path)
    result = bundle.sh("echo must not run")
    assert result.returncode != 0
    assert result.stdout == b""
    assert words in result.stderr.decode()
    bundle.runx("delete", "--force", "c")
    assert space.state() == before


def test_a_second_virtual_machine_is_refused(bundle: Bundle, space: Space) -> None:
    space.add("eth0", 1)
    join(bundle, space.path)
    process = bundle.popen("echo ready; read -r line")
    second = bundle.runx("create", "d")
    assert second.returncode == 1
    assert b"in use by another container" in second.stderr
    process.communicate(b"end\n", timeout=LIMIT_S)
    bundle.runx("delete", "--force", "c", check=True)
    assert bundle.sh("echo works again").stdout == b"works again\n"
    bundle.runx("delete", "--force", "c", check=True)


def test_paths_that_are_no_namespace_to_join(bundle: Bundle) -> None:
    for path, words in (
        ("/proc/1/ns/net", b"is the network of the host"),
        ("/etc/passwd", b"is it a network namespace?"),
        ("/run/netns/none", b"/run/netns/none does not exist"),
    ):
        join(bundle, path)
        result = bundle.sh("true")
        assert result.returncode == 1
        assert words in result.stderr, result.stderr
