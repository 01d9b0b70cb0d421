"""Containers whose layers are on a small file system of the host (docs/roots.md, "A full file system").

The layers' disks are this machine's loop devices. So a write that the host cannot take is EIO here, as it is under Xen.
"""

import json
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runxtools.double.host import Double
from runxtools.testing.bundles import Bundle
from runxtools.testing.containers import until

SIZE_MIB = 300
SERVE = "echo ready; while read -r line; do eval \"$line\" 2>&1 | tr '\\n' ' '; echo; done"
"""A shell that answers each line of standard input with one line."""
FILL = "dd if=/dev/zero of=/big bs=1M count=400 conv=fsync || df -k / | grep -c ' 100% '"


@pytest.fixture
def small(double: Double, tmp_path: Path) -> Iterator[Path]:
    """The directory of images and layers, on a file system of its own."""
    place, image = double.directory / "images", tmp_path / "small"
    with image.open("xb") as file:
        file.truncate(SIZE_MIB << 20)
    subprocess.run(["mke2fs", "-q", "-t", "ext4", "-E", "lazy_itable_init=0", str(image)], check=True)
    double.run(["mkdir", "-p", str(place)], check=True)
    double.run(["mount", "-o", "loop", str(image), str(place)], check=True)
    double.run(["chmod", "700", str(place)], check=True)
    yield place
    double.run(["umount", str(place)], check=True)


class Container:
    """A container that does what it is told, line by line."""

    def __init__(self, bundle: Bundle) -> None:
        self.bundle = bundle
        self._process = bundle.popen(SERVE)

    def does(self, script: str) -> str:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(script.encode() + b"\n")
        self._process.stdin.flush()
        return self._process.stdout.readline().decode().strip()

    def room_mib(self) -> int:
        """What df shows as available."""
        return int(self.does("df -m / | tail -1 | awk '{print $4}'"))

    def is_on(self, small: Path, double: Double) -> int:
        """Its layer's MiB on the host."""
        (found,) = [
            path
            for path in double.run(["sh", "-c", f"ls -d {small}/layers/*"], check=True).stdout.decode().split()
            if double.run(["cat", f"{path}/directory"]).stdout.decode() == str(self.bundle.directory / "rootfs")
        ]
        return int(double.run(["du", "-m", f"{found}/runx-layer"], check=True).stdout.split()[0])

    def end(self) -> None:
        out, err = self._process.communicate(timeout=60)
        assert (out, err, self._process.returncode) == (b"", b"", 0)


Start = Callable[[str], Container]


@pytest.fixture
def start(double: Double, tmp_path: Path, small: Path) -> Iterator[Start]:
    """Start the container of this name; its layer is kept."""
    bundles: dict[str, Bundle] = {}

    def started(name: str) -> Container:
        if name not in bundles:
            (tmp_path / name).mkdir()
            bundles[name] = Bundle(double, tmp_path / name)
            bundles[name].config["annotations"] = {"org.runx.root.carrier": "disk", "org.runx.root.write_back": "never"}
            bundles[name].config["linux"]["cgroupsPath"] = f"/full-disk/{name}"
            (tmp_path / name / "go").mkdir()
            go = {"destination": "/go", "type": "bind", "source": str(tmp_path / name / "go"), "options": ["rbind"]}
            bundles[name].config["mounts"].append(go)
        return Container(bundles[name])

    yield started
    for bundle in bundles.values():
        bundle.runx("delete", "--force", "c")


def test_a_container_fills_the_disk(start: Start, small: Path, double: Double) -> None:
    one = start("one")
    assert one.does("echo good > /kept && sync && echo synced") == "synced"
    until(lambda: one.room_mib() < SIZE_MIB, one.room_mib)
    said = one.does(FILL)
    assert "No space left on device" in said and said.endswith(" 1"), said
    assert "No space left" in one.does("dd if=/dev/zero of=/more bs=1M count=2")
    again = "dd if=/dev/zero of=/again bs=1M count=100 conv=fsync && rm /again && echo again"
    assert one.does(f"rm /big /more && {again}").endswith("again")
    assert "No space left on device" in one.does(FILL)
    one.end()

    one = start("one")
    assert one.does("cat /kept; echo new > /kept && cat /kept") == "good new", "its root is writable when there is no room, too"
    assert one.does("mount | grep -c ' / .*rw,'") == "1"
    assert one.does(f"rm /big && {again}").endswith("again")
    one.end()


def test_what_is_removed_goes_back(start: Start, small: Path, double: Double) -> None:
    one = start("one")
    assert one.does("dd if=/dev/urandom of=/big bs=1M count=100 conv=fsync && echo full").endswith("full")
    assert one.is_on(small, double) > 100
    assert one.does("rm /big; sync; echo removed") == "removed"
    until(lambda: one.is_on(small, double) < 40, lambda: one.is_on(small, double))
    one.end()


def test_others_fill_the_disk(start: Start, small: Path, double: Double) -> None:
    """Two containers and the host share it. Nobody gets EIO."""
    one, two = start("one"), start("two")
    until(lambda: one.room_mib() < SIZE_MIB and two.room_mib() < SIZE_MIB, lambda: (one.room_mib(), two.room_mib()))
    assert "No space left on device" in one.does(FILL)
    until(lambda: two.room_mib() < 20, two.room_mib)
    assert "No space left on device" in two.does("dd if=/dev/zero of=/big bs=1M count=50 conv=fsync")
    assert one.does("rm /big; sync; echo removed") == "removed"
    until(lambda: two.room_mib() > 100, two.room_mib)
    double.run(["dd", "if=/dev/zero", f"of={small}/others", "bs=1M", "count=130"], check=True)
    until(lambda: two.room_mib() < 60, two.room_mib)
    assert "No space left on device" in two.does(FILL)
    double.run(["rm", f"{small}/others"], check=True)
    assert two.does("rm /big; echo removed") == "removed"
    until(lambda: one.room_mib() > 100 and two.room_mib() > 100, lambda: (one.room_mib(), two.room_mib()))
    for container in (one, two):
        assert container.does("dd if=/dev/zero of=/big bs=1M count=40 conv=fsync && echo wrote").endswith("wrote")
        container.end()


def test_a_disk_that_is_full_before_the_guest_knows(start: Start, small: Path, double: Double) -> None:
    """The supervisor is stopped, so nobody tells the guest. A write fails. The next life has what was synced, and can write."""
    one = start("one")
    go = one.bundle.directory / "go"
    assert one.does("echo good | dd of=/kept conv=fsync 2> /dev/null; echo kept") == "kept"
    until(lambda: one.room_mib() < SIZE_MIB, one.room_mib)
    write = "dd if=/dev/zero of=/big bs=1M count=50 conv=fsync 2> /go/error"
    script = f"(until [ -e /go/full ]; do sleep 0.1; done; {write}; echo $? > /go/status.new; mv /go/status.new /go/status)"
    assert one.does(f"{script} > /dev/null 2>&1 < /dev/null &") == ""
    pid = json.loads(one.bundle.runx("state", "c", check=True).stdout)["pid"]
    double.run(["kill", "-STOP", str(pid)], check=True)
    for name, unit in (("others", "1M"), ("rest", "1k")):
        fill = f"dd if=/dev/zero of={small}/{name} bs={unit} conv=fsync 2> /dev/null; true"
        double.run(["sh", "-c", fill], check=True)
    (go / "full").touch()
    until((go / "status").exists)
    double.run(["kill", "-CONT", str(pid)], check=True)
    assert ((go / "status").read_text(), (go / "error").read_text()[:3]) == ("1\n", "dd:")
    one.end()
    double.run(["rm", f"{small}/others", f"{small}/rest"], check=True)

    one = start("one")
    assert one.does("cat /kept; echo new > /kept && cat /kept") == "good new"
    assert one.does("rm /big; dd if=/dev/zero of=/again bs=1M count=100 conv=fsync && echo again").endswith("again")
    one.end()


def test_no_container_is_made_on_a_full_disk(start: Start, small: Path, double: Double) -> None:
    double.run(["sh", "-c", f"dd if=/dev/zero of={small}/others bs=1M count=400 2> /dev/null; true"], check=True)
    with pytest.raises(AssertionError) as caught:
        start("one")
    assert f"{small}" in str(caught.value) and "root.keep_free" in str(caught.value), caught.value
