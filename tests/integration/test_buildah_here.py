"""buildah builds images with runx: RUN in a container of a virtual machine, whose changes the image has."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from engine_tests import IMAGE
from engines import BUSYBOX
from runxtools import ociimage
from runxtools.double.host import Double
from runxtools.testing.containers import LIMIT_S, RUNX

# buildah asks for more than the machine of the tests may give: the double's guests have its limits.
LIMITS = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024")


@pytest.fixture(params=["vfs", "overlay"])
def buildah(double: Double, scratch: str, request: pytest.FixtureRequest) -> Iterator[list[str]]:
    """buildah's command line, with its own storage that has the test image."""
    storage = ["--root", f"{scratch}/storage", "--runroot", f"{scratch}/run", "--storage-driver", request.param]
    command = ["env", "BUILDAH_ISOLATION=oci", "buildah", *storage]
    ociimage.write(Path(scratch) / "image.tar", BUSYBOX, IMAGE)
    double.run([*command, "pull", f"oci-archive:{scratch}/image.tar"], check=True, timeout=LIMIT_S)
    yield command
    double.run([*command, "rm", "--all"], check=True, timeout=LIMIT_S)
    assert len(double.run(["xl", "list"], check=True).stdout.splitlines()) == 2, "a header and dom0"


def test_a_container(double: Double, buildah: list[str]) -> None:
    container = double.run([*buildah, "from", *LIMITS, IMAGE], check=True).stdout.decode().strip()
    script = "echo out; echo err >&2; ip -o link show eth0 | wc -l; exit 3"
    run = [*buildah, "run", "--runtime", RUNX, container, "/bin/sh", "-c", script]
    result = double.run(run, timeout=LIMIT_S)
    assert (result.returncode, result.stdout) == (3, b"out\n1\n"), result
    assert result.stderr.startswith(b"err\n"), result


def test_an_image(double: Double, buildah: list[str], scratch: str) -> None:
    """Each step sees what the one before has written, and so does who uses the image."""
    recipe = f"FROM {IMAGE}\nRUN mkdir /made && echo built > /made/file && chown 12:34 /made/file\nRUN rm /bin/wget\n"
    double.run(["sh", "-c", 'mkdir "$1" && cat > "$1/Dockerfile"', "sh", f"{scratch}/context"], stdin=recipe.encode(), check=True)
    build = [*buildah, "build", *LIMITS, "--runtime", RUNX, "--network", "none", "--tag", "built"]
    result = double.run([*build, f"{scratch}/context"], timeout=LIMIT_S)
    assert result.returncode == 0, result.stderr
    container = double.run([*buildah, "from", "built"], check=True).stdout.decode().strip()
    there = double.run([*buildah, "mount", container], check=True).stdout.decode().strip()
    found = double.run(["sh", "-c", f"cd {there} && cat made/file && stat -c %u:%g made/file && ls bin/wget"])
    assert found.stdout == b"built\n12:34\n", found
