"""Networks that podman and docker make by themselves; `engine` is the command line of one of them."""

import subprocess

from engine_tests import IMAGE
from runxtools.machine import Machine
from runxtools.testing.containers import LIMIT_S, removed, until

KEPT = ("cni-podman0", "docker0")
"""Bridges of dom0: engines make one for their first container and keep it."""


def links(host: Machine) -> set[str]:
    listing = host.run(["ip", "-o", "link"], check=True).stdout.decode()
    return {line.split(": ")[1].partition("@")[0] for line in listing.splitlines()}


def test_the_default_network(host: Machine, engine: list[str]) -> None:
    """A published port answers, containers reach each other by address, and no interface is left."""
    before = links(host)
    serve = "echo served by web > /tmp/page; httpd -p 80 -h /tmp; echo ready; while :; do sleep 0.1; done"
    run = [*engine, "run", "--detach", "--publish", "8080:80", IMAGE, "/bin/sh", "-c", serve]
    web = host.run(run, check=True, timeout=LIMIT_S).stdout.decode().strip()
    follow = host.popen([*engine, "logs", "--follow", web], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    assert follow.stdout is not None
    assert follow.stdout.readline() == b"ready\n"

    get = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:8080/page', timeout=60).read().decode(), end='')"
    published = host.run(["env", "no_proxy=*", "python3", "-c", get], timeout=LIMIT_S)
    assert published.stdout == b"served by web\n", published
    address = (
        host.run([*engine, "inspect", "--format", "{{.NetworkSettings.IPAddress}}", web], check=True).stdout.decode().strip()
    )
    script = f"wget -q -O - http://{address}/page; ip -o -4 addr show eth0; ip route; cat /etc/resolv.conf"
    other = host.run([*engine, "run", "--rm", IMAGE, "/bin/sh", "-c", script], timeout=LIMIT_S)
    text = other.stdout.decode()
    assert text.startswith("served by web\n"), (text, other.stderr)
    gateway = host.run([*engine, "inspect", "--format", "{{.NetworkSettings.Gateway}}", web], check=True).stdout.decode().strip()
    assert f"inet {gateway.rsplit('.', 1)[0]}." in text
    assert f"default via {gateway} dev eth0" in text

    removed(host, engine, web)
    follow.communicate(timeout=LIMIT_S)
    until(lambda: links(host) - set(KEPT) == before - set(KEPT), lambda: links(host) ^ before)
    assert not host.run(["ls", "/run/netns"]).stdout


def test_a_network_of_another_container(host: Machine, engine: list[str]) -> None:
    """A virtual machine cannot share its interfaces."""
    run = [*engine, "run", "--detach", IMAGE, "/bin/sh", "-c", "while :; do sleep 0.1; done"]
    first = host.run(run, check=True, timeout=LIMIT_S).stdout.decode().strip()
    second = host.run([*engine, "run", "--rm", "--network", f"container:{first}", IMAGE, "true"], timeout=LIMIT_S)
    assert second.returncode != 0
    assert b"the network namespace is in use by another container" in second.stderr, second.stderr
    removed(host, engine, first)
