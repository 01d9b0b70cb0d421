"""The usage that the original RunX documents, as a new user types it: its network file, its mounts, its name, hooks."""

import json
import shlex
import subprocess
from collections.abc import Iterator

import pytest

from bridge_tests import dhcp_server
from original_usage import FILE, NETWORK
from runxtools.lab.lab import Lab
from runxtools.testing.containers import IMAGE, LIMIT_S, REACH, RUNX, Running, new_id

RUNTIME = "/usr/sbin/runX"
BRIDGE = "xenbr0"
SUBNET = "192.168.0"
SET_UP = f"""
    ln -s {RUNX} {RUNTIME}
    ip link add {BRIDGE} type bridge
    ip addr add {SUBNET}.1/24 dev {BRIDGE}
    ip link set {BRIDGE} up
    mkdir -p $(dirname {FILE})
    cat > {FILE}
"""
TAKE_DOWN = f"rm {RUNTIME} {FILE}; rmdir -p --ignore-fail-on-non-empty $(dirname {FILE}); ip link del {BRIDGE}"


@pytest.fixture(autouse=True)
def documented(lab: Lab) -> Iterator[None]:
    """runx by the original's name, and its bridge and network file."""
    lab.run(["sh", "-euc", SET_UP], stdin=NETWORK.encode(), check=True)
    yield
    lab.run(["sh", "-euc", TAKE_DOWN], check=True)


def run(lab: Lab, script: str, *options: str) -> "subprocess.CompletedProcess[bytes]":
    argv = ["ctr", "run", "--rm", f"--runc-binary={RUNTIME}", *options, IMAGE, new_id(), "/bin/sh", "-c", script]
    return lab.run(argv, timeout=LIMIT_S)


def test_a_network_with_an_address(lab: Lab) -> None:
    script = (
        f"{REACH} echo ready; read line; ip -4 addr show eth0; ip route; cat /etc/resolv.conf; reach {SUBNET}.1 && echo reached"
    )
    container = Running(lab, script, ["--env", f"NETCONF={FILE},mynet,{SUBNET}.7"])
    lab.run(["sh", "-c", f"{REACH} reach {SUBNET}.7"], check=True, timeout=LIMIT_S)
    status, output, errors = container.end(b"go\n")
    assert status == 0, errors
    text = output.decode()
    assert f"inet {SUBNET}.7/24 " in text
    assert f"default via {SUBNET}.1 dev eth0" in text
    assert f"{SUBNET}.0/24 dev eth0" in text
    assert "nameserver 8.8.8.8\n" in text
    assert text.endswith("reached\n")


def test_a_network_by_dhcp(lab: Lab, scratch: str) -> None:
    with dhcp_server(lab, BRIDGE, SUBNET, scratch):
        result = run(lab, f"{REACH} ip -4 addr show eth0; reach {SUBNET}.1 && echo reached", "--env", f"NETCONF={FILE},mynet")
    assert result.returncode == 0, result.stderr
    assert f"inet {SUBNET}.1".encode() in result.stdout and result.stdout.endswith(b"reached\n")


@pytest.mark.parametrize("options", [",options=bind:rw", "", ",options=rbind"])
def test_a_bind(lab: Lab, scratch: str, options: str) -> None:
    """The default is bind and rw."""
    result = run(lab, "cat /host/from; echo back > /host/to", "--mount", f"type=bind,src={put(lab, scratch)},dst=/host{options}")
    assert (result.returncode, result.stdout) == (0, b"there\n"), result.stderr
    assert lab.run(["cat", f"{scratch}/shared/to"], check=True).stdout == b"back\n"


def test_a_bind_with_options_of_mount(lab: Lab, scratch: str) -> None:
    script = "cat /host/from; echo back > /host/to || /host/program || grep ' /host ' /proc/mounts"
    result = run(lab, script, "--mount", f"type=bind,src={put(lab, scratch)},dst=/host,options=ro:noexec")
    assert result.returncode == 0, result.stderr
    assert result.stdout.startswith(b"there\n") and b"must not run" not in result.stdout
    flags = result.stdout.split()[4].decode().split(",")
    assert {"ro", "noexec"} <= set(flags), flags


def put(lab: Lab, scratch: str) -> str:
    """A directory of dom0 with a file and a program."""
    script = 'mkdir "$0"; cd "$0"; echo there > from; printf "#!/bin/sh\\necho must not run\\n" > program; chmod +x program'
    lab.run(["sh", "-euc", script, f"{scratch}/shared"], check=True)
    return f"{scratch}/shared"


KINDS = ("prestart", "createRuntime", "createContainer", "poststart", "poststop")


def test_hooks(lab: Lab, scratch: str) -> None:
    """Each of the host's is called once, in order, with the container's state; startContainer's is called in the guest."""
    container = new_id()
    script = f'echo "$0 $(cat)" >> {scratch}/calls'
    hooks = {kind: [{"path": "/bin/sh", "args": ["sh", "-c", script, kind]}] for kind in KINDS}
    hooks["startContainer"] = [{"path": "/bin/sh", "args": ["sh", "-c", "cat > /state"]}]
    config = {
        "ociVersion": "1.0.2",
        "process": {"cwd": "/", "args": ["/bin/sh", "-c", "cat /state"], "env": ["PATH=/bin"]},
        "root": {"path": f"{scratch}/image"},
        "mounts": [{"destination": "/proc", "type": "proc", "source": "proc"}],
        "hooks": hooks,
        "linux": {"namespaces": [{"type": kind} for kind in ("pid", "ipc", "uts", "mount", "network")]},
    }
    prepare = f"mkdir {scratch}/image; ctr image mount {IMAGE} {scratch}/mount; cp -a {scratch}/mount/. {scratch}/image/"
    prepare += f"; ctr image unmount --rm {scratch}/mount; cat > {scratch}/config.json"
    lab.run(["sh", "-euc", f"mkdir {scratch}/mount; {prepare}"], stdin=json.dumps(config).encode(), check=True)
    words = [RUNTIME, "--root", f"{scratch}/root", "run", "--bundle", scratch, container]
    result = lab.run(words, timeout=LIMIT_S)
    assert result.returncode == 0, result.stderr
    assert json.loads(result.stdout)["id"] == container
    calls = [line.split(" ", 1) for line in lab.run(["cat", f"{scratch}/calls"], check=True).stdout.decode().splitlines()]
    assert [(kind, json.loads(state)["status"]) for kind, state in calls] == [
        ("prestart", "creating"),
        ("createRuntime", "creating"),
        ("createContainer", "creating"),
        ("poststart", "running"),
        ("poststop", "stopped"),
    ], shlex.join(words)
