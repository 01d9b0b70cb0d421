"""MAC addresses that runx gives to interfaces of bridges."""

import json
import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from runxtools.double.host import Double
from runxtools.testing.bundles import Bundle
from spaces import FIRST

CLAIMS = "/run/runx-macs"


@pytest.fixture
def netconf(double: Double) -> Iterator[str]:
    double.run(["sh", "-euc", FIRST.format("br7", 7)], check=True)
    network = {"cniVersion": "0.2.0", "name": "n", "type": "bridge", "bridge": "br7", "ipam": {"subnet": "10.9.7.0/24"}}
    file = f"/etc/runx/networks/{uuid.uuid4().hex}.conf"
    script = 'mkdir -p "$(dirname "$1")"; cat > "$1"'
    double.run(["sh", "-euc", script, "sh", file], stdin=json.dumps(network).encode(), check=True)
    yield f"NETCONF={file},n,10.9.7.7"
    double.run(["rm", file], check=True)
    double.run(["rmdir", "-p", "--ignore-fail-on-non-empty", "/etc/runx/networks"])
    double.run(["ip", "link", "delete", "br7"], check=True)


def claims(double: Double) -> list[str]:
    return double.run(["sh", "-c", f"cd {CLAIMS} && for f in *; do echo $f $(readlink $f); done"]).stdout.decode().splitlines()


def test_an_address_that_another_container_has_is_not_given_again(
    double: Double, bundle: Bundle, netconf: str, tmp_path: Path
) -> None:
    bundle.config["process"]["env"].append(netconf)
    seen = []
    for _ in range(2):
        seen.append(bundle.sh("cat /sys/class/net/eth0/address").stdout.decode().strip())
        bundle.runx("delete", "--force", "c")
        assert not [line for line in claims(double) if line.startswith(seen[-1])], "the claim goes with the container"
    assert seen[0] == seen[1]
    other = tmp_path / "other"
    os.mkdir(other)
    double.run(["ln", "-s", str(other), f"{CLAIMS}/{seen[0]}"], check=True)
    seen.append(bundle.sh("cat /sys/class/net/eth0/address").stdout.decode().strip())
    assert seen[2] != seen[0] and seen[2].startswith("00:16:3e:")
    bundle.runx("delete", "--force", "c")
    assert claims(double) == [f"{seen[0]} {other}"]
    double.run(["rm", f"{CLAIMS}/{seen[0]}"], check=True)
