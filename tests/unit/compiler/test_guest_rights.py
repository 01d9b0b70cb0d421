"""What a container's process cannot leave on the host, by its user and capabilities."""

import json

import pytest

from compiler_cases import TextFacts
from runx.compiler.diagnostics import CompileError
from runx.compiler.model.plan import Capabilities, Process
from runx.compiler.passes.shares import withheld
from runx.compiler.pipeline import Inputs, compile

DOCKER = ("CAP_CHOWN", "CAP_FSETID", "CAP_SETGID", "CAP_SETUID", "CAP_MKNOD", "CAP_SETFCAP")


def of(uid: int, *, bounding: tuple[str, ...] = (), ambient: tuple[str, ...] = (), locked: bool = False) -> set[str]:
    capabilities = Capabilities(bounding=bounding, permitted=bounding, effective=bounding, ambient=ambient, inheritable=ambient)
    process = Process(
        args=("x",), env=(), cwd="/", uid=uid, gid=uid, additional_gids=(), capabilities=capabilities, no_new_privileges=locked
    )
    return set(withheld(process))


@pytest.mark.parametrize(("uid", "locked"), [(0, False), (0, True), (1000, False)])
def test_a_process_that_may_be_root_is_held_to_the_bounding_set(uid: int, locked: bool) -> None:
    """A program of root's with set-id bits makes root of user 1000, unless no_new_privileges is set."""
    assert of(uid, bounding=DOCKER, locked=locked) == set()
    assert of(uid, bounding=("CAP_MKNOD",), locked=locked) == {"capabilities"}
    assert of(uid, bounding=("CAP_SETFCAP",), locked=locked) == {"devices"}
    assert of(uid, locked=locked) == {"devices", "capabilities"}


def test_a_process_that_is_never_root_is_held_to_what_it_keeps() -> None:
    """Engines give other users than root all their default capabilities, of which execve(2) leaves the ambient ones."""
    assert of(1000, bounding=DOCKER, locked=True) == {"devices", "set-id", "capabilities"}
    assert of(1000, bounding=DOCKER, ambient=("CAP_MKNOD",), locked=True) == {"set-id", "capabilities"}
    assert of(1000, bounding=DOCKER, ambient=("CAP_SETUID",), locked=True) == {"devices", "capabilities"}


def test_without_capabilities_there_are_none() -> None:
    process = Process(args=("x",), env=(), cwd="/", uid=0, gid=0, additional_gids=())
    assert set(withheld(process)) == {"devices", "capabilities"}


@pytest.mark.parametrize(
    ("mappings", "refused"),
    [
        ([], True),
        ([{"containerID": 0, "hostID": 100000, "size": 65536}], True),
        ([{"containerID": 0, "hostID": 0, "size": 1}], False),
    ],
)
def test_the_user_namespace_of_a_pod(mappings: list[dict[str, int]], refused: bool) -> None:
    """Its sandbox is runx's, which has none. What the engine has promised is in the mappings alone."""
    config = {
        "ociVersion": "1.3.0", "root": {"path": "r"}, "process": {"cwd": "/", "args": ["x"]},
        "annotations": {"io.kubernetes.cri.container-type": "container", "io.kubernetes.cri.sandbox-id": "abc"},
        "mounts": [{"destination": "/data", "type": "bind", "source": "/srv", "options": ["rbind", "ro"]}],
        "linux": {
            "namespaces": [{"type": "network"}, {"type": "user", "path": "/proc/1/ns/user"}],
            "uidMappings": mappings, "gidMappings": mappings,
        },
    }  # fmt: skip
    inputs = Inputs("/b", container_id="c", state_root="/r", assets="/a", facts=TextFacts(json.dumps(config)))
    if not refused:
        assert compile(inputs).plan.mounts[0].carrier == "9p"
        return
    with pytest.raises(CompileError, match="/data would have the host's ids"):
        compile(inputs)


@pytest.mark.parametrize("variables", [["RUNX_KERNEL=/k"], ["RUNX_RAMDISK=/k"], ["RUNX_KERNEL=/k", "RUNX_RAMDISK=/k"]])
def test_a_kubelets_file_is_no_hindrance(variables: list[str]) -> None:
    """Each container of Kubernetes has it, writable. The image's own guest must not write to it."""
    log = {
        "destination": "/dev/termination-log",
        "source": "/var/lib/kubelet/pods/3f1c/containers/c/0a1b",
        "options": ["rbind", "rw"],
    }
    config = {
        "ociVersion": "1.3.0", "root": {"path": "r"}, "process": {"cwd": "/", "args": ["x"], "env": variables},
        "mounts": [{"type": "bind", **log}], "linux": {"namespaces": [{"type": "network"}]},
    }  # fmt: skip
    facts = TextFacts(json.dumps(config), kinds={"root:/k": "file"})
    plan = compile(Inputs("/b", container_id="c", state_root="/r", assets="/a", facts=facts)).plan
    assert [(mount.carrier, mount.read_only) for mount in plan.mounts] == [("9p", True)]
    assert [notice.path for notice in plan.ignored if "RX318" in notice.id] == ["mounts[0]"]
