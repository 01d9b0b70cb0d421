"""The network's part of the guest: PID 1 and /runx/network, and compiled scripts in a network namespace of this machine."""

import json
import os
import re
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

import guestbox as gb
from compiler_cases import Case, good_cases
from guestbox import GuestBox, records
from netspace import Namespace
from runx.compiler.model.plan import VmPlan

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces and mounts need root")


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return gb.compile_guest(tmp_path_factory.mktemp("guest"))


@pytest.fixture
def root(tmp_path: Path, programs: tuple[Path, Path]) -> Path:
    gb.make_root(tmp_path / "root", *programs)
    return tmp_path / "root"


def begin(root: Path, network: str, script: str) -> GuestBox:
    """Starts /init with a network script; the process is a shell."""
    process = records(args=["/bin/sh", "-c", script], env=["PATH=/bin"], cwd="/", pid_namespace=1)
    return GuestBox(root, setup=gb.DEFAULT_SETUP + gb.AWAIT, network=network, process=process)


def test_the_process_waits_for_the_network(root: Path) -> None:
    os.mkfifo(root / "tmp" / "go")
    with begin(root, "read -r line < /tmp/go; echo network $line", "echo runs") as box:
        # Its reader is there, so the script runs; nothing else can come before the line.
        (root / "tmp" / "go").write_text("up\n")
        assert box.exit_status() == 0
        assert box.log == b"network up\n"
        assert box.streams[gb.STDOUT] == b"runs\n"


def test_a_failing_network_is_the_reason(root: Path) -> None:
    """Also when a client of an earlier interface stays in the background."""
    with begin(root, "sleep 1000 & echo no lease; exit 1", "echo must not run") as box:
        status, text = box.fatal()
        assert status == 125
        assert "no lease" in text
        assert not box.streams[gb.STDOUT]


def test_what_stays_behind_is_out_of_sight_and_ends_with_the_guest(root: Path) -> None:
    script = "sleep 1234 > /dev/null 2>&1 &\necho $! > /tmp/pid"
    with begin(root, script, "cat /proc/[0-9]*/cmdline | tr '\\0' ' '; echo; read -r line") as box:
        box.until_output(b"\n")
        assert b"sleep 1234" not in box.streams[gb.STDOUT]
        assert (root / "tmp" / "pid").read_text().strip()
        box.send(gb.HOST_STDIN, b"end\n")
        assert box.exit_status() == 0


def follows(root: Path, script: str) -> GuestBox:
    """Starts /init with a network script that the host sends; the process is a shell."""
    process = records(args=["/bin/sh", "-c", script], env=["PATH=/bin"], cwd="/", pid_namespace=1, network_follows=1)
    return GuestBox(root, setup=gb.DEFAULT_SETUP + gb.AWAIT, process=process)


@pytest.mark.parametrize("size", [0, 1, 4095, 4096, 60_000])
def test_a_script_that_the_host_sends(root: Path, size: int) -> None:
    """In pieces of any size, outside of the container's PID namespace; none at all is a network without anything."""
    script = f"read -r line || echo script $$ with no input\n# {'x' * size}\n".encode() if size else b""
    with follows(root, "echo runs") as box:
        box.until(gb.HELLO)
        for at in range(0, len(script), 4096):
            box.send(gb.HOST_NETWORK, script[at : at + 4096])
        box.send(gb.HOST_NETWORK)
        assert box.exit_status() == 0
        assert box.streams[gb.STDOUT] == b"runs\n"
        assert re.fullmatch(r"script \d+ with no input\n", box.log.decode()) if size else not box.log


def test_a_script_of_the_hosts_that_fails(root: Path) -> None:
    with follows(root, "echo must not run") as box:
        box.until(gb.HELLO)
        box.send(gb.HOST_NETWORK, b"echo no such gateway; exit 2\n")
        box.send(gb.HOST_NETWORK)
        status, text = box.fatal()
        assert status == 125
        assert "no such gateway" in text


SERVER = "127.53.0.11"
"""The box has this machine's network; nobody else has this address."""


def question(identifier: bytes) -> bytes:
    return identifier + b"\x01\x00\x00\x01" + bytes(6) + b"\x03web\x00\x00\x01\x00\x01"


@pytest.fixture
def served(root: Path) -> Iterator[GuestBox]:
    """A guest that serves names, and whose process waits for a line."""
    with follows(root, "read -r line") as box:
        box.until(gb.HELLO)
        box.send(gb.HOST_NAMES, socket.inet_aton(SERVER))
        box.send(gb.HOST_NETWORK)
        box.until(gb.STARTED)
        yield box
        box.send(gb.HOST_STDIN, b"end\n")
        assert box.exit_status() == 0
        assert box.log == b""


@pytest.fixture
def clients() -> Iterator[list[socket.socket]]:
    """Of the same server, as programs in the container are."""
    made = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(2)]
    for client in made:
        client.settimeout(gb.DEADLINE_S)
        client.connect((SERVER, 53))
    yield made
    for client in made:
        client.close()


def test_questions_go_to_the_host_and_answers_to_who_asked(served: GuestBox, clients: list[socket.socket]) -> None:
    """Whatever the identifiers, in any order, and once."""
    for client in clients:
        client.send(question(b"\x12\x34"))  # the same of both
    asked = [served.until(gb.QUESTION) for _ in clients]
    assert [message[2:] for message in asked] == [question(b"")] * 2
    assert asked[0][:2] != asked[1][:2]
    served.send(gb.HOST_ANSWER, b"\xff\xff" + bytes(10))  # to no question
    for number in (1, 0, 1):  # and one answer twice
        served.send(gb.HOST_ANSWER, asked[number] + b"answer %d" % number)
    for number, client in enumerate(clients):
        assert client.recv(4096) == question(b"\x12\x34") + b"answer %d" % number
        client.setblocking(False)
        with pytest.raises(BlockingIOError):
            client.recv(4096)


def test_what_is_no_question_is_not_passed_on(served: GuestBox, clients: list[socket.socket]) -> None:
    for message in (b"", b"x" * 11, b"x" * 4097, question(b"ab")):
        clients[0].send(message)
    assert served.until(gb.QUESTION)[2:] == question(b"")


def test_more_questions_than_answers(served: GuestBox, clients: list[socket.socket]) -> None:
    """The last ones of very many can be answered; the first ones are as lost as their answers."""
    asked = []
    for number in range(600):
        clients[0].send(question(number.to_bytes(2, "big")))
        asked.append(served.until(gb.QUESTION))
    for message in (asked[0], asked[599]):
        served.send(gb.HOST_ANSWER, message)
    assert clients[0].recv(4096) == question((599).to_bytes(2, "big"))


def test_an_address_that_is_taken_is_a_line_in_the_log(root: Path) -> None:
    process = records(args=["/bin/sh", "-c", "read -r line"], env=["PATH=/bin"], cwd="/")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as other, GuestBox(root, process=process) as box:
        other.bind((SERVER, 53))
        box.until(gb.HELLO)
        box.send(gb.HOST_NAMES, socket.inet_aton(SERVER))
        while b"address in use" not in box.log:
            assert box.frame()
        box.send(gb.HOST_STDIN_EOF)
        assert box.exit_status() == 1


def test_a_network_that_nobody_sets_up(root: Path) -> None:
    process = records(args=["/bin/sh", "-c", ":"], env=["PATH=/bin"], cwd="/")
    with GuestBox(root, setup=gb.DEFAULT_SETUP + gb.AWAIT, process=process) as box:
        assert box.fatal() == (125, "there is no network script\nrunx: network failed")


def test_no_shell_runs_if_there_is_nothing_to_set_up(root: Path) -> None:
    """And the process gets no descriptor of what set it up."""
    (root / "bin/sh").unlink()
    (root / "bin/busybox").unlink()
    with follows(root, "cd /proc/$$/fd; echo *") as box:  # 3 is this directory
        box.until(gb.HELLO)
        box.send(gb.HOST_NETWORK)
        assert box.exit_status() == 0
        assert box.streams[gb.STDOUT] == b"0 1 2 3\n"


def _has_network(plan: VmPlan) -> bool:
    """Whether runx's guest configures interfaces; a ramdisk of the container's own does that itself."""
    return plan.console == "link" and bool(plan.machine.interfaces)


@pytest.mark.skipif(not shutil.which("ip"), reason="iproute2 is not installed")
@pytest.mark.parametrize("case", [case for case in good_cases() if _has_network(case.compile().plan)], ids=repr)
def test_a_compiled_network_is_what_the_plan_says(case: Case, tmp_path: Path, spaces: list[Namespace]) -> None:
    """Run by a shell and the kernel of this machine; only the DHCP client is replaced."""
    plan, artifacts, *_ = case.compile()
    script = next(file.content.decode() for file in artifacts.overlay if file.path == "runx/network")
    interfaces = plan.machine.interfaces
    spaces.append(space := Namespace(tmp_path, [interface.mac for interface in interfaces]))
    asked = re.findall(r"^.* take-lease (\w+)$", script, re.MULTILINE)
    assert asked == [interface.name for interface in interfaces if interface.address is None and not interface.layer2]
    script = re.sub(r"^.* take-lease .*$", ":", script, flags=re.MULTILINE)
    space.run(script.replace("/run/network", f"{tmp_path}/network"))

    found = {link["address"]: link for link in json.loads(space.run("ip -json addr show")) if link["link_type"] == "ether"}
    for interface in interfaces:
        link = found[interface.mac]
        assert link["ifname"] == interface.name
        assert "UP" in link["flags"]
        assert interface.mtu in (None, link["mtu"])
        addresses = [f"{entry['local']}/{entry['prefixlen']}" for entry in link["addr_info"] if entry["scope"] == "global"]
        assert addresses == ([interface.address] if interface.address else [])
        routes = json.loads(space.run(f"ip -json route show dev {interface.name}")) + json.loads(
            space.run(f"ip -json -6 route show dev {interface.name}")
        )
        for target, gateway in interface.routes:
            assert [route for route in routes if (route["dst"], route.get("gateway", "")) == (target, gateway)]
    resolv_conf = tmp_path / "network" / "resolv.conf"
    servers = list(dict.fromkeys(server for interface in interfaces for server in interface.nameservers))
    assert resolv_conf.exists() == bool(servers)
    if servers:
        lines = resolv_conf.read_text().splitlines()
        assert [line.split()[1] for line in lines if line.startswith("nameserver ")] == servers


@pytest.mark.skipif(not shutil.which("ip"), reason="iproute2 is not installed")
@pytest.mark.parametrize("name", ["net7", "eth0"])
def test_an_interface_that_is_being_named_is_looked_for_again(tmp_path: Path, spaces: list[Namespace], name: str) -> None:
    """Its name in sysfs may be one that it no longer has, or, if that is the right one, not yet."""
    mac = "00:16:3e:00:00:01"
    spaces.append(space := Namespace(tmp_path, ["00:16:3e:00:00:02", mac]))
    tried = f"[ -e {tmp_path}/tried ] || {{ : > {tmp_path}/tried; echo no such device >&2; exit 1; }}"
    fails_once = f'#!/bin/sh\n{tried}\nexec {shutil.which("ip")} "$@"\n'
    (tmp_path / "bin" / "ip").write_text(fails_once)
    (tmp_path / "bin" / "ip").chmod(0o755)
    space.run(f"await-interface {mac} {name}")
    assert (tmp_path / "tried").exists()
    assert {link["ifname"]: link["address"] for link in json.loads(space.run("ip -json link show"))}[name] == mac
