"""The IDs of faults and notices: every report has one, docs/faults.md has all of them, and `runx plan` shows them."""

import ast
import re
from pathlib import Path

import pytest

from compiler_cases import TESTS, TextFacts, all_cases
from runx.compiler.diagnostics import CompileError, Report
from runx.compiler.pipeline import Inputs, compile
from runx.errors import RunxError
from runxtools.fault_table import AREAS, FAULTS, MODULES, is_fault_id, name_of, page, uses

REPORTS = {"error": 0, "ignore": 0, "Diagnostic": 0, "CniFault": 0, "fail": 0, "fault": 0}
"""Functions that report, and the argument that is the ID."""


def calls(tree: ast.AST) -> list[tuple[str, ast.Call]]:
    found = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
            found.append((name, node))
    return found


@pytest.mark.parametrize("path", MODULES, ids=name_of)
def test_every_report_has_an_id(path: Path) -> None:
    """As a literal, or a variable called id, ids or fault_id that was given one."""
    for name, call in calls(ast.parse(path.read_text())):
        given = call.args[:1] if name in REPORTS else call.args[2:3]
        if name == "RunxError":
            given = given or [keyword.value for keyword in call.keywords if keyword.arg == "fault_id"]
        elif name not in REPORTS:
            continue
        where = f"{path}:{call.lineno}"
        assert given, where
        (value,) = given
        if isinstance(value, ast.Constant):
            assert is_fault_id(value.value), where
        else:
            assert re.fullmatch(r"(\w+\.)?(fault_id|ids?)", ast.unparse(value)), where


def test_the_table_has_every_id_and_no_other() -> None:
    assert set(FAULTS) == {use.fault_id for use in uses()}


def test_ids_are_unique_and_in_order() -> None:
    source = ast.parse((TESTS.parent / "tools/runxtools/fault_table.py").read_text())
    keys = [node.value for node in ast.walk(source) if isinstance(node, ast.Constant) and is_fault_id(node.value)]
    assert keys == sorted(set(keys)) == list(FAULTS)
    assert {key[:3] for key in FAULTS} == set(AREAS)
    assert all(meaning.endswith(".") for meaning in FAULTS.values())
    assert len(set(FAULTS.values())) == len(FAULTS)


def test_the_page_is_current() -> None:
    """If not: make docs"""
    assert (TESTS.parent / "docs/faults.md").read_text() == page()


def test_ids_are_shown_on_demand_alone() -> None:
    """Engines match the message of `create`."""
    facts = TextFacts('{"ociVersion": "1.2.0", "process": {}, "root": {"path": 3}}')
    with pytest.raises(CompileError) as caught:
        compile(Inputs("/b", container_id="c", state_root="/r", assets="/a", facts=facts))
    error = caught.value
    assert not re.search(r"RX\d", error.message + error.for_people())
    error.shows_ids = True
    shown = error.for_people()
    assert "process.cwd: missing [RX010]\n" in shown and "root.path: must be a string, not the number 3 [RX011]\n" in shown
    plain = RunxError("no", "hint", "RX901")
    assert plain.for_people() == "no"
    plain.shows_ids = True
    assert plain.for_people() == "no [RX901]"


def test_a_place_with_two_notices_has_both_ids() -> None:
    report = Report()
    for fault_id, reason in (("RX312", "one"), ("RX314", "other"), ("RX314", "other"), ("RX312", "third")):
        report.ignore(fault_id, ("mounts", 0), reason)
    (notice,) = report.notices.values()
    assert (notice.id, notice.message) == ("RX312, RX314", "one; other; third")
    assert report.ignored == {("mounts", 0): "one; other; third"}


def test_a_place_with_thousands_of_notices_shows_the_first() -> None:
    report = Report()
    for number in range(5000):
        report.ignore("RX312", ("mounts", 0), f"word {number}")
    (notice,) = report.notices.values()
    assert notice.message.startswith("word 0; word 1;") and notice.message.endswith("; and more") and len(notice.message) < 1100


def test_every_case_that_fails_has_known_ids() -> None:
    for case in all_cases():
        try:
            notices = [(entry.id, entry.path) for entry in case.compile().plan.ignored]
        except CompileError as error:
            notices = [(diagnostic.id, str(diagnostic.path)) for diagnostic in error.diagnostics]
        for ids, path in notices:
            assert set(ids.split(", ")) <= set(FAULTS), (case, path)
