"""The engines of Debian's packages, started in a double with nothing and ended with it."""

import json
import re
import shutil
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runxtools import ociimage
from runxtools.checkout import CHECKOUT
from runxtools.double.host import Double
from runxtools.testing.containers import IMAGE, RUNX

BUSYBOX = Path("/bin/busybox")
DOCKER = ("/usr/bin/docker",)
"""Debian's, whatever /usr/local has."""
BY_TYPE = "runx-by-type"
"""A second runtime of docker 23 and newer, which is runx too."""
VFS = {"storage-driver": "vfs"}
"""Images and containers of docker as plain directories."""
_LIMIT_S = 60
_LAB_CONFIG = CHECKOUT / "tools/lab-assets/containerd.toml"


def start_containerd(double: Double, config: Path = _LAB_CONFIG) -> None:
    """containerd, as the lab's dom0 has it, with the test image. Raises AssertionError with its log."""
    home = double.directory / "containerd"
    home.mkdir()
    assert shutil.which("containerd"), "containerd is not installed: tools/test does that, or apt-get install containerd"
    log = home / "log"
    words = ["containerd", "--config", str(config), "--root", str(home / "root")]
    with log.open("wb") as file:
        double.popen(words, stdin=subprocess.DEVNULL, stdout=file, stderr=file)  # the double ends it
    limit = time.monotonic() + _LIMIT_S
    while double.run(["ctr", "version"]).returncode:
        assert time.monotonic() < limit, log.read_text()
        time.sleep(0.1)
    ociimage.write(home / "image.tar", BUSYBOX)
    double.run(["ctr", "image", "import", str(home / "image.tar")], check=True)
    assert IMAGE.encode() in double.run(["ctr", "image", "ls", "-q"]).stdout


def start_dockerd(double: Double, storage: Mapping[str, Any] = VFS) -> None:
    """Debian's docker, and the containerd that it starts itself. runx is its runtime. Raises AssertionError with its log.

    `storage` are its settings (daemon.json) that say where images are kept.
    """
    assert shutil.which("dockerd"), "dockerd is not installed: tools/test does that, or apt-get install docker.io"
    home = double.directory / "docker"
    home.mkdir()
    # The second form of docs/engines.md.
    by_type = {BY_TYPE: {"runtimeType": "io.containerd.runc.v2", "options": {"BinaryName": RUNX}}}
    if docker_version(double) < (23,):
        by_type = {}
    settings = {
        "data-root": f"{home}/data",
        "exec-root": "/run/docker",
        "pidfile": "/run/docker.pid",
        "deprecated-key-path": f"{home}/key.json",
        "hosts": ["unix:///run/docker.sock"],
        **storage,
        "exec-opts": ["native.cgroupdriver=cgroupfs"],
        "runtimes": {"runx": {"path": RUNX}, **by_type},
        "default-runtime": "runx",
    }
    (home / "daemon.json").write_text(json.dumps(settings))
    log = home / "log"
    with log.open("wb") as file:
        words = ["dockerd", "--config-file", str(home / "daemon.json")]
        daemon = double.popen(words, stdin=subprocess.DEVNULL, stdout=file, stderr=file)  # the double ends it
    limit = time.monotonic() + _LIMIT_S
    while double.run([*DOCKER, "version"]).returncode:
        assert time.monotonic() < limit and daemon.poll() is None, log.read_text()
        time.sleep(0.1)


def containerd_version(double: Double) -> tuple[int, ...]:
    """Major and minor number."""
    return _version(double, "containerd")


def docker_version(double: Double) -> tuple[int, ...]:
    """Major and minor number of the daemon."""
    return _version(double, "dockerd")


def _version(double: Double, program: str) -> tuple[int, ...]:
    said = double.run([program, "--version"], check=True).stdout.decode()
    found = re.search(r"\b(\d+)\.(\d+)\.\d", said)
    assert found, said
    return int(found[1]), int(found[2])
