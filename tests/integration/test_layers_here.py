"""Layers as engines' stores have them: images of many layers, and layers that an engine makes for one container."""

import json
import os
import re
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from engines import BUSYBOX, DOCKER, start_containerd, start_dockerd
from runxtools import ociimage
from runxtools.double.host import Double
from runxtools.testing.containers import LIMIT_S, RUNX, command, new_id

MANY = "localhost/runx-test-many:latest"
_LAYERS = 120
_LOOK = ["/bin/sh", "-c", "ls /many | wc -l; cat /top"]
_SEEN = b"119\n119\n"
"""Output of _LOOK in a container of MANY: a file of each layer on the first one, and a file that each of them has."""


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tar file of an image whose layers' names take more than the page that a mount's options have."""
    path = tmp_path_factory.mktemp("many") / "image.tar"
    more = [{f"many/{number}": b"x", "top": b"%d\n" % number} for number in range(1, _LAYERS)]
    ociimage.write(path, BUSYBOX, MANY, more=more)
    return path


def bases(double: Double) -> set[str]:
    """Names of kept images. All of them are bases: those of one container alone go with its creation."""
    directory = double.directory / "images/images"
    return set(os.listdir(directory)) if directory.exists() else set()


def _made_by(double: Double, *argv: list[str]) -> set[str]:
    """Bases that containers with _LOOK made, which are run one after the other."""
    before = bases(double)
    for words in argv:
        result = double.run(words, timeout=LIMIT_S)
        assert (result.returncode, result.stdout) == (0, _SEEN), result
    return bases(double) - before


def test_many_layers_of_containerd(host: Double, many: Path) -> None:
    host.run(["ctr", "image", "import", str(many)], check=True, timeout=LIMIT_S)
    assert len(_made_by(host, *(command(_LOOK, image=MANY) for _ in range(2)))) == 1


def test_many_layers_of_podman(double: Double, many: Path, scratch: str) -> None:
    settings = Path(scratch) / "containers.conf"
    settings.write_text("[containers]\npids_limit = 0\n")
    podman = ["env", f"CONTAINERS_CONF={settings}", "podman", "--root", f"{scratch}/storage", "--runroot", f"{scratch}/run"]
    podman += ["--storage-driver", "overlay", "--cgroup-manager", "cgroupfs", "--events-backend", "file", "--runtime", RUNX]
    double.run([*podman, "load", "-i", str(many)], check=True, timeout=LIMIT_S)
    run = [*podman, "run", "--rm", "--network", "none", MANY, *_LOOK]
    try:
        assert len(_made_by(double, run, run)) == 1
    finally:
        double.run(["umount", "--recursive", f"{scratch}/storage/overlay"])  # podman's own mount


_EROFS_CONFIG = """
version = 3
disabled_plugins = ["io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime", "io.containerd.grpc.v1.cri"]
[plugins."io.containerd.service.v1.diff-service"]
  default = ["erofs", "walking"]
"""


@pytest.fixture(scope="module")
def with_erofs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Double]:
    """A double with containerd, which keeps layers as EROFS images."""
    with Double() as double:
        version = double.run(["containerd", "--version"], check=True).stdout.decode().split()[2].lstrip("v")
        if tuple(map(int, re.findall(r"\d+", version)[:2])) < (2, 1):
            pytest.skip(f"containerd {version} is older than 2.1 and has no snapshotter for EROFS")
        config = tmp_path_factory.mktemp("erofs") / "config.toml"
        config.write_text(_EROFS_CONFIG)
        start_containerd(double, config)
        yield double


def _in_erofs(double: Double, tmp_path: Path, name: str, layers: int) -> list[str]:
    """The command of a container of a new image with that many layers."""
    more = [{f"many/{number}": b"x", "top": b"%d\n" % number} for number in range(1, layers)]
    ociimage.write(tmp_path / "image.tar", BUSYBOX, name, more=more)
    snapshotter = ["--snapshotter", "erofs"]
    double.run(["ctr", "image", "import", "--local", *snapshotter, str(tmp_path / "image.tar")], check=True, timeout=LIMIT_S)
    return command(_LOOK, snapshotter, image=name)


def test_layers_that_are_erofs_images(with_erofs: Double, tmp_path: Path) -> None:
    """They are the guest's disks, and nothing is copied."""
    words = _in_erofs(with_erofs, tmp_path, "localhost/runx-test-erofs:latest", 5)
    result = with_erofs.run(words, timeout=LIMIT_S)
    assert (result.returncode, result.stdout) == (0, b"4\n4\n"), result
    assert bases(with_erofs) == set()


def test_more_erofs_images_than_disks(with_erofs: Double, tmp_path: Path) -> None:
    words = _in_erofs(with_erofs, tmp_path, "localhost/runx-test-many-erofs:latest", 60)
    for _ in range(2):
        result = with_erofs.run(words, timeout=LIMIT_S)  # with --rm, so that its name is free again
        assert (result.returncode, result.stdout) == (0, b"59\n59\n"), result
    assert len(bases(with_erofs)) == 1


STORES = {
    "image-store": {"features": {"containerd-snapshotter": True}},
    "graph-driver": {"storage-driver": "overlay2"},
}


@pytest.fixture(scope="module", params=STORES)
def docker(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, many: Path) -> Iterator[Double]:
    """A double with docker, whose images are in containerd's store or in docker's own."""
    with Double() as double:
        start_dockerd(double, STORES[request.param])
        info = double.run([*DOCKER, "info", "--format", "{{json .DriverStatus}}"], check=True, timeout=LIMIT_S).stdout
        kept_by_containerd = ["driver-type", "io.containerd.snapshotter.v1"] in json.loads(info)
        if request.param == "image-store" and not kept_by_containerd:
            pytest.skip("this docker is older than 23 and cannot keep images in containerd's store")
        assert kept_by_containerd == (request.param == "image-store"), info
        image = tmp_path_factory.mktemp("docker") / "image.tar"
        ociimage.write(image, BUSYBOX)
        for path in (image, many):
            double.run([*DOCKER, "load", "-i", str(path)], check=True, timeout=LIMIT_S)
        yield double


def _run(*words: str) -> list[str]:
    return [*DOCKER, "run", "--network", "none", *words]


def test_one_base_for_all_containers_of_an_image(docker: Double) -> None:
    """Docker puts a layer of its own on the image's for each container: the container sees it, and the base has no part of it."""
    before = bases(docker)
    script = "cat /etc/motd; ls -A / | grep -c '^.dockerenv$'; readlink /etc/mtab; hostname > /mine; ls /mine"
    with ThreadPoolExecutor(2) as pool:
        jobs = [pool.submit(docker.run, _run("--rm", ociimage.NAME, "/bin/sh", "-c", script), timeout=LIMIT_S) for _ in range(10)]
        results = [job.result() for job in jobs]
    for result in results:
        assert (result.returncode, result.stdout) == (0, b"runx test image\n1\n/proc/mounts\n/mine\n"), result
    assert len(bases(docker) - before) == 1


def test_many_layers_of_docker(docker: Double) -> None:
    assert len(_made_by(docker, *(_run("--rm", MANY, *_LOOK) for _ in range(2)))) == 1


def test_a_container_of_docker_that_is_started_again(docker: Double) -> None:
    name = new_id()
    first = docker.run(_run("--name", name, ociimage.NAME, "/bin/sh", "-c", "cat /kept; echo kept >> /kept"), timeout=LIMIT_S)
    assert b"No such file" in first.stderr, first
    second = docker.run([*DOCKER, "start", "--attach", name], timeout=LIMIT_S)
    assert (second.returncode, second.stdout) == (0, b"kept\n"), second
    docker.run([*DOCKER, "rm", name], check=True, timeout=LIMIT_S)
