"""Sets of capabilities that Linux does not give: what becomes of them in the plan."""

import json

import pytest

from compiler_cases import TextFacts
from runx.compiler.diagnostics import CompileError
from runx.compiler.model.plan import VmPlan
from runx.compiler.pipeline import Inputs, compile

CHOWN, KILL = "CAP_CHOWN", "CAP_KILL"


def plan(**sets: list[str]) -> VmPlan:
    config = {
        "ociVersion": "1.2.0",
        "root": {"path": "rootfs"},
        "process": {"cwd": "/", "args": ["/bin/sh"], "capabilities": sets},
        "linux": {"namespaces": [{"type": "network"}]},
    }
    return compile(Inputs("/b", container_id="c", state_root="/r", assets="/a", facts=TextFacts(json.dumps(config)))).plan


def test_an_ambient_capability_that_is_not_inheritable_is_left_out() -> None:
    """As buildah 1.28 asks for."""
    made = plan(bounding=[CHOWN, KILL], permitted=[CHOWN, KILL], inheritable=[KILL], ambient=[CHOWN, KILL])
    assert made.process.capabilities and made.process.capabilities.ambient == (KILL,)
    reasons = {entry.path: entry.reason for entry in made.ignored}
    assert reasons["process.capabilities.ambient[0]"] == "Linux gives CAP_CHOWN only if it is inheritable too"


@pytest.mark.parametrize(
    ("sets", "place", "lacking"),
    [
        ({"bounding": [CHOWN], "effective": [CHOWN]}, "effective[0]", "permitted"),
        ({"permitted": [CHOWN], "inheritable": [CHOWN]}, "inheritable[0]", "bounding"),
    ],
)
def test_what_linux_refuses(sets: dict[str, list[str]], place: str, lacking: str) -> None:
    with pytest.raises(CompileError, match=f"Linux gives CAP_CHOWN only if it is {lacking} too") as caught:
        plan(**sets)
    assert f"process.capabilities.{place}" in str(caught.value)


def test_an_unknown_capability_is_reported_once() -> None:
    made = plan(ambient=["CAP_NONE"], effective=["CAP_NONE"])
    assert len([entry for entry in made.ignored if "capabilities" in entry.path]) == 2
