"""docs/plan.schema.json: current, and true of every plan."""

import copy
import json
from typing import Any

import pytest

from compiler_cases import SNAPSHOTS, TESTS
from json_schema import faults
from runxtools.plan_schema import page

FILE = TESTS.parent / "docs/plan.schema.json"
SCHEMA: dict[str, Any] = json.loads(FILE.read_text())
PLANS = sorted(SNAPSHOTS.glob("*/plan.json"))


def test_the_schema_is_current() -> None:
    """If not: make docs"""
    assert FILE.read_text() == page()


@pytest.mark.parametrize("path", PLANS, ids=lambda path: path.parent.name)
def test_every_plan_is_valid(path: Any) -> None:
    assert not list(faults(json.loads(path.read_text()), SCHEMA, SCHEMA))


def test_the_schema_has_fields_and_their_documentation() -> None:
    domain = SCHEMA["$defs"]["Domain"]["properties"]
    assert domain["cpus"]["description"] == "CPUs of the host that the virtual ones are pinned to, `0-3,7`; null: any."
    assert SCHEMA["required"] == list(SCHEMA["properties"]) and "version" in SCHEMA["required"]
    assert SCHEMA["additionalProperties"] is False


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda plan: plan.pop("root"), "$: root is missing"),
        (lambda plan: plan.update(colour=1), "$: colour is too much"),
        (lambda plan: plan["domain"].update(vcpus="1"), "$.domain.vcpus: '1' is no integer"),
        (lambda plan: plan["domain"].update(vcpus=True), "$.domain.vcpus: True is no integer"),
        (lambda plan: plan["domain"].update(memory_mib=-1), "$.domain.memory_mib: -1 is less than 0"),
        (lambda plan: plan["root"].update(layer_mib=-5), "$.root.layer_mib: -5 is less than 0"),
        (lambda plan: plan["domain"].update(type="hvm"), "$.domain.type: 'hvm' is none of ['pv', 'pvh']"),
        (lambda plan: plan.update(annotations=[["a"]]), "$.annotations[0]: 1 items"),
        (lambda plan: plan["mounts"][0].update(flags=[3]), "$.mounts[0].flags[0]: 3 is no string"),
    ],
)
def test_a_wrong_plan_is_found(change: Any, words: str) -> None:
    plan = copy.deepcopy(json.loads((SNAPSHOTS / "ctr-plain/plan.json").read_text()))
    change(plan)
    assert words in list(faults(plan, SCHEMA, SCHEMA))
