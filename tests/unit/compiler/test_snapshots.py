"""Golden files: every case of tests/cases is compiled, and what comes out is compared with tests/snapshots/CASE/.

A case that compiles has plan.json, domain.cfg, cmdline, overlay/runx/setup and overlay/runx/process (their records written
for reading), or the plan alone when there is no domain; one that does not has errors.txt.

To add a case: make tests/cases/NAME/ with a small config.json and a case.toml (compiler_cases.py tells what it holds), run
`make snapshot-update`, read the new files, commit both. Name it bad-SOMETHING when it is to fail. Before mending a fault, commit
the case that shows it: the repair then reads as a difference.
"""

import json
from pathlib import Path

import pytest
from syrupy.assertion import SnapshotAssertion
from syrupy.extensions.single_file import SingleFileSnapshotExtension, WriteMode
from syrupy.location import PyTestLocation

from compiler_cases import SNAPSHOTS, Case, all_cases, good_cases
from runx.compiler.backends.records import readable
from runx.compiler.model.plan import VmPlan
from runx.errors import RunxError

CASES = all_cases()


class _Mirror(SingleFileSnapshotExtension):
    """Keeps the snapshot called `CASE/some/path` at exactly that place below tests/snapshots."""

    _write_mode = WriteMode.TEXT
    file_extension = ""

    @classmethod
    def dirname(cls, *, test_location: PyTestLocation) -> str:  # noqa: ARG003
        return str(SNAPSHOTS)

    @classmethod
    def get_location(cls, *, test_location: PyTestLocation, index: object) -> str:  # noqa: ARG003
        return str(SNAPSHOTS / str(index))

    @classmethod
    def matches_test_location(cls, *, test_location: PyTestLocation, snapshot_location: str) -> bool:
        case = Path(snapshot_location).relative_to(SNAPSHOTS).parts[0]
        return test_location.testname.endswith(f"[{case}]")

    def is_snapshot_location(self, *, location: str) -> bool:  # noqa: ARG002
        return True


def artifacts(case: Case) -> dict[str, str]:
    """Path below the snapshot's directory: content."""
    try:
        result = case.compile()
    except RunxError as error:
        return {"errors.txt": error.message + "\n" + (f"    hint: {error.hint}\n" if error.hint else "")}
    files = {"plan.json": result.artifacts.plan_json}
    if result.plan.domain:
        files |= {"domain.cfg": result.artifacts.domain_cfg, "cmdline": result.artifacts.cmdline}
    for file in result.artifacts.overlay:
        if file.path == "runx/seccomp":
            continue  # the plan has its hash
        files[f"overlay/{file.path}"] = readable(file.path, file.content)
    return files


@pytest.mark.parametrize("case", CASES, ids=repr)
def test_snapshot(case: Case, snapshot: SnapshotAssertion) -> None:
    assert case.about
    files = artifacts(case)
    assert ("errors.txt" in files) == case.refused, files.get("errors.txt")
    for path, text in files.items():
        assert text == snapshot(name=f"{case!r}/{path}", extension_class=_Mirror)


def test_nothing_is_stale(request: pytest.FixtureRequest) -> None:
    """No snapshot without a case that makes it, whichever part of the suite runs. With --snapshot-update they are deleted."""
    present = {str(path.relative_to(SNAPSHOTS)) for path in SNAPSHOTS.rglob("*") if path.is_file()}
    made = {f"{case!r}/{path}" for case in CASES for path in artifacts(case)}
    if request.config.option.update_snapshots:
        for path in present - made:
            (SNAPSHOTS / path).unlink()
        present &= made
    assert present == made


@pytest.mark.parametrize("case", good_cases(), ids=repr)
def test_plan_survives_json(case: Case) -> None:
    result = case.compile()
    assert VmPlan.model_validate_json(result.artifacts.plan_json) == result.plan
    assert VmPlan.model_validate(json.loads(result.artifacts.plan_json)) == result.plan
