"""A pod that is one machine: the limits of its containers, in the guest, and how they change."""

import json
from types import SimpleNamespace
from typing import Any

import pytest

from runx.compiler.diagnostics import Report
from runx.compiler.model.request import Limits
from runx.compiler.passes.pods import control_group, opens_all_devices
from runx.compiler.passes.update import change_joined, kept_of_joined

NO_LIMITS = Limits(None, None, 100_000, None, None)


def test_no_limits_are_no_files() -> None:
    assert control_group(NO_LIMITS, None) == ()


@pytest.mark.parametrize(("shares", "weight"), [(2, "1"), (1024, "39"), (262144, "10000"), (0, "1"), (1 << 40, "10000")])
def test_shares_are_a_weight_as_under_runc(shares: int, weight: str) -> None:
    assert control_group(NO_LIMITS._replace(cpu_shares=shares), None) == (("cpu.weight", weight),)


def test_all_limits() -> None:
    limits = NO_LIMITS._replace(memory_bytes=1 << 26, cpu_quota_us=50_000)
    assert control_group(limits, 0) == (("memory.max", "67108864"), ("cpu.max", "50000 100000"), ("pids.max", "0"))


def change(kept: dict[str, object], asked: dict[str, object]) -> tuple[object, dict[str, str], Report]:
    report = Report()
    after, files = change_joined({"resources": kept}, asked, report)
    return after["resources"], dict(files), report


def test_a_change_writes_what_it_is_about_alone() -> None:
    kept = {"memory": {"limit": 1 << 26}, "cpu": {"quota": 50_000, "period": 100_000}}
    after, files, report = change(kept, {"memory": {"limit": 1 << 27}})
    assert files == {"memory.max": "134217728"}
    assert after == {**kept, "memory": {"limit": 1 << 27}}
    assert not report.notices and not report.errors
    assert change(kept, {"cpu": {"quota": 20_000}})[1] == {"cpu.max": "20000 100000"}


def test_a_limit_goes_away() -> None:
    kept = {"memory": {"limit": 1 << 26}, "cpu": {"quota": 50_000}, "pids": {"limit": 5}}
    asked = {"memory": {"limit": -1}, "cpu": {"quota": -1}, "pids": {"limit": -1}}
    assert change(kept, asked)[1] == {"memory.max": "max", "cpu.max": "max 100000", "pids.max": "max"}


def test_what_asks_for_nothing_changes_nothing() -> None:
    """Engines send zeros for the limits that are to stay."""
    kept = {"memory": {"limit": 1 << 26}, "cpu": {"quota": 50_000, "period": 50_000, "shares": 512}, "pids": {"limit": 5}}
    asked = {"memory": {"limit": 0, "swap": 0}, "cpu": {"quota": 20_000, "period": 0, "shares": 0}, "pids": {"limit": 0}}
    after, files, report = change(kept, asked)
    assert after == {**kept, "cpu": {"quota": 20_000, "period": 50_000, "shares": 512}}
    assert files == {"cpu.max": "20000 50000"}
    assert not report.notices and not report.errors


def test_limits_of_unified_stay_too() -> None:
    kept = json.loads(kept_of_joined({"unified": {"cpu.max": "50000 100000", "memory.max": "64m"}}))["resources"]
    assert change(kept, {"cpu": {"shares": 1024}})[1] == {"cpu.weight": "39"}
    assert change(kept, {"cpu": {"period": 50_000}})[1] == {"cpu.max": "50000 50000"}
    assert change(kept, {"unified": {"memory.max": "128m"}})[1] == {"memory.max": "134217728"}


def test_what_cannot_be_changed_is_told() -> None:
    _, files, report = change({}, {"cpu": {"cpus": "0-1"}, "memory": {"limit": 1 << 26}})
    assert files == {"memory.max": "67108864"}
    assert list(report.notices) == [("cpu", "cpus")]


def test_a_wrong_type_changes_nothing() -> None:
    _, files, report = change({}, {"memory": {"limit": "much"}})
    assert files == {} and report.errors


_ALL = {"allow": True, "access": "rwm"}
_NONE = {"allow": False, "access": "rwm"}
_ONE = {"allow": True, "type": "c", "major": 10, "minor": 200, "access": "rwm"}


@pytest.mark.parametrize(
    ("rules", "all_of_them"),
    [
        (None, False),
        ([], False),
        ([_NONE, _ONE], False),
        ([_ALL], True),
        ([{"allow": True}], True),
        ([{"allow": True, "type": "a", "major": -1, "minor": -1, "access": "rwm"}], True),
        ([_NONE, _ALL, _ONE], True),
        ([_ALL, _NONE], False),
        ([_NONE, {"allow": True, "type": "c", "access": "m"}, {"allow": True, "type": "b", "access": "m"}], False),
        ([_NONE, {"allow": True, "access": "m"}], False),
        ([_NONE, {"allow": True, "type": "b", "access": "rwm"}], False),
    ],
)
def test_which_rules_allow_all_devices(rules: Any, all_of_them: bool) -> None:
    document = {"linux": {"resources": {} if rules is None else {"devices": rules}}}
    assert opens_all_devices(SimpleNamespace(document=document)) == all_of_them  # type: ignore[arg-type]
