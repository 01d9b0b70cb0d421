"""The engines of Debian's packages, started in a double with nothing and ended with it."""

import shutil
import subprocess
import time
from pathlib import Path

from containers import IMAGE
from runxtools import ociimage
from runxtools.double.host import CHECKOUT, Double

BUSYBOX = Path("/bin/busybox")
_LIMIT_S = 60


def start_containerd(double: Double) -> None:
    """containerd, as the lab's dom0 has it, with the test image. Raises AssertionError with its log."""
    assert shutil.which("containerd"), "containerd is not installed: tools/test does that, or apt-get install containerd"
    home = double.directory / "containerd"
    home.mkdir()
    log = home / "log"
    words = ["containerd", "--config", str(CHECKOUT / "tools/lab-assets/containerd.toml"), "--root", str(home / "root")]
    with log.open("wb") as file:
        double.popen(words, stdin=subprocess.DEVNULL, stdout=file, stderr=file)  # the double ends it
    limit = time.monotonic() + _LIMIT_S
    while double.run(["ctr", "version"]).returncode:
        assert time.monotonic() < limit, log.read_text()
        time.sleep(0.1)
    ociimage.write(home / "image.tar", BUSYBOX)
    double.run(["ctr", "image", "import", str(home / "image.tar")], check=True)
    assert IMAGE.encode() in double.run(["ctr", "image", "ls", "-q"]).stdout
