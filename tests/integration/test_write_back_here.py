"""The stopped container is what runc would have left: builds, commit, diff, export and cp of engines, and ends in the middle."""

import io
import json
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from engines import BUSYBOX, DOCKER, start_dockerd
from runxtools import ociimage
from runxtools.double.host import Double
from runxtools.testing.bundles import Bundle
from runxtools.testing.containers import IMAGE, LIMIT_S, RUNX, until

RECIPE = f"""FROM {IMAGE}
RUN mkdir -p /made/deep && echo one > /made/file && ln /made/file /made/deep/linked && ln -s ../file /made/deep/symbolic
RUN rm /made/file && rm -r /home && mkdir /home && echo only > /home/new
RUN chown 1000:1000 /made/deep/linked && chmod 4755 /made/deep/linked && mkfifo -m 640 /made/fifo && chmod 1777 /made
COPY more /made/copied
RUN rm -r /made/deep && echo a file > /made/deep && rm /bin/wget && cat /made/copied > /made/last
"""
"""Steps of an image's build; each sees what those before it have written."""


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("image") / "image.tar"
    ociimage.write(path, BUSYBOX, IMAGE)
    return path


def with_docker(double: Double, image: Path, runtime: str) -> None:
    start_dockerd(double, {"storage-driver": "overlay2", "default-runtime": runtime})
    double.run([*DOCKER, "load", "-i", str(image)], check=True, timeout=LIMIT_S)


@pytest.fixture(scope="module")
def docker(image: Path) -> Iterator[Double]:
    with Double() as double:
        with_docker(double, image, "runx")
        yield double


@pytest.fixture(scope="module")
def reference(image: Path) -> Iterator[Double]:
    """A docker whose containers runc runs."""
    with Double() as double:
        with_docker(double, image, "runc")
        yield double


def build(double: Double, context: Path) -> list[dict[str, Any]]:
    """The layers of an image that docker's own builder has made: all of each file but its time."""
    environment = ["env", "DOCKER_BUILDKIT=0"]
    words = [*environment, *DOCKER, "build", "--no-cache", "--network", "none", "--tag", "built", str(context)]
    built = double.run(words, timeout=LIMIT_S)
    assert built.returncode == 0 and b"Successfully built" in built.stdout, built
    return layers_of(double.run([*DOCKER, "save", "built"], check=True, timeout=LIMIT_S).stdout)


def layers_of(saved: bytes) -> list[dict[str, Any]]:
    """The layers of an archive of docker's."""
    with tarfile.open(fileobj=io.BytesIO(saved)) as archive:

        def member(name: str) -> bytes:
            file = archive.extractfile(name)
            assert file
            return file.read()

        (manifest,) = json.loads(member("manifest.json"))
        return [contents(member(name)) for name in manifest["Layers"]]


def contents(layer: bytes) -> dict[str, Any]:
    found: dict[str, Any] = {}
    with tarfile.open(fileobj=io.BytesIO(layer)) as archive:
        for entry in archive:
            file = archive.extractfile(entry) if entry.isreg() else None
            facts = (entry.type, oct(entry.mode), entry.uid, entry.gid, entry.linkname, sorted(entry.pax_headers))
            found[entry.name] = (*facts, file.read() if file else b"")
    return found


def test_a_build_of_docker_makes_the_layers_that_runc_makes(docker: Double, reference: Double, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(RECIPE)
    (tmp_path / "more").write_text("copied\n")
    by_runc, by_runx = build(reference, tmp_path), build(docker, tmp_path)
    assert len(by_runc) == 6
    assert any(name.endswith(".wh..wh..opq") or ".wh." in name for layer in by_runc for name in layer)
    for number, (expected, made) in enumerate(zip(by_runc, by_runx, strict=True)):
        assert made == expected, f"layer {number}"


def test_what_docker_shows_of_a_container_that_has_ended(docker: Double, tmp_path: Path) -> None:
    script = "cat /from-outside; echo written > /written; rm /bin/wget; mkdir /tmp/d; exit 3"
    run = [*DOCKER, "run", "--network", "none", "--name", "ended", IMAGE, "/bin/sh", "-c", script]
    assert docker.run(run, timeout=LIMIT_S).returncode == 3
    changed = docker.run([*DOCKER, "diff", "ended"], check=True, timeout=LIMIT_S).stdout.decode().split("\n")
    assert {"A /written", "D /bin/wget", "C /bin", "A /tmp/d", "C /tmp"} <= set(changed), changed
    copied = docker.run([*DOCKER, "cp", "ended:/written", "-"], check=True, timeout=LIMIT_S).stdout
    assert b"written\n" in copied
    exported = docker.run([*DOCKER, "export", "ended"], check=True, timeout=LIMIT_S).stdout
    with tarfile.open(fileobj=io.BytesIO(exported)) as archive:
        names = archive.getnames()
    assert "written" in names and "bin/wget" not in names and "bin/sh" in names
    docker.run([*DOCKER, "commit", "ended", "committed"], check=True, timeout=LIMIT_S)
    again = [*DOCKER, "run", "--rm", "--network", "none", "committed", "/bin/sh", "-c", "cat /written; ls -d /tmp/d /bin/wget"]
    assert docker.run(again, timeout=LIMIT_S).stdout == b"written\n/tmp/d\n"
    (tmp_path / "from-outside").write_text("from outside\n")
    docker.run([*DOCKER, "cp", str(tmp_path / "from-outside"), "ended:/"], check=True, timeout=LIMIT_S)
    assert docker.run([*DOCKER, "start", "--attach", "ended"], timeout=LIMIT_S).stdout == b"from outside\n"
    found = docker.run(["find", str(docker.directory / "docker"), "-name", "*runx-layer*"], check=True)
    assert found.stdout == b"", "the space of its layer is free"
    docker.run([*DOCKER, "rm", "ended"], check=True, timeout=LIMIT_S)


def build_by_podman(double: Double, scratch: str, image: Path, context: Path, runtime: str) -> list[dict[str, Any]]:
    """The layers of an image that podman has made, whose storage keeps each step's."""
    podman = ["podman", "--root", f"{scratch}/{runtime}", "--runroot", f"{scratch}/run-{runtime}", "--storage-driver", "overlay"]
    podman += ["--cgroup-manager", "cgroupfs", "--events-backend", "file", "--runtime", RUNX if runtime == "runx" else runtime]
    limits = ["--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024"]  # the double's guests have this machine's
    try:
        double.run([*podman, "load", "-i", str(image)], check=True, timeout=LIMIT_S)
        words = ["build", "--isolation", "oci", "--layers", "--no-cache", "--network", "none", *limits, "--tag", "built"]
        built = double.run([*podman, *words, str(context)], timeout=2 * LIMIT_S)
        assert built.returncode == 0, built
        return layers_of(double.run([*podman, "save", "built"], check=True, timeout=LIMIT_S).stdout)
    finally:
        double.run(["umount", "--recursive", f"{scratch}/{runtime}/overlay"])  # podman's own mount


def test_a_build_of_podman_makes_the_layers_that_runc_makes(double: Double, image: Path, scratch: str, tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text(RECIPE)
    (tmp_path / "more").write_text("copied\n")
    by_runc = build_by_podman(double, scratch, image, tmp_path, "runc")
    by_runx = build_by_podman(double, scratch, image, tmp_path, "runx")
    assert len(by_runc) == 6
    for number, (expected, made) in enumerate(zip(by_runc, by_runx, strict=True)):
        assert made == with_todays_modes(expected), f"layer {number}"


def with_todays_modes(layer: dict[str, Any]) -> dict[str, Any]:
    """What a runc since 1.1.14 makes. Files over which something is mounted had the mode 0755 before, and podman keeps them."""
    places = {"etc/hostname", "etc/hosts", "etc/resolv.conf"}
    return {
        name: (entry[0], oct(int(entry[1], 8) & ~0o111), *entry[2:]) if name in places else entry for name, entry in layer.items()
    }


def test_podman_commits_what_a_container_has_written(double: Double, image: Path, scratch: str) -> None:
    settings = Path(scratch) / "containers.conf"
    settings.write_text("[containers]\npids_limit = 0\n")
    podman = ["env", f"CONTAINERS_CONF={settings}", "podman", "--root", f"{scratch}/storage", "--runroot", f"{scratch}/run"]
    podman += ["--storage-driver", "overlay", "--storage-opt", "overlay.mountopt=metacopy=on"]
    podman += ["--cgroup-manager", "cgroupfs", "--events-backend", "file", "--runtime", RUNX]
    try:
        double.run([*podman, "load", "-i", str(image)], check=True, timeout=LIMIT_S)
        script = "chmod 700 /bin/busybox; mv /home /house; echo written > /written; exit 4"
        run = [*podman, "run", "--network", "none", "--name", "ended", IMAGE, "/bin/sh", "-c", script]
        result = double.run(run, timeout=LIMIT_S)
        assert result.returncode == 4, result.stderr
        double.run([*podman, "commit", "ended", "committed"], check=True, timeout=LIMIT_S)
        look = "cat /written; stat -c %a:%s /bin/busybox; ls -d /hom* /hou*/*"
        seen = double.run([*podman, "run", "--rm", "--network", "none", "committed", "/bin/sh", "-c", look], timeout=LIMIT_S)
        size = BUSYBOX.stat().st_size
        assert seen.stdout.decode() == f"written\n700:{size}\n/house/user\n", seen
        again = double.run([*podman, "start", "--attach", "ended"], timeout=LIMIT_S)
        assert again.returncode == 4 or b"/home" in again.stderr, again
        double.run([*podman, "rm", "ended"], check=True, timeout=LIMIT_S)
    finally:
        double.run(["umount", "--recursive", f"{scratch}/storage/overlay"])  # podman's own mount


@pytest.fixture
def bundle(double: Double, tmp_path: Path) -> Bundle:
    bundle = Bundle(double, tmp_path)
    bundle.config["annotations"] = {"org.runx.root.carrier": "disk"}
    return bundle


WRITE = "cat /left 2>&1; echo left >> /left; rm -f /etc/motd; mkdir -p /d; echo x > /d/y"


def log(bundle: Bundle) -> str:
    return (bundle.directory / "log").read_text()


def layers(double: Double) -> list[Path]:
    return list((double.directory / "images/layers").glob("*/runx-layer"))


def test_the_log_says_what_was_written_back(bundle: Bundle, double: Double) -> None:
    process = bundle.popen("echo ready; read line; echo left > /left")
    assert "is in its root filesystem on the host when it has ended" in log(bundle)
    assert not (bundle.directory / "rootfs/left").exists()
    process.communicate(b"end\n", timeout=LIMIT_S)
    assert '"wrote back 2 files, 0.0 MB in ' in log(bundle)
    assert (bundle.directory / "rootfs/left").read_text() == "left\n"


def test_a_host_that_is_full_keeps_the_layer(bundle: Bundle, double: Double) -> None:
    """The exit status tells of it. The next start has what the container wrote, whatever has come to the host before the error;
    once there is room, the host has it as well."""
    root = bundle.directory / "rootfs"
    prepare = 'mv "$1" "$1.old"; mkdir "$1"; mount -t tmpfs -o size=8m tmpfs "$1"; cp -a "$1.old/." "$1"'
    double.run(["sh", "-ec", prepare, "sh", str(root)], check=True)
    try:
        before = len(layers(double))
        result = bundle.sh(f"{WRITE}; dd if=/dev/urandom of=/big bs=1M count=12; md5sum < /big")
        assert result.returncode == 125, "not 0, or an engine would commit the root without it"
        sum_of_big = result.stdout.splitlines()[-1]
        assert "no space left on device; its layer stays" in log(bundle)
        assert len(layers(double)) == before + 1
        result = bundle.sh("cat /left /d/y; ls /etc/motd; md5sum < /big; ls -A / | grep runx")
        assert result.stdout == b"left\nx\n" + sum_of_big + b"\n", result
        double.run(["mount", "-o", "remount,size=100m", str(root)], check=True)
        assert bundle.sh("true").returncode == 0
        assert len(layers(double)) == before
        seen = double.run(["sh", "-c", f"cat {root}/left {root}/d/y; ls {root}/etc/motd; md5sum < {root}/big"]).stdout
        assert seen == b"left\nx\n" + sum_of_big + b"\n"
    finally:
        double.run(["umount", str(root)], check=True)


def test_signals_while_it_is_written_back(bundle: Bundle, double: Double) -> None:
    """TERM does nothing; the container still runs, as engines see it. KILL ends it: the layer stays, and nothing is lost."""
    before = len(layers(double))
    double.fault("no-late-shares")
    try:
        process = bundle.popen(f"echo ready; read line; {WRITE}")
        assert process.stdin
        process.stdin.write(b"end\n")
        process.stdin.flush()
        shares = f"/local/domain/{double.run(['xl', 'list']).stdout.decode().splitlines()[-1].split()[1]}/device/9pfs"
        until(lambda: b"tag" in double.run(["xenstore-ls", shares]).stdout)  # the guest has asked for the share
        assert bundle.runx("kill", "c", "TERM").returncode == 0
        assert json.loads(bundle.runx("state", "c", check=True).stdout)["status"] == "running"
        assert process.poll() is None
        assert bundle.runx("kill", "c", "KILL").returncode == 0
        process.communicate(timeout=LIMIT_S)
    finally:
        double.no_fault("no-late-shares")
    assert process.returncode == 0, "the status of its process, which had ended by itself"
    assert "SIGKILL came; its layer stays" in log(bundle)
    assert not (bundle.directory / "rootfs/left").exists() and len(layers(double)) == before + 1
    assert bundle.sh("cat /left").stdout == b"left\n"
    assert (bundle.directory / "rootfs/left").exists() and len(layers(double)) == before


def test_what_a_killed_process_has_written_comes_back(bundle: Bundle, double: Double) -> None:
    process = bundle.popen(f"{{ {WRITE}; }} > /dev/null; echo ready; exec sleep 1000")
    assert bundle.runx("kill", "c", "KILL").returncode == 0
    process.communicate(timeout=LIMIT_S)
    assert process.returncode == 137
    assert (bundle.directory / "rootfs/left").read_text() == "left\n" and not (bundle.directory / "rootfs/etc/motd").exists()


def test_what_was_left_in_the_middle_is_not_seen(bundle: Bundle) -> None:
    """The directory in which entries are made complete may be there if dom0's power failed."""
    scratch = bundle.directory / "rootfs/.runx-layer"
    scratch.mkdir(mode=0o700)
    (scratch / "new").write_text("half a file")
    assert bundle.sh("ls -A / | grep runx; echo end").stdout == b"end\n"
    assert not scratch.exists()
