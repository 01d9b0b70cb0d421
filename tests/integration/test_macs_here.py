"""MAC addresses that runx gives to interfaces of bridges."""

import os
from pathlib import Path

from runxtools.double.host import Double
from runxtools.testing.bundles import Bundle

CLAIMS = "/run/runx-macs"


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
