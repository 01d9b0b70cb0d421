"""A root filesystem whose images take long to make, and one whose images cannot be made."""

import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from runxtools.double.host import Double
from runxtools.testing import rights
from runxtools.testing.bundles import Bundle
from runxtools.testing.containers import IMAGE, LIMIT_S, RUNX, new_id, until

SLOW_MKFS = """#!/bin/sh
# Has written a part of the image, and goes on when it may.
dd if=/dev/zero of="$3" bs=1M count=3 conv=notrunc 2> /dev/null
echo $$ > {directory}/pids  # a fifo: it can write no other file
while ! [ -e {directory}/go ]; do sleep 0.1; done
: > "$3"  # mkfs.erofs 1.8 keeps what is there, 1.5 does not
[ -e {directory}/fail ] || exec {directory}/real "$@"
echo "the disk burns" >&2
exit 1
"""
SEEN = "/usr/src"
"""A directory of programs, where mkfs.erofs sees that of the test: of the host it sees little else."""


@pytest.fixture
def bundle(double: Double, tmp_path: Path) -> Iterator[Bundle]:
    bundle = Bundle(double, tmp_path)
    bundle.config["annotations"] = {"org.runx.root.carrier": "disk"}
    yield bundle
    bundle.runx("delete", "--force", "c")


@pytest.fixture
def slow(double: Double, bundle: Bundle) -> Iterator[Path]:
    """The directory in which the file `go` lets mkfs.erofs go on, `fail` has it fail, and `mkfs` has its pid in the double."""
    directory, program = bundle.directory, shutil.which("mkfs.erofs") or ""
    shutil.copy(program, directory / "real")
    (directory / "slow").write_text(SLOW_MKFS.format(directory=SEEN))
    (directory / "slow").chmod(0o755)
    os.mkfifo(directory / "pids")
    double.run(["mount", "--bind", str(directory), SEEN], check=True)
    reader = ["sh", "-c", 'while read pid; do echo "$pid" > "$1/mkfs"; done <> "$1/pids"', "sh", str(directory)]
    double.run(["mount", "--bind", str(directory / "slow"), program], check=True)
    with subprocess.Popen(reader) as reading:
        yield directory
        reading.kill()
    double.run(["umount", SEEN, program], check=True)


@pytest.fixture(params=["disk", "ram"])
def carrier(request: pytest.FixtureRequest, bundle: Bundle) -> str:
    bundle.config["annotations"] = {"org.runx.root.carrier": request.param}
    return str(request.param)


def create(bundle: Bundle, script: str = "echo seen; cat") -> None:
    """Create the container `c`, whose output is in files of the bundle, and return when `create` does."""
    bundle.write("/bin/sh", "-c", script)
    argv = bundle.argv("create", "--pid-file", str(bundle.directory / "pid"), "c")
    files = ["sh", "-c", 'out=$1; shift; exec "$@" < /dev/null > "$out/out" 2> "$out/err"', "sh", str(bundle.directory)]
    result = bundle.host.run([*files, *argv], timeout=LIMIT_S)
    assert result.returncode == 0, (bundle.directory / "err").read_text()


def status(bundle: Bundle) -> str:
    return str(json.loads(bundle.runx("state", "c", check=True).stdout)["status"])


def lives(double: Double, pid: str) -> bool:
    return not double.run(["kill", "-0", pid]).returncode


def await_nothing_left(bundle: Bundle) -> None:
    """mkfs.erofs has ended, and no part of an image, lock or domain is left."""
    double = bundle.host
    pid = (bundle.directory / "mkfs").read_text().strip()
    until(lambda: not lives(double, pid))
    images = double.directory / "images/images"
    until(lambda: not [name for name in os.listdir(images) if name.endswith((".new", ".lock")) or name.startswith("once-")])
    assert len(double.run(["xl", "list"], check=True).stdout.splitlines()) == 2, "a header and dom0"


def log(bundle: Bundle) -> list[str]:
    return [json.loads(line)["msg"] for line in (bundle.directory / "log").read_text().splitlines()]


def test_engines_do_not_wait_for_images(bundle: Bundle, slow: Path, carrier: str) -> None:
    """`create` and `start` return; the process runs when the images are there."""
    create(bundle)
    assert status(bundle) == "created"
    assert any("images of the root filesystem are being made" in message for message in log(bundle))
    assert bundle.runx("start", "c").returncode == 0
    assert status(bundle) == "running"
    for refused in (("pause", "c"), ("update", "--memory", "64M", "c")):
        result = bundle.runx(*refused)
        assert result.returncode and b"being made" in result.stderr, result
    stats = json.loads(bundle.runx("events", "--stats", "c", check=True).stdout)
    assert stats["data"]["cpu"]["usage"]["total"] == 0
    assert (slow / "out").read_text() == ""
    (slow / "go").touch()
    bundle.await_stopped()
    assert (slow / "out").read_text() == "seen\n", (slow / "err").read_text()
    assert not (bundle.state / "c/initrd").exists() or carrier == "disk"
    await_nothing_left(bundle)


def test_images_that_are_there_before_the_start(bundle: Bundle, slow: Path) -> None:
    create(bundle)
    (slow / "go").touch()
    until(lambda: b"runx-c" in bundle.host.run(["xl", "list"], check=True).stdout)
    assert status(bundle) == "created"
    assert bundle.runx("start", "c").returncode == 0
    bundle.await_stopped()
    assert (slow / "out").read_text() == "seen\n"


def test_what_makes_images_is_in_the_containers_group(bundle: Bundle, slow: Path) -> None:
    """Its memory and time are the container's, not dom0's."""
    create(bundle)
    until((slow / "mkfs").exists)
    mkfs = int((slow / "mkfs").read_text())
    packer = int(bundle.host.run(["ps", "-o", "ppid=", str(mkfs)], check=True).stdout)

    def group(pid: int | str) -> bytes:
        return bundle.host.run(["cat", f"/proc/{pid}/cgroup"], check=True).stdout

    supervisor = (bundle.directory / "pid").read_text()
    assert group(mkfs) == group(packer) == group(supervisor) != group("self")
    assert b"/default/ctr-plain" in group(mkfs)
    assert bundle.runx("delete", "--force", "c").returncode == 0


def test_what_makes_images_has_no_more_than_the_document_says(bundle: Bundle, slow: Path, carrier: str) -> None:
    """The packer, and mkfs.erofs, which reads a hostile tree: their rights, and what they see of the host."""
    double = bundle.host
    create(bundle)
    until((slow / "mkfs").exists)
    mkfs = int((slow / "mkfs").read_text())
    packer = int(double.run(["ps", "-o", "ppid=", str(mkfs)], check=True).stdout)
    table = rights.table()
    stand_in = shutil.which("mkfs.erofs") or ""  # a script, which its shell has open
    images = ("*/images/*", f"{bundle.state}/c/*", stand_in)
    for pid, row in ((packer, table["packer"]), (mkfs, table["mkfs"])):
        allowed = row._replace(descriptors=(*row.descriptors, *images))
        assert rights.too_many(double, pid, allowed) == []

        def has(path: str, pid: int = pid) -> bool:
            return double.run(["test", "-e", f"/proc/{pid}/root{path}"]).returncode == 0

        assert has("/usr/bin/env")
        for path in ("/etc/passwd", "/etc/shadow", "/var/lib/apt", "/home", "/run/xen", "/dev/xen", "/var/lib/dpkg"):
            assert not has(path), path
    assert bundle.runx("delete", "--force", "c").returncode == 0


@pytest.mark.parametrize("started", [False, True])
@pytest.mark.parametrize("signal", ["TERM", "KILL"])
def test_a_signal_ends_it_at_once(bundle: Bundle, slow: Path, signal: str, started: bool) -> None:
    create(bundle)
    if started:
        assert bundle.runx("start", "c").returncode == 0
    assert bundle.runx("kill", "c", "WINCH").returncode == 0
    assert status(bundle) == ("running" if started else "created"), "a signal that ends no process"
    until((slow / "mkfs").exists)
    assert bundle.runx("kill", "c", signal).returncode == 0
    bundle.await_stopped()
    await_nothing_left(bundle)
    assert bundle.runx("delete", "c").returncode == 0
    assert os.listdir(bundle.state) == []
    assert (slow / "out").read_text() == ""


@pytest.mark.parametrize("by", ["delete", "delete --force", "kill -9 of the supervisor"])
def test_nothing_is_left(bundle: Bundle, slow: Path, by: str) -> None:
    create(bundle)
    until((slow / "mkfs").exists)
    if by.startswith("kill"):
        bundle.host.run(["kill", "-9", (slow / "pid").read_text()], check=True)
        bundle.await_stopped()
        by = "delete"
    result = bundle.runx(*by.split(), "c")
    assert result.returncode == 0, result.stderr
    assert os.listdir(bundle.state) == []
    await_nothing_left(bundle)


def test_create_that_is_killed(bundle: Bundle, slow: Path) -> None:
    """In the time that it waits for mkfs.erofs: that does not go on alone."""
    bundle.write("true")
    none = subprocess.DEVNULL
    process = bundle.host.popen(bundle.argv("create", "c"), stdin=none, stdout=none, stderr=none)
    until((slow / "mkfs").exists)
    (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()  # nsenter's, which is runx
    os.kill(int(child), 9)
    process.wait(LIMIT_S)
    await_nothing_left(bundle)
    assert status(bundle) == "stopped"
    assert bundle.runx("delete", "--force", "c").returncode == 0
    await_nothing_left(bundle)


def test_images_that_cannot_be_made(bundle: Bundle, slow: Path, carrier: str) -> None:
    """The engine learns of it at `start`, with the reason. A container that was started before ends with 125."""
    (slow / "fail").touch()
    create(bundle)
    (slow / "go").touch()
    until(lambda: any("the disk burns" in message for message in log(bundle)))
    assert status(bundle) == "created"
    result = bundle.runx("start", "c")
    assert result.returncode and b"the disk burns" in result.stderr, result
    bundle.await_stopped()
    await_nothing_left(bundle)
    assert bundle.runx("delete", "c").returncode == 0

    (slow / "go").unlink()
    bundle.write("true")
    process = bundle.host.popen(bundle.argv("run", "c"), stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    until(lambda: (bundle.state / "c/record").exists() and status(bundle) == "running")
    (slow / "go").touch()
    _, err = process.communicate(timeout=LIMIT_S)
    assert process.returncode == 125 and b"the disk burns" in err, err
    await_nothing_left(bundle)


@pytest.mark.parametrize(("full", "size"), [("images", "2m"), ("state", "200k")])
def test_a_full_disk(bundle: Bundle, full: str, size: str) -> None:
    """There is one error with the reason, and no part of an image is left."""
    (bundle.directory / "rootfs/large").write_bytes(os.urandom(4 << 20))
    images = bundle.host.directory / "images"
    place = images if full == "images" else bundle.state
    bundle.host.run(["mkdir", "-p", str(place)], check=True)
    bundle.host.run(["mount", "-t", "tmpfs", "-o", f"size={size},mode=700", "tmpfs", str(place)], check=True)
    try:
        bundle.write("true")
        result = bundle.runx("run", "c")
        assert result.returncode and re.search(b"no room for|no space left", result.stderr), result
        assert str(place).encode() in result.stderr, result
        left = bundle.host.run(["find", str(place), "-type", "f"], check=True).stdout
        assert left == b"", left
    finally:
        bundle.host.run(["umount", str(place)], check=True)


@pytest.fixture
def detached(host: Double, slow: Path) -> Iterator[Callable[[], str]]:
    """Start a container of containerd in the background, whose image is not kept yet; its id. They go with the test."""
    for name in images(host):
        (host.directory / "images/images" / name).unlink()
    ids: list[str] = []

    def start() -> str:
        ids.append(new_id())
        run = ["ctr", "run", "--detach", "--runc-binary", RUNX, IMAGE, ids[-1], "true"]
        host.run(run, stdin=b"", check=True, timeout=LIMIT_S)
        return ids[-1]

    yield start
    for container in ids:
        host.run(["ctr", "container", "delete", container], check=True, timeout=LIMIT_S)


def images(host: Double) -> list[str]:
    """Names of files in the place of images."""
    directory = host.directory / "images/images"
    return os.listdir(directory) if directory.exists() else []


def ended(host: Double, container: str) -> str:
    """What `ctr task delete` says of the exit status of a container that has ended."""

    def said() -> "subprocess.CompletedProcess[bytes] | None":
        result = host.run(["ctr", "task", "delete", container], timeout=LIMIT_S)
        return None if result.returncode else result

    return str(until(said).stderr.decode())


def test_containerd_ends_one_at_once(host: Double, slow: Path, detached: Callable[[], str]) -> None:
    """Its calls return while the image is made, so that a kill is not kept waiting."""
    container = detached()
    until((slow / "mkfs").exists)
    host.run(["ctr", "task", "kill", "--signal", "KILL", container], check=True, timeout=LIMIT_S)
    assert "exit code 137" in ended(host, container)
    pid = (slow / "mkfs").read_text().strip()
    until(lambda: not lives(host, pid))
    assert images(host) == []


def test_another_container_of_the_image_goes_on(host: Double, slow: Path, detached: Callable[[], str]) -> None:
    """It waited for the image of the one that was killed, and makes it then."""
    first = detached()
    until((slow / "mkfs").exists)
    second = detached()
    before = (slow / "mkfs").read_text()
    host.run(["ctr", "task", "kill", "--signal", "KILL", first], check=True, timeout=LIMIT_S)
    assert "exit code 137" in ended(host, first)
    until(lambda: (slow / "mkfs").read_text() not in ("", before))
    (slow / "go").touch()
    assert "exit code" not in ended(host, second)
    assert len(images(host)) == 1
