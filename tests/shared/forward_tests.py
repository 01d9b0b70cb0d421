"""Ports of a pod, forwarded as for a kubelet: by the CRI's PortForward, and by who enters the pod's network namespace himself."""

import random
import subprocess
from pathlib import Path
from typing import Any

from pods import Pod
from programs import compiled
from runxtools.testing.containers import LIMIT_S, until

SERVE = "echo page > /tmp/page; httpd -p 80 -h /tmp; /programs/echo 7000 &"
"""A server that listens at all addresses, and one that listens on localhost alone."""
_BIG = 3_000_000


def programs(pod: Pod, directory: Path) -> list[dict[str, Any]]:
    """Mounts of a container for SERVE. directory: on this machine, to compile in."""
    place = f"{pod.logs}/../programs"
    pod.cri.host.run(["mkdir", "-p", place], check=True)
    pod.cri.host.put(compiled("echo", directory), f"{place}/echo")
    return [{"container_path": "/programs", "host_path": place, "readonly": True}]


def forward(pod: Pod, port: int, data: bytes = b"", most: int = 1 << 40) -> "subprocess.CompletedProcess[bytes]":
    url = pod.cri.call("PortForward", pod_sandbox_id=pod.id, port=[port]).url
    words = ["python3", pod.put("webforward.py", "websocket_client.py"), url, str(port), str(most)]
    return pod.cri.host.run(words, stdin=data, timeout=LIMIT_S)


def speak(pod: Pod, port: int, connections: int, size: int) -> list[str]:
    """What came of so many connections at once to an echo server, made in the pod's network namespace."""
    words = ["nsenter", f"--net=/proc/{pod.sandbox}/ns/net", "python3", pod.put("echo_client.py")]
    done = pod.cri.host.run([*words, str(port), str(connections), str(size)], check=True, timeout=LIMIT_S)
    return done.stdout.decode().split("\n")[:-1]


def check(pod: Pod, supervisor: int) -> None:
    """Of containers with SERVE. supervisor: the pid of the machine's."""
    host = pod.cri.host

    def descriptors() -> int:
        return int(host.run(["sh", "-c", f"ls /proc/{supervisor}/fd | wc -l"], check=True).stdout)

    before = descriptors()
    get = b"GET /page HTTP/1.0\r\n\r\n"
    page = forward(pod, 80, get)
    assert page.returncode == 0 and page.stdout.endswith(b"\r\n\r\npage\n"), (page.stdout, page.stderr)
    data = random.Random(7).randbytes(_BIG)
    echoed = forward(pod, 7000, data, _BIG)
    assert (echoed.stdout == data, echoed.stderr) == (True, b""), (len(echoed.stdout), echoed.stderr)
    refused = forward(pod, 7001, get)
    assert (refused.returncode, refused.stdout) == (1, b""), refused
    assert b"reset by peer" in refused.stderr, refused

    assert speak(pod, 7000, 20, 200_000) == ["same"] * 20
    assert speak(pod, 7000, 40, 1000) == ["same"] * 40, "more than there may be at once wait for their turn"
    assert speak(pod, 7001, 2, 10) == ["reset"] * 2
    reset = forward(pod, 7000, b"\xff")
    assert b"reset by peer" in reset.stderr, reset
    until(lambda: descriptors() == before, descriptors)


def check_there_is_none(pod: Pod) -> None:
    assert speak(pod, 7000, 1, 10) == ["ConnectionRefusedError"]
