#!/usr/bin/python3
"""Runs where runx is, for tools/bench: how quickly bytes come to a container, and from one container to another.

    network.py ROUNDS BYTES

By a bridge alone (NETCONF), which is what Xen's own network devices do, and by an engine's network namespace on the same
bridge, where every frame is forwarded once more. One JSON object a round, on standard output, in bytes a second.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

RUNX = "/usr/local/bin/runx"
BRIDGE = "rxbench"
PREFIX = "10.212.5"
LIMIT_S = 300
PORT = 4000
# Whoever connects sends to the end, and is told how much that was.
SERVE = f"while :; do nc -l -p {PORT} -e wc -c; done"


def ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True)


@contextmanager
def bridge(directory: str) -> Iterator[str]:
    """The bridge, with the first address; a CNI file for it."""
    ip("link", "add", BRIDGE, "type", "bridge")
    try:
        ip("address", "add", f"{PREFIX}.1/24", "dev", BRIDGE)
        ip("link", "set", BRIDGE, "up")
        path = f"{directory}/network.conf"
        network = {"cniVersion": "0.4.0", "name": "bench", "type": "bridge", "bridge": BRIDGE}
        with open(path, "w") as file:
            json.dump({**network, "ipam": {"type": "host-local", "subnet": f"{PREFIX}.0/24"}}, file)
        yield path
    finally:
        ip("link", "delete", BRIDGE)


@contextmanager
def namespace(number: int) -> Iterator[str]:
    """What an engine makes for a container with the address .NUMBER; the namespace's path."""
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


@contextmanager
def container(directory: str, number: int, script: str, netconf: str, path: str) -> "Iterator[subprocess.Popen[bytes]]":
    """A container with the address .NUMBER that runs a script: by NETCONF's file, or by a namespace's path."""
    bundle = tempfile.mkdtemp(prefix="bundle-", dir=directory)
    kinds = [{"type": kind} for kind in ("pid", "ipc", "uts", "mount")]
    config = {
        "ociVersion": "1.0.2",
        "process": {
            "args": ["/bin/sh", "-c", script],
            "cwd": "/",
            "env": ["PATH=/bin", *([] if path else [f"NETCONF={netconf},bench,{PREFIX}.{number}"])],
            "user": {"uid": 0, "gid": 0},
        },
        "root": {"path": f"{directory}/root"},
        "linux": {"namespaces": [*kinds, {"type": "network", **({"path": path} if path else {})}]},
    }
    with open(f"{bundle}/config.json", "w") as file:
        json.dump(config, file)
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


def to_container(number: int, size: int) -> float:
    """The rate at which a container takes bytes of ours."""
    limit = time.monotonic() + LIMIT_S
    while True:
        try:
            connection = socket.create_connection((f"{PREFIX}.{number}", PORT), timeout=LIMIT_S)
            break
        except OSError:  # it boots, or is between two listeners
            if time.monotonic() > limit:
                raise
            time.sleep(0.1)
    with connection:
        chunk = bytes(1 << 16)
        begin = time.monotonic()
        for _ in range(size // len(chunk)):
            connection.sendall(chunk)
        connection.shutdown(socket.SHUT_WR)
        taken = int(connection.makefile().read() or 0)
        end = time.monotonic()
    if taken != size:
        raise SystemExit(f"a container took {taken} bytes of {size}")
    return size / (end - begin)


def between(sender: "subprocess.Popen[bytes]", size: int) -> float:
    """The rate from one container to another, started by a line."""
    assert sender.stdin is not None and sender.stdout is not None
    begin = time.monotonic()
    sender.stdin.write(b"go\n")
    said = sender.stdout.readline()
    end = time.monotonic()
    if said.strip() != str(size).encode():
        raise SystemExit(f"a container took {said!r} of {size}")
    return size / (end - begin)


def measure(directory: str, netconf: str, engine: bool, rounds: int, size: int) -> list[tuple[float, float]]:
    """Rates to a container and between two, round by round."""
    with ExitStack() as stack:
        paths = [stack.enter_context(namespace(number)) if engine else "" for number in (2, 3)]
        # The listener is made anew after each connection.
        send = (
            f"while read -r line; do until dd if=/dev/zero bs=64k count={size >> 16} 2> /dev/null "
            f"| nc {PREFIX}.2 {PORT} 2> /dev/null; do sleep 0.05; done; done"
        )
        stack.enter_context(container(directory, 2, SERVE, netconf, paths[0]))
        sender = stack.enter_context(container(directory, 3, send, netconf, paths[1]))
        to_container(2, 1 << 16)
        between(sender, size)  # it has booted
        return [(to_container(2, size), between(sender, size)) for _ in range(rounds)]


def main(rounds: int, size: int) -> None:
    with tempfile.TemporaryDirectory(prefix="runx-bench-") as directory, bridge(directory) as netconf:
        os.makedirs(f"{directory}/root/bin")
        shutil.copy("/bin/busybox", f"{directory}/root/bin/busybox")
        for name in ("sh", "nc", "wc", "dd", "sleep"):
            os.symlink("busybox", f"{directory}/root/bin/{name}")
        plain, engine = (measure(directory, netconf, way, rounds, size) for way in (False, True))
    for (plain_to, plain_between), (engine_to, engine_between) in zip(plain, engine, strict=True):
        rates = {"vif_to": plain_to, "vif_between": plain_between, "engine_to": engine_to, "engine_between": engine_between}
        print(json.dumps(rates))


main(int(sys.argv[1]), int(sys.argv[2]) >> 16 << 16)
