"""linux.resources.unified: files of cgroups version 2 that mean the same as another property, and those that do not."""

import json
from typing import Any

import pytest

from compiler_cases import TextFacts
from runx.compiler.diagnostics import CompileError
from runx.compiler.model.plan import VmPlan
from runx.compiler.pipeline import Compilation, Inputs, compile


def compiled(resources: dict[str, Any], version: str = "1.2.0") -> Compilation:
    config = {
        "ociVersion": version,
        "process": {"cwd": "/", "args": ["/x"]},
        "root": {"path": "rootfs"},
        "linux": {"namespaces": [{"type": "network"}], "resources": resources},
    }
    facts = TextFacts(json.dumps(config))
    return compile(Inputs("/bundle", container_id="box", state_root="/r", assets="/a", facts=facts))


def plan(resources: dict[str, Any], version: str = "1.2.0") -> VmPlan:
    """Without the notices."""
    return compiled(resources, version).plan.model_copy(update={"ignored": ()})


@pytest.mark.parametrize(
    ("unified", "same"),
    [
        ({"memory.max": "536870912"}, {"memory": {"limit": 512 << 20}}),
        ({"memory.max": " 512M\n"}, {"memory": {"limit": 512 << 20}}),
        ({"memory.max": "max"}, {"memory": {"limit": -1}}),
        ({"cpu.max": "150000 100000"}, {"cpu": {"quota": 150_000, "period": 100_000}}),
        ({"cpu.max": "25000 50000"}, {"cpu": {"quota": 25_000, "period": 50_000}}),
        ({"cpu.max": "200000"}, {"cpu": {"quota": 200_000}}),
        ({"cpu.max": "max 100000"}, {"cpu": {"quota": -1, "period": 100_000}}),
        ({"cpu.weight": "100"}, {"cpu": {"shares": 1024}}),
        ({"cpu.weight": "50"}, {"cpu": {"shares": 512}}),
        ({"cpu.weight": "1"}, {"cpu": {"shares": 10}}),
        ({"cpuset.cpus": "0-2,5"}, {"cpu": {"cpus": "0-2,5"}}),
        ({"cpuset.cpus": ""}, {}),
        ({"pids.max": "100"}, {"pids": {"limit": 100}}),
        ({"pids.max": "max"}, {"pids": {"limit": -1}}),
        # runc writes these files last.
        ({"memory.max": "512M", "pids.max": "max"}, {"memory": {"limit": 512 << 20}, "pids": {"limit": -1}}),
    ],
)
def test_a_file_and_the_property_with_the_same_meaning(unified: dict[str, str], same: dict[str, Any]) -> None:
    before = {"memory": {"limit": 300 << 20}, "pids": {"limit": 7}}
    assert plan({"unified": unified}) == plan(same)
    assert plan({**before, "unified": unified}) == plan({**before, **same})


def test_no_tasks_at_all_is_a_limit_in_any_version() -> None:
    """As of the kernel's file; pids.limit 0 is one since version 1.3."""
    assert plan({"unified": {"pids.max": "0"}}).process.pids_limit == 0
    assert plan({"pids": {"limit": 0}}).process.pids_limit is None
    assert plan({"pids": {"limit": 0}}, "1.3.0").process.pids_limit == 0


def test_what_goes_before_what_is_listed() -> None:
    result = compiled(
        {"memory": {"limit": 300 << 20}, "cpu": {"shares": 512}, "unified": {"memory.max": "1G", "cpu.weight": "50"}}
    )
    listed = {entry.path: entry.reason for entry in result.plan.ignored}
    assert listed["linux.resources.memory.limit"] == 'linux.resources.unified["memory.max"] goes before it'
    assert "linux.resources.cpu.shares" not in listed, "both say the same"


@pytest.mark.parametrize(
    ("file", "text", "fault"),
    [
        ("memory.max", "10M", "RX436"),
        ("cpu.max", "1 100000", "RX432"),
        ("cpu.max", "9000000 1000", "RX431"),
        ("cpu.max", "max", ""),
    ],
)
@pytest.mark.parametrize("before", [{}, {"memory": {"limit": 300 << 20}, "cpu": {"quota": 5}}], ids=["alone", "beside"])
def test_notices_are_at_the_file(file: str, text: str, fault: str, before: dict[str, Any]) -> None:
    ignored = compiled({**before, "unified": {file: text}}).plan.ignored
    found = [entry.path for entry in ignored if entry.id == fault]
    assert found == ([f'linux.resources.unified["{file}"]'] if fault else [])


def test_a_fault_is_at_the_file() -> None:
    with pytest.raises(CompileError) as caught:
        compiled({"unified": {"cpuset.cpus": "x"}})
    assert [fault.path for fault in caught.value.diagnostics] == [("linux", "resources", "unified", "cpuset.cpus")]


def test_files_without_a_meaning_here_are_listed() -> None:
    files = {"memory.high": "1G", "memory.oom.group": "1", "io.max": "8:0 rbps=1", "hugetlb.2MB.rsvd.max": "0", "cpu.idle": "1"}
    listed = {entry.path: entry.id for entry in compiled({"unified": {**files, "memory.max": "1G"}}).plan.ignored}
    assert {path for path, fault in listed.items() if fault == "RX435"} == {
        f'linux.resources.unified["{name}"]' for name in files
    }


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("memory.max", "lots", '"lots": neither a number nor max'),
        ("memory.max", "-1", "neither a number nor max"),
        ("memory.max", "0", "0 is no memory"),
        ("memory.max", "9999999999T", "neither a number nor max"),
        ("memory.max", "", '"": neither a number nor max'),
        ("cpu.max", "1 2 3", "neither a number nor max"),
        ("cpu.max", "1000 0", "0 is no time"),
        ("cpu.max", "1k", "neither a number nor max"),
        ("cpu.weight", "0", "not a weight from 1 to 10000"),
        ("cpu.weight", "max", "not a weight from 1 to 10000"),
        ("pids.max", "a", "neither a number nor max"),
        ("a/b", "1", "not the name of a file of a control group"),
        ("../memory.max", "1", "not the name of a file of a control group"),
    ],
)
def test_texts_that_mean_nothing_are_errors(name: str, text: str, message: str) -> None:
    with pytest.raises(CompileError) as caught:
        compiled({"unified": {name: text}})
    (fault,) = caught.value.diagnostics
    assert (fault.id, fault.path) == ("RX433", ("linux", "resources", "unified", name))
    assert message in fault.message
