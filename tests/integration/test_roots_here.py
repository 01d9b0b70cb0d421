"""Roots that travel as disks and in memory, at the machine's own speed: what tests/shared has, and bundles' own directories."""

import os
import re
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed, wait
from contextlib import suppress
from pathlib import Path

import pytest

from root_tests import *  # noqa: F403
from root_tests import DISK, Layers
from runxtools.double.host import Double
from runxtools.testing.bundles import Bundle
from runxtools.testing.containers import LIMIT_S, Running, new_id, sh, until


@pytest.fixture
def bundle(double: Double, tmp_path: Path) -> Bundle:
    bundle = Bundle(double, tmp_path)
    bundle.config["annotations"] = {"org.runx.root.carrier": "disk"}
    return bundle


def test_runc_for_reference(bundle: Bundle, behave: list[str]) -> None:
    """The program asks for nothing that a root does not do under runc."""
    source = behave[1].partition("src=")[2].partition(",")[0]
    bundle.config["mounts"].append({"destination": "/mnt", "type": "bind", "source": source, "options": ["rbind", "ro"]})
    for limit in ("resources", "cgroupsPath"):
        bundle.config["linux"].pop(limit, None)
    bundle.write("/mnt/behave", "/test")
    argv = ["runc", "--root", str(bundle.state), "run", "--bundle", str(bundle.directory), new_id()]
    result = bundle.host.run(argv, timeout=LIMIT_S)
    assert result.returncode == 0, result.stderr
    lines = result.stdout.decode().splitlines()
    assert (len(lines), [line for line in lines if not line.endswith(" ok")]) == (17, [])


def images(double: Double) -> dict[str, int]:
    """Kept images: their names and inodes."""
    return {entry.name: entry.stat().st_ino for entry in os.scandir(double.directory / "images/images")}


def test_the_image_of_an_image_is_made_once(host: Double) -> None:
    assert sh(host, "true", options=DISK).returncode == 0
    before = images(host)
    assert [name for name in before if not name.startswith("once-")], before
    assert sh(host, "true", options=DISK).returncode == 0
    assert images(host) == before


SEEN = "/usr/src"
"""A directory of programs, where mkfs.erofs sees that of the test: of the host it sees little else."""
SLOW_MKFS = f"""#!/bin/sh
while ! [ -e {SEEN}/go ]; do sleep 0.1; done
exec {SEEN}/real "$@"
"""


@pytest.fixture
def slow_mkfs(host: Double, tmp_path: Path) -> Iterator[Path]:
    """The file that lets mkfs.erofs go on."""
    program = shutil.which("mkfs.erofs") or ""
    shutil.copy(program, tmp_path / "real")
    (tmp_path / "slow").write_text(SLOW_MKFS)
    (tmp_path / "slow").chmod(0o755)
    host.run(["mount", "--bind", str(tmp_path), SEEN], check=True)
    host.run(["mount", "--bind", str(tmp_path / "slow"), program], check=True)
    yield tmp_path / "go"
    host.run(["umount", SEEN, program], check=True)


def test_containers_of_a_new_image_do_not_wait_for_each_other(host: Double, slow_mkfs: Path) -> None:
    """The others wait until the first one has made the image, and not until it ends."""
    for name in images(host):
        (host.directory / "images/images" / name).unlink()
    waiters = ["sh", "-c", "grep -c -e '->' /proc/locks || true"]
    with ThreadPoolExecutor(3) as pool:
        starts = [pool.submit(Running, host, "echo ready; cat", DISK) for _ in range(3)]
        try:
            until(lambda: int(host.run(waiters, check=True).stdout) >= 2)
        finally:
            slow_mkfs.touch()
        waiting = wait(starts, LIMIT_S / 5).not_done
        for start in as_completed(starts):
            start.result().stop()
    assert not waiting
    assert len(images(host)) == 1


def test_a_directory_is_never_stale(bundle: Bundle, double: Double) -> None:
    file = bundle.directory / "rootfs/etc/motd"
    for text in (b"one\n", b"two\n"):
        file.write_bytes(text)
        result = bundle.sh("cat /etc/motd")
        assert (result.stdout, result.returncode) == (text, 0), result.stderr
    assert not [name for name in images(double) if name.startswith("once-")]


@pytest.fixture
def with_a_layer(bundle: Bundle) -> Bundle:
    """What its containers write stays in the layer."""
    bundle.config["annotations"]["org.runx.root.write_back"] = "never"
    return bundle


def test_the_changes_of_another_directory_of_the_same_name_are_not_seen(with_a_layer: Bundle) -> None:
    bundle = with_a_layer
    root = bundle.directory / "rootfs"
    assert bundle.sh("echo secret > /left").returncode == 0
    assert not (root / "left").exists()
    assert bundle.sh("cat /left").stdout == b"secret\n"
    bundle.host.run(["cp", "-a", str(root), f"{root}.new"], check=True)
    bundle.host.run(["rm", "-r", str(root)], check=True)
    bundle.host.run(["mv", f"{root}.new", str(root)], check=True)
    assert b"No such file" in bundle.sh("cat /left").stderr
    layers = list((bundle.host.directory / "images/layers").glob("*/directory"))
    assert [path.read_text() for path in layers].count(str(root)) == 1, "the other one is collected"


def test_two_containers_cannot_write_to_one_root(bundle: Bundle) -> None:
    first = bundle.popen("echo ready; cat")
    bundle.write("true")
    second = bundle.runx("run", "d")
    assert second.returncode == 1
    assert b"is in use by another container" in second.stderr
    assert b"9p" in second.stderr
    out, _ = first.communicate(b"x", timeout=LIMIT_S)
    assert out == b"x"


def loops() -> list[str]:
    """Files behind loop devices of this machine."""
    found = []
    for path in Path("/sys/block").glob("loop*/loop/backing_file"):
        with suppress(OSError):  # it goes meanwhile
            found.append(path.read_text().strip())
    return found


def await_no_loops(of: str, *homes: Path) -> None:
    """Until none has a file below one of the directories whose name has `of` in it."""
    until(lambda: not any(of in path and path.startswith(tuple(map(str, homes))) for path in loops()), loops)


def test_a_guest_without_supervisor_keeps_its_layer(bundle: Bundle, tmp_path: Path) -> None:
    """Whoever is killed: no second writer as long as the guest lives, and no loop device afterwards."""
    bundle.write("/bin/sleep", "1000")
    create = [*bundle.argv("create", "--pid-file", str(tmp_path / "pid")), "c"]
    files = ["sh", "-c", 'exec "$@" > /dev/null 2>&1', "sh"]
    bundle.host.run([*files, *create], check=True, timeout=LIMIT_S)
    assert bundle.runx("start", "c").returncode == 0
    bundle.host.run(["kill", "-9", (tmp_path / "pid").read_text()], check=True)
    second = bundle.runx("run", "d")
    assert second.returncode == 1
    assert b"is in use by another container" in second.stderr
    assert bundle.runx("delete", "--force", "c").returncode == 0
    assert bundle.sh("echo again").stdout == b"again\n"
    for of in ("runx-layer", "once-"):
        await_no_loops(of, bundle.host.directory, tmp_path)


@pytest.fixture
def bundle_in_memory(bundle: Bundle) -> Bundle:
    bundle.config["annotations"] = {"org.runx.root.carrier": "ram"}
    return bundle


def test_nothing_is_left_of_a_root_in_memory(bundle_in_memory: Bundle) -> None:
    """Neither the copy in the state directory nor an image of one container; nor a loop device, which is the guest's."""
    process = bundle_in_memory.popen("echo ready; cat")
    assert not (bundle_in_memory.state / "c/initrd").exists()
    assert any(path.endswith("/runx/root/0") for path in loops())
    assert process.communicate(b"x", timeout=LIMIT_S)[0] == b"x"
    await_no_loops("/runx/root/0", Path("/runx"))  # as the guest names it
    assert not [name for name in images(bundle_in_memory.host) if name.startswith("once-")]


def test_the_root_directory_itself(bundle_in_memory: Bundle) -> None:
    """Owner and mode of / are the image's, where all that is written lies over it."""
    root = bundle_in_memory.directory / "rootfs"
    os.chown(root, 12, 34)
    root.chmod(0o1775)
    result = bundle_in_memory.sh("stat -c '%a %u %g' /")
    assert result.stdout == b"1775 12 34\n", result.stderr


def test_a_container_sees_large_files_as_they_are(layers: Layers) -> None:
    """One of a gibibyte that is sparse, and one of 200 MiB that is not."""
    layers.make(mib=200, sparse_mib=1024, changed=False)
    expected = layers.seen_from_the_host()
    assert any(line.startswith(b"./sparse 100644 0:0 ") and b" %d " % (1 << 30) in line for line in expected)
    for carrier in ("disk", "9p"):
        assert layers.seen_in_the_container(carrier) == expected, carrier


def test_a_name_that_mkfs_cannot_take(bundle: Bundle) -> None:
    """mkfs.erofs 1.5 takes names of 254 bytes at most, and says that there is no such file. 1.8 takes all."""
    name = "n" * 255
    (bundle.directory / "rootfs/etc" / name).write_text("x")
    bundle.write("cat", f"/etc/{name}")
    result = bundle.runx("run", "c")
    said = bundle.host.run(["mkfs.erofs", "--version"]).stdout.decode()
    if (found := re.search(r"(\d+)\.(\d+)", said)) and (int(found[1]), int(found[2])) >= (1, 8):
        assert (result.returncode, result.stdout) == (0, b"x"), result
        return
    assert result.returncode == 1
    assert b"/etc/nnn" in result.stderr and b" has a name of 255 bytes" in result.stderr, "a long word is cut"
    assert b"9p" in result.stderr


def test_a_root_that_is_too_large_for_memory(bundle_in_memory: Bundle) -> None:
    os.truncate(bundle_in_memory.directory / "rootfs/etc/motd", 65 << 20)
    bundle_in_memory.write("true")
    result = bundle_in_memory.runx("run", "c")
    assert result.returncode == 1
    assert b"more than 64 MiB, root.ram_limit" in result.stderr


def test_a_full_layer_is_an_error_to_the_process_alone(with_a_layer: Bundle, tmp_path: Path) -> None:
    bundle = with_a_layer
    settings = tmp_path / "runx.toml"
    settings.write_text('[root]\nlayer_size = "64MiB"\n')
    bundle.write(
        "/bin/sh", "-c", "dd if=/dev/zero of=/full bs=1M count=100; rm /full; dd if=/dev/zero of=/more bs=1M count=8 && echo ok"
    )
    # The double has the host's /etc: the settings lie over it for this one command.
    script = 'mkdir -p /run/etc/runx; cp "$1" /run/etc/runx/runx.toml; shift; mkdir -p /run/work; exec unshare --mount sh -c'
    inside = 'mount -t overlay -o lowerdir=/run/etc:/etc overlay /etc && exec "$@"'
    words = ["sh", "-c", f"{script} '{inside}' sh \"$@\"", "sh", str(settings), *bundle.argv("run", "c")]
    result = bundle.host.run(words, timeout=LIMIT_S)
    assert result.returncode == 0, result.stderr
    assert b"No space left on device" in result.stderr
    assert result.stdout == b"ok\n"
    (layer,) = [
        path for path in (bundle.host.directory / "images/layers").glob("*/runx-layer") if path.stat().st_size == 64 << 20
    ]
    checked = bundle.host.run(["e2fsck", "-fn", str(layer)])
    assert checked.returncode == 0, checked.stdout


def test_a_hostile_tree_brings_nothing_of_the_host(bundle: Bundle) -> None:
    root = bundle.directory / "rootfs"
    secret = bundle.directory / "secret"
    secret.write_text("secret")
    (root / "link").symlink_to(secret)
    (root / "new\nline").write_text("x")
    os.mknod(root / "disk", 0o060600, os.makedev(7, 0))
    result = bundle.sh("ls -l /link /disk; cat /link; ls -d /new*")
    assert b"-> " + os.fsencode(secret) in result.stdout
    assert b"brw-------" in result.stdout
    assert b"secret\n" not in result.stdout.replace(os.fsencode(secret), b"")
    assert b"new\nline" in result.stdout or b"new?line" in result.stdout
