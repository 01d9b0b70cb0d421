#!/usr/bin/python3
"""Measure for tools/bench: the rate of bytes from the host to a container, and from one container to another.

    network.py ROUNDS BYTES

It measures three ways on one bridge of the host: a vif on that bridge (NETCONF), as Xen's own scripts make it; the pair of
interfaces that an engine makes for a container, with a bridge to the vif in its network namespace; and the same pair with runx's
forwarding in that namespace. It prints one JSON object a round, in bytes a second.
"""

import json
import os
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

from bundle import make_bundle, make_root

RUNX = "/usr/local/bin/runx"
BRIDGE = "rxbench"
NETWORKS = "/etc/runx/networks"
"""A directory of CNI files that containers may name, on a host without a runx.toml."""
PREFIX = "10.212.5"
LIMIT_S = 300
WAYS = ("vif", "bridged", "engine")
Rates = Callable[[int], tuple[float, float]]
"""Sends a number of bytes: the rates from here to a container, and from one container to another, in bytes a second."""
PORT = 4000
# The client sends all. nc itself would move a kilobyte at a time, which is slower than any network here.
SERVE = f"while :; do nc -l -p {PORT} -e dd bs=64k iflag=fullblock of=/dev/null 2>&1; done"


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


@contextmanager
def bridge() -> Iterator[str]:
    """Make the bridge with the first address, and a CNI file for it."""
    ip("link", "add", BRIDGE, "type", "bridge")
    try:
        ip("address", "add", f"{PREFIX}.1/24", "dev", BRIDGE)
        ip("link", "set", BRIDGE, "up")
        os.makedirs(NETWORKS, exist_ok=True)
        network = {"cniVersion": "0.4.0", "name": "bench", "type": "bridge", "bridge": BRIDGE}
        with tempfile.NamedTemporaryFile("w", dir=NETWORKS, suffix=".conf") as file:
            json.dump({**network, "ipam": {"type": "host-local", "subnet": f"{PREFIX}.0/24"}}, file)
            file.flush()
            yield file.name
    finally:
        ip("link", "delete", BRIDGE)


@contextmanager
def namespace(number: int) -> Iterator[str]:
    """Make what an engine makes for a container with the address .NUMBER: the path of its namespace."""
    name = f"{BRIDGE}-{number}"
    ip("netns", "add", name)
    try:
        ip("link", "add", f"rxb{number}", "type", "veth", "peer", "name", "eth0", "netns", name)
        ip("link", "set", f"rxb{number}", "master", BRIDGE, "up")
        ip("-n", name, "address", "add", f"{PREFIX}.{number}/24", "dev", "eth0")
        ip("-n", name, "link", "set", "eth0", "up")
        yield f"/run/netns/{name}"
    finally:
        ip("netns", "delete", name)


def backends() -> set[str]:
    """Interfaces of virtual machines on the bridge."""
    listed = subprocess.run(["ip", "-json", "link", "show", "master", BRIDGE], stdout=subprocess.PIPE, check=True).stdout
    return {name for name in (link["ifname"] for link in json.loads(listed or "[]")) if name.startswith("vif")}


def bridge_in(path: str, before: set[str]) -> None:
    """Put the new backend and the engine's interface on a bridge in the engine's namespace."""
    name = os.path.basename(path)
    limit = time.monotonic() + LIMIT_S
    while not (new := backends() - before):
        if time.monotonic() > limit:
            raise SystemExit("no interface has come to the bridge")
        time.sleep(0.1)
    (backend,) = new
    ip("link", "set", backend, "netns", name)
    ip("-n", name, "address", "flush", "dev", "eth0")
    ip("-n", name, "link", "add", "inside", "type", "bridge")
    ip("-n", name, "link", "set", "inside", "up")
    for port in (backend, "eth0"):
        ip("-n", name, "link", "set", port, "master", "inside", "up")


@contextmanager
def container(directory: str, number: int, script: str, netconf: str, path: str) -> "Iterator[subprocess.Popen[bytes]]":
    """Start a container with the address .NUMBER that runs a script: with NETCONF's file, or a namespace's path."""
    env = [] if path else [f"NETCONF={netconf},bench,{PREFIX}.{number}"]
    bundle = make_bundle(directory, f"{directory}/root", ["/bin/sh", "-c", script], env=env, network_namespace=path)
    state = ["--root", f"{directory}/state"]
    name = f"c{number}"
    process = subprocess.Popen(
        [RUNX, *state, "run", "--bundle", bundle, name], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
    )
    try:
        yield process
    finally:
        subprocess.run([RUNX, *state, "delete", "--force", name], check=True)
        process.communicate()


def to_container(number: int, taker: "subprocess.Popen[bytes]", size: int) -> float:
    """Rate at which a container takes our bytes."""
    limit = time.monotonic() + LIMIT_S
    while True:
        try:
            connection = socket.create_connection((f"{PREFIX}.{number}", PORT), timeout=LIMIT_S)
            break
        except OSError:  # the container boots, or is between two listeners
            if taker.poll() is not None or time.monotonic() > limit:
                raise
            time.sleep(0.1)
    with connection:
        chunk = bytes(1 << 16)
        begin = time.monotonic()
        for _ in range(size // len(chunk)):
            connection.sendall(chunk)
    return size / (taken(taker, size) - begin)


def between(sender: "subprocess.Popen[bytes]", taker: "subprocess.Popen[bytes]", size: int) -> float:
    """Rate from one container to another, started by a line on the input of the first."""
    assert sender.stdin is not None
    begin = time.monotonic()
    sender.stdin.write(b"%d\n" % size)
    return size / (taken(taker, size) - begin)


def taken(taker: "subprocess.Popen[bytes]", size: int) -> float:
    """Time at which a container printed that it had taken all bytes."""
    assert taker.stdout is not None
    for line in taker.stdout:
        if line.endswith(b"records out\n"):
            if not line.startswith(b"%d+0 " % (size >> 16)):
                raise SystemExit(f"a container took {line.decode()!r} of {size >> 16} blocks")
            return time.monotonic()
    raise SystemExit("a container has ended")


def pair(stack: ExitStack, directory: str, netconf: str, way: str) -> Rates:
    """Start two containers with a network of one way: the functions that measure the two rates."""
    number = 10 * WAYS.index(way) + 2

    def begin(number: int, script: str) -> "subprocess.Popen[bytes]":
        path = stack.enter_context(namespace(number)) if way != "vif" else ""
        before = backends()
        process = stack.enter_context(container(directory, number, script, netconf, path if way == "engine" else ""))
        if way == "bridged":
            bridge_in(path, before)
        return process

    def rates(size: int) -> tuple[float, float]:
        return to_container(number, taker, size), between(sender, taker, size)

    # The listener is restarted after each connection.
    send = (
        f"while read -r size; do until nc {PREFIX}.{number} {PORT} -e dd if=/dev/zero bs=64k count=$((size >> 16)) "
        "2> /dev/null; do sleep 0.05; done; done"
    )
    taker = begin(number, SERVE)
    sender = begin(number + 1, send)
    rates(1 << 16)  # both have booted
    return rates


def main(rounds: int, size: int) -> None:
    with tempfile.TemporaryDirectory(prefix="runx-bench-") as directory, bridge() as netconf, ExitStack() as stack:
        make_root(f"{directory}/root", "sh", "nc", "dd", "sleep")
        pairs = {way: pair(stack, directory, netconf, way) for way in WAYS}
        for _ in range(rounds):  # in turn, since other load of the machine varies
            rates = {}
            for way, measure in pairs.items():
                rates[f"{way}_to"], rates[f"{way}_between"] = measure(size)
            print(json.dumps(rates), flush=True)


main(int(sys.argv[1]), int(sys.argv[2]) >> 16 << 16)
