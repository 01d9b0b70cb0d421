"""The engines of Debian's packages, started in a double with nothing and ended with it."""

import json
import shutil
import subprocess
import time
from pathlib import Path

from containers import IMAGE, RUNX
from runxtools import ociimage
from runxtools.double.host import CHECKOUT, Double

BUSYBOX = Path("/bin/busybox")
DOCKER = ("/usr/bin/docker",)
"""Debian's, whatever /usr/local has."""
_LIMIT_S = 60


_LAB_CONFIG = CHECKOUT / "tools/lab-assets/containerd.toml"
_CRI_CONFIG = """\
version = 2
disabled_plugins = [
  "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.btrfs",
  "io.containerd.snapshotter.v1.devmapper",
  "io.containerd.snapshotter.v1.zfs",
]
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{image}"
  stream_server_address = "127.0.0.1"
  disable_apparmor = true
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "/usr/lib/cni"
    conf_dir = "{home}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    default_runtime_name = "runx"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runx]
    runtime_type = "io.containerd.runc.v2"
    [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runx.options]
      BinaryName = "{runx}"
"""
_POD_NETWORK = {
    "cniVersion": "0.4.0",
    "name": "pods",
    "plugins": [
        {
            "type": "bridge",
            "bridge": "pods0",
            "isDefaultGateway": True,
            "ipam": {"type": "host-local", "ranges": [[{"subnet": "10.88.3.0/24"}]]},
        }
    ],
}


def start_containerd(double: Double) -> None:
    """containerd, as the lab's dom0 has it, with the test image. Raises AssertionError with its log."""
    home = double.directory / "containerd"
    home.mkdir()
    _start_containerd(double, home, _LAB_CONFIG, "default")


def start_cri(double: Double) -> Path:
    """containerd with its CRI plugin, a network for pods, and the test image, which is a pod's sandbox as well: no program of
    it is to run. Its socket; there is one runtime, runx. Raises AssertionError with its log."""
    home = double.directory / "containerd"
    (home / "cni").mkdir(parents=True)
    (home / "cni/10-pods.conflist").write_text(json.dumps(_POD_NETWORK))
    config = home / "config.toml"
    config.write_text(_CRI_CONFIG.format(image=IMAGE, home=home, runx=RUNX))
    _start_containerd(double, home, config, "k8s.io")
    return Path(f"/proc/{double.pid}/root/run/containerd/containerd.sock")


def _start_containerd(double: Double, home: Path, config: Path, namespace: str) -> None:
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
    ctr = ["ctr", "--namespace", namespace, "image"]
    double.run([*ctr, "import", str(home / "image.tar")], check=True)
    assert IMAGE.encode() in double.run([*ctr, "ls", "-q"]).stdout


def start_dockerd(double: Double) -> None:
    """Debian's docker, and the containerd that it starts itself. runx is its runtime. Raises AssertionError with its log."""
    assert shutil.which("dockerd"), "dockerd is not installed: tools/test does that, or apt-get install docker.io"
    home = double.directory / "docker"
    home.mkdir()
    settings = {
        "data-root": f"{home}/data",
        "exec-root": "/run/docker",
        "pidfile": "/run/docker.pid",
        "deprecated-key-path": f"{home}/key.json",
        "hosts": ["unix:///run/docker.sock"],
        "storage-driver": "vfs",
        "exec-opts": ["native.cgroupdriver=cgroupfs"],
        "runtimes": {"runx": {"path": RUNX}},
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
