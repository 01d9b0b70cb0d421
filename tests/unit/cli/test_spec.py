"""`runx spec`: what it writes is what runx runs, with nothing ignored."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from commandhost import Host


def test_the_configuration_is_honoured_as_a_whole(host: Host) -> None:
    (host.bundle / "config.json").unlink()
    result = host.runx("spec", "--bundle", str(host.bundle))
    assert (result.returncode, result.stdout) == (0, ""), result.stderr
    plan = json.loads(host.runx("plan", "--format", "json", str(host.bundle)).stdout)
    assert plan["ignored"] == []
    config = json.loads((host.bundle / "config.json").read_text())
    assert (config["root"], config["process"]["args"]) == ({"path": "rootfs", "readonly": True}, ["sh"])


def test_it_can_be_created(host: Host) -> None:
    (host.bundle / "config.json").unlink()
    assert host.runx("spec", "-b", str(host.bundle)).returncode == 0
    config = json.loads((host.bundle / "config.json").read_text())
    config["process"]["terminal"] = False  # there is none here
    host.config = config
    host.write_config()
    host.create()
    assert host.state()["status"] == "created"


def test_an_existing_one_is_left_as_it_is(host: Host) -> None:
    before = (host.bundle / "config.json").read_bytes()
    result = host.runx("spec", cwd=host.bundle)
    assert result.returncode == 1
    assert "config.json exists" in host.last_error()
    assert (host.bundle / "config.json").read_bytes() == before


def test_a_directory_that_is_not_there(host: Host) -> None:
    result = host.runx("spec", "--bundle", str(host.bundle / "no"))
    assert (result.returncode, "no such file or directory" in result.stderr) == (1, True)
    assert "takes no operands" in host.runx("spec", str(host.bundle)).stderr
    assert not os.path.exists(host.bundle / "no")


@pytest.mark.skipif(os.geteuid() != 0, reason="a file system is mounted")
def test_a_disk_that_is_full(host: Host, tmp_path: Path) -> None:
    place = tmp_path / "small"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4k", "tmpfs", place], check=True)
    try:
        (place / "fill").write_bytes(bytes(4096))
        result = host.runx("spec", "--bundle", str(place))
        assert (result.returncode, result.stderr) == (1, f"runx: cannot write {place}/config.json: no space left on device\n")
        assert os.listdir(place) == ["fill"]
    finally:
        subprocess.run(["umount", place], check=True)
