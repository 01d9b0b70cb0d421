"""The configurations of docs/engines.md, checked by the engines that they are for."""

import json
import re
import tomllib
from pathlib import Path

import pytest

from engines import containerd_version, docker_version
from runxtools.checkout import CHECKOUT
from runxtools.double.host import Double
from runxtools.testing.containers import RUNX

DOCUMENT = CHECKOUT / "docs/engines.md"
PLUGINS = {2: "io.containerd.grpc.v1.cri", 3: "io.containerd.cri.v1.runtime"}
"""containerd's CRI plugin, by the version of the configuration."""


def configuration(heading: str) -> str:
    """The first indented block under a heading of the document."""
    section = re.split(r"^#+ ", DOCUMENT.read_text(), flags=re.MULTILINE)
    (text,) = (part for part in section if part.partition("\n")[0] == heading)
    lines: list[str] = []
    for line in text.splitlines()[1:]:
        if line.startswith("    ") or (lines and not line):
            lines.append(line.removeprefix("    "))
        elif lines:
            break
    assert lines, heading
    return "\n".join(lines).strip() + "\n"


def written(double: Double, scratch: str, name: str, heading: str) -> str:
    """Path of a file with a configuration."""
    path = f"{scratch}/{name}"
    double.run(["sh", "-c", 'cat > "$1"', "sh", path], stdin=configuration(heading).encode(), check=True)
    return path


@pytest.mark.parametrize(("heading", "version"), [("containerd 1.6 and 1.7", 2), ("containerd 2", 3)])
def test_containerd(double: Double, scratch: str, heading: str, version: int) -> None:
    """containerd 2 reads the older version too, and moves the runtime to the plugin's new name."""
    path = written(double, scratch, "config.toml", heading)
    result = double.run(["containerd", "--config", path, "config", "dump"])
    if containerd_version(double) < (version - 1,):
        # 1.7 refuses it, 1.6 does not look at the version and leaves the plugin's table out.
        assert result.returncode or RUNX.encode() not in result.stdout
        return
    assert result.returncode == 0, result.stderr
    dumped = tomllib.loads(result.stdout.decode())
    assert dumped["version"] == (3 if containerd_version(double) >= (2,) else 2)
    runtime = dumped["plugins"][PLUGINS[dumped["version"]]]["containerd"]["runtimes"]["runx"]
    assert runtime["runtime_type"] == "io.containerd.runc.v2"
    assert runtime["options"] == {"BinaryName": RUNX}
    # What containerd has filled in: it has understood the table as a runtime's.
    assert runtime["pod_annotations"] == []
    assert runtime["runtime_path"] == ""
    assert runtime.get("sandboxer", "") in ("", "podsandbox")


@pytest.mark.parametrize("heading", ["docker, all versions", "docker 23 and newer"])
def test_docker(double: Double, scratch: str, heading: str) -> None:
    """The two forms are used by test_docker_here.py as well: only a starting daemon looks at what runtimes have."""
    if docker_version(double) < (23,):
        pytest.skip("this dockerd has no --validate")
    path = written(double, scratch, "daemon.json", heading)
    validate = ["dockerd", "--validate", "--config-file", path]
    result = double.run(validate)
    assert result.returncode == 0, result.stderr
    double.run(["sed", "-i", 's/"runtimes"/"runtime"/', path], check=True)
    assert b"don't match any configuration option: runx" in double.run(validate).stderr


def test_podman(double: Double, scratch: str) -> None:
    path = written(double, scratch, "containers.conf", "containers.conf")
    storage = ["--root", f"{scratch}/storage", "--runroot", f"{scratch}/run", "--storage-driver", "vfs"]
    words = ["env", f"CONTAINERS_CONF={path}", "podman", *storage, "--cgroup-manager", "cgroupfs", "info", "--format", "json"]
    result = double.run(words)
    assert result.returncode == 0, result.stderr
    runtime = json.loads(result.stdout)["host"]["ociRuntime"]
    assert (runtime["name"], runtime["path"]) == ("runx", RUNX)
    assert "runx version" in runtime["version"]


def test_crio() -> None:
    """No parser of cri-o's is here."""
    (name, runtime), *others = tomllib.loads(configuration("cri-o"))["crio"]["runtime"]["runtimes"].items()
    assert not others and name == "runx"
    assert runtime == {
        "runtime_path": RUNX, "runtime_type": "oci", "runtime_root": "/run/runx", "monitor_path": "/usr/bin/conmon",
    }  # fmt: skip


def test_kubernetes() -> None:
    """No parser of it is here either: the handler is what the test of pods names."""
    assert "\nhandler: runx\n" in configuration("Kubernetes")
    assert 'handler: str = "runx"' in Path(CHECKOUT / "tests/shared/pods.py").read_text()
