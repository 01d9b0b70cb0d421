"""Who decides whether more processes can be started in a container, and whether its clock is kept."""

import json
from typing import Any

import pytest

from compiler_cases import TextFacts
from runx.compiler.diagnostics import CompileError
from runx.compiler.model.plan import VmPlan
from runx.compiler.pipeline import Inputs, compile

ALLOWED = "[policy]\nexec = true\n"


class Facts(TextFacts):
    """A host with a runx.toml."""

    def __init__(self, config: dict[str, Any], toml: str) -> None:
        super().__init__(json.dumps(config), {"root:/r": "file"})
        self.toml = toml

    def host_config(self) -> Any:
        return ("runx.toml", self.toml.encode()) if self.toml else None


def plan(toml: str, **annotations: str) -> VmPlan:
    config = {
        "ociVersion": "1.2.0",
        "root": {"path": "rootfs"},
        "process": {"cwd": "/", "args": ["sh"]},
        "linux": {"namespaces": [{"type": kind} for kind in ("pid", "network", "ipc", "uts", "mount")]},
        "annotations": {f"org.runx.{name}": value for name, value in annotations.items()},
    }
    return compile(Inputs("/b", container_id="c", state_root="/s", assets="/a", facts=Facts(config, toml))).plan


@pytest.mark.parametrize(
    ("toml", "annotations", "allowed"),
    [
        ("", {}, False),
        (ALLOWED, {}, True),
        (ALLOWED, {"exec": "true"}, True),
        (ALLOWED, {"exec": "false"}, False),
        ("", {"exec": "false"}, False),
    ],
)
def test_the_annotation_only_narrows(toml: str, annotations: dict[str, str], allowed: bool) -> None:
    assert plan(toml, **annotations).exec == allowed


@pytest.mark.parametrize(
    ("toml", "value", "message"),
    [
        ("", "true", "not allowed by policy.exec (default)"),
        ("[policy]\nexec = false\n", "true", "not allowed by policy.exec (runx.toml:2)"),
        (ALLOWED, "yes", '"yes" is neither true nor false'),
        (ALLOWED + "annotations = []\n", "true", "not allowed by policy.annotations (runx.toml:3)"),
    ],
)
def test_what_is_refused(toml: str, value: str, message: str) -> None:
    with pytest.raises(CompileError) as caught:
        plan(toml, exec=value)
    assert message in caught.value.message


def test_a_ramdisk_of_the_containers_own_has_no_exec() -> None:
    made = plan(ALLOWED, ramdisk="/r", exec="true")
    assert not made.exec
    assert "RX717" in [notice.id for notice in made.ignored]


OFF = "[defaults]\nsync_clock = false\n"


@pytest.mark.parametrize(
    ("toml", "annotations", "kept"),
    [
        ("", {}, True),
        (OFF, {}, False),
        ("", {"sync_clock": "false"}, False),
        (OFF, {"sync_clock": "true"}, True),
        ("", {"ramdisk": "/r"}, False),
    ],
)
def test_the_annotation_goes_before_the_setting_of_the_clock(toml: str, annotations: dict[str, str], kept: bool) -> None:
    assert plan(toml, **annotations).sync_clock == kept


@pytest.mark.parametrize(
    ("toml", "value", "message"),
    [
        ("", "yes", '"yes" is neither true nor false'),
        ("[policy]\nannotations = []\n", "true", "not allowed by policy.annotations (runx.toml:2)"),
    ],
)
def test_words_about_the_clock_that_are_refused(toml: str, value: str, message: str) -> None:
    with pytest.raises(CompileError) as caught:
        plan(toml, sync_clock=value)
    assert message in caught.value.message


def test_nobody_keeps_the_clock_beside_a_ramdisk_of_the_containers_own() -> None:
    assert "RX241" in [notice.id for notice in plan("", ramdisk="/r", sync_clock="true").ignored]
    assert "RX241" not in [notice.id for notice in plan("", ramdisk="/r").ignored]
