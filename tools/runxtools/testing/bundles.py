"""Bundles of the test image, for tests that call runx without an engine."""

import json
import subprocess
import tarfile
from pathlib import Path
from typing import Any

from runxtools import ociimage
from runxtools.double.host import Double
from runxtools.testing.containers import RUNX, until

CONFIG = Path(__file__).with_name("ctr.json")
"""A configuration as containerd's ctr makes it: seven mounts, capabilities, limits, masked paths."""
BUSYBOX = Path("/bin/busybox")
LIMIT_S = 60


def image_root(image: Path, target: Path) -> None:
    """Unpack the root filesystem of an image whose only layer is a plain tar file (image-spec, layer.md)."""
    with tarfile.open(image) as archive:

        def blob(digest: str) -> bytes:
            return _member(archive, "blobs/" + digest.replace(":", "/"))

        index = json.loads(_member(archive, "index.json"))
        manifest = json.loads(blob(index["manifests"][0]["digest"]))
        (layer,) = manifest["layers"]
        target.mkdir()
        subprocess.run(["tar", "-x", "-C", target], input=blob(layer["digest"]), check=True)


def _member(archive: tarfile.TarFile, name: str) -> bytes:
    file = archive.extractfile(name)
    assert file is not None
    return file.read()


class Bundle:
    """A bundle of the test image as containerd makes it, with another command."""

    def __init__(self, host: Double, directory: Path) -> None:
        self.host = host
        self.directory = directory
        self.state = directory / "state"
        ociimage.write(directory / "image.tar", BUSYBOX)
        image_root(directory / "image.tar", directory / "rootfs")
        self.config: dict[str, Any] = json.loads(CONFIG.read_text())
        self.config["root"] = {"path": "rootfs"}

    def write(self, *args: str) -> None:
        self.config["process"]["args"] = args
        (self.directory / "config.json").write_text(json.dumps(self.config))

    def argv(self, command: str, *words: str) -> list[str]:
        options = ["--root", str(self.state), "--log", str(self.directory / "log"), "--log-format", "json"]
        return [RUNX, *options, command, *(["--bundle", str(self.directory)] if command in ("run", "create") else []), *words]

    def runx(self, command: str, *words: str, **options: Any) -> "subprocess.CompletedProcess[bytes]":
        return self.host.run(self.argv(command, *words), timeout=LIMIT_S, **options)

    def sh(self, script: str, stdin: bytes = b"") -> "subprocess.CompletedProcess[bytes]":
        """Run a shell script by `runx run`."""
        self.write("/bin/sh", "-c", script)
        return self.runx("run", "c", stdin=stdin)

    def popen(self, script: str) -> "subprocess.Popen[bytes]":
        """Start a shell script by `runx run`, and wait until it has printed `ready`."""
        self.write("/bin/sh", "-c", script)
        pipe = subprocess.PIPE
        process = self.host.popen(self.argv("run", "c"), stdin=pipe, stdout=pipe, stderr=pipe)
        assert process.stdout is not None
        line = process.stdout.readline()
        if line != b"ready\n":
            raise AssertionError((line, process.communicate()))
        return process

    def await_stopped(self) -> None:
        until(lambda: json.loads(self.runx("state", "c", check=True).stdout)["status"] == "stopped")
