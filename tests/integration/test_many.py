"""Fifty containers at once, each with a command, an output, an input and an exit status of its own."""

import json
import os
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from runxtools.double.host import Double
from runxtools.testing.bundles import Bundle

COUNT = 50
LIMIT_S = 900
SCRIPT = "read line; echo $0 $line; echo $0 errors >&2; exit $1"


def test_fifty_at_once(double: Double, tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path.parent, tmp_path.parent.parent):
        folder.chmod(0o755)
    one = Bundle(double, tmp_path)
    before = double.run(["ps", "-e", "-o", "args"], check=True).stdout.count(b"runx.exec.supervisor")

    def life(number: int) -> tuple[int, bytes, bytes]:
        """All of one container's life: its parent is told how it ended by the pid that `create` wrote."""
        directory = tmp_path / f"bundle-{number}"
        directory.mkdir()
        config = json.loads(json.dumps(one.config))
        config["root"] = {"path": str(tmp_path / "rootfs"), "readonly": True}
        config["linux"]["cgroupsPath"] = f"/runx-many-{number}"
        config["process"]["args"] = ["/bin/sh", "-c", SCRIPT, f"c{number}", str(number)]
        (directory / "config.json").write_text(json.dumps(config))
        words = one.argv("run", "--bundle", str(directory), f"c{number}")
        words.remove("--bundle")
        words.remove(str(tmp_path))
        result = double.run(words, stdin=f"input {number}\n".encode(), timeout=LIMIT_S)
        return result.returncode, result.stdout, result.stderr

    with ThreadPoolExecutor(COUNT) as threads:
        ends = list(threads.map(life, range(COUNT)))
    for number, end in enumerate(ends):
        assert end == (number, f"c{number} input {number}\n".encode(), f"c{number} errors\n".encode())
    assert double.run(["xl", "list"], check=True).stdout.count(b"\n") == 2
    assert os.listdir(double.directory / "domains") == []
    assert list((tmp_path / "state").iterdir()) == []
    assert double.run(["ps", "-e", "-o", "args"], check=True).stdout.count(b"runx.exec.supervisor") == before
    assert subprocess.run(["grep", "-c", str(tmp_path), "/proc/self/mounts"], capture_output=True).stdout == b"0\n"
