"""`runx plan --explain`: every cause it names is one, and where a value shows is where it stands."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from cli.test_plan import bundle, run

from compiler_cases import CASES, Case, TextFacts
from runx.cli.plan_explain import as_json, explain, shown_in, text
from runx.compiler.pipeline import Inputs
from runx.errors import RunxError

assert bundle  # a fixture

CONFIG = """{
  "ociVersion": "1.2.0",
  "root": {"path": "rootfs", "readonly": true},
  "process": {"args": ["/bin/true", "--"], "cwd": "/", "user": {"uid": 7, "gid": 8}},
  "mounts": [
    {"destination": "/proc", "type": "proc", "source": "proc"},
    {"destination": "/data", "type": "bind", "source": "/srv/data", "options": ["rbind", "ro"]}
  ],
  "linux": {
    "namespaces": [{"type": "network"}, {"type": "pid"}, {"type": "ipc"}, {"type": "uts"}, {"type": "mount"}],
    "resources": {"memory": {"limit": 536870912}, "cpu": {"burst": 512}}
  }
}
"""


def ask(path: str, config: str = CONFIG) -> dict[str, object]:
    return as_json(explain(inputs(config), path))


def inputs(config: str = CONFIG) -> Inputs:
    return Inputs("/bundle", "c", "/run/runx", "/share", TextFacts(config, {"/srv/data": "directory"}), "config.json")


def causes(path: str) -> list[object]:
    return [cause["what"] for cause in ask(path)["causes"]]  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("mounts[1].read_only", ["mounts[1].options[1]"]),
        ('mounts["/data"].recursive', ["mounts[1].options[0]"]),
        ("mounts[1].is_file", ["the host: what is at /srv/data"]),
        ("process.args[1]", ["process.args[1]"]),
        ("process.uid", ["process.user.uid"]),
        ("process.pid_namespace", ["linux.namespaces[1]"]),
        ("domain.name", ["the container's id", "the state root"]),
        ("domain.kernel", ["the directory of the guest's files"]),
        ("root.path", ["root.path", "the bundle's directory"]),
        ("version", []),
    ],
)
def test_causes(path: str, expected: list[str]) -> None:
    assert causes(path) == expected


def test_a_number_that_is_computed() -> None:
    found = ask("domain.memory_mib")
    first = found["causes"][0]  # type: ignore[index]
    assert (first["what"], first["line"]) == ("linux.resources.memory.limit", 11)
    # A byte more is a MiB more, and here the first of 32 for which the kernel needs another one.
    assert first["value"] == found["value"] + 2  # type: ignore[operator]
    assert any(re.fullmatch(r"domain.cfg:\d+: memory = \d+", line) for line in found["shown_in"])  # type: ignore[attr-defined]


def test_where_it_shows() -> None:
    assert any("/runx/setup" in line and "readonly /" in line for line in ask("root.read_only")["shown_in"])  # type: ignore[attr-defined]
    assert ask("mounts[1].read_only")["shown_in"] == ["plan.json"]  # the executor alone acts on it
    assert any(line.startswith("domain.cfg:2: type") for line in ask("domain.type")["shown_in"])  # type: ignore[attr-defined]


def test_for_people() -> None:
    assert text(explain(inputs(), "mounts[1].read_only"), "config.json") == (
        "mounts[1].read_only = true\n\ncomes from\n"
        '  config.json:7:90: mounts[1].options[1] = "ro"\n      without it: false\n\nshows in\n  plan.json\n'
    )


def places(value: Any, above: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """Every place of a plan, those with members too."""
    if above:
        yield above
    members: Any = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for part, member in members:
        yield from places(member, (*above, part))


@pytest.mark.parametrize(
    "name",
    [
        "schedule",
        "seccomp",
        "root-disk-layers",
        "root-ram-layers",
        "hooks",
        "process",
        "vm-section",
        "xlconf",
        "cri-sandbox",
        "pod-machine",
        "pod-machine-disks",
    ],
)
def test_every_place_of_a_plan(name: str) -> None:
    """A plan that an explanation makes up may say `disk` and have no disks, or a word that no table has."""
    made = Case(CASES / name).compile().artifacts
    document = json.loads(made.plan_json)
    for path in places(document):
        list(shown_in(document, path, made))


@pytest.mark.parametrize(
    ("name", "path", "line"),
    [
        ("schedule", "process.scheduler.policy", "overlay/runx/process:15"),
        ("schedule", "process.scheduler.flags", "overlay/runx/process:16"),
        ("schedule", "process.io_priority", "overlay/runx/process:23"),
        ("seccomp", "process.seccomp.flags", "overlay/runx/process"),
        ("seccomp", "process", "overlay/runx/process"),
        ("root-disk-layers", "root.carrier", "overlay/runx/setup:1: step root"),
        ("root-disk-layers", "root", "overlay/runx/setup:1: step root"),
    ],
)
def test_where_words_of_a_fixed_set_show(name: str, path: str, line: str) -> None:
    found = explain(Inputs("/bundle", "c", "/run/runx", "/share", Case(CASES / name)), path)
    assert any(shown.startswith(line) for shown in found.shown_in)


@pytest.mark.parametrize(
    ("path", "settings"),
    [
        ("domain.memory_mib", ["linux.resources.memory.limit", "vm.hwConfig.memory", "defaults.memory of runx.toml"]),
        ("domain.vcpus", ["linux.resources.cpu.quota", "vm.hwConfig.vcpus", "defaults.vcpus of runx.toml"]),
        ("process.umask", ["process.user.umask"]),
        ("root.carrier", ['annotations["org.runx.root.carrier"]', "--root-carrier", "root.carrier of runx.toml"]),
        ("version", []),
    ],
)
def test_settings_that_are_not_given(path: str, settings: list[str]) -> None:
    found = explain(Inputs("/bundle", "c", "/run/runx", "/share", Case(CASES / "minimal")), path)
    assert (found.causes, list(found.settings)) == ((), settings)
    assert as_json(found)["settings"] == settings
    said = text(found, "config.json")
    assert "  runx itself: no value that is given changes it\n" in said
    assert all(setting in said for setting in settings)


def test_a_word_that_is_not_among_the_options_of_a_mount() -> None:
    found = explain(Inputs("/bundle", "c", "/run/runx", "/share", Case(CASES / "ctr-mount-rw")), 'mounts["/host"].read_only')
    assert found.value is False
    assert [setting.partition("]")[2] for setting in found.settings] == ['.options: "ro"']


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("mounts[1].read_onyl", r'did you mean "mounts\[1\].read_only"'),
        ("mounts[9].read_only", "did you mean"),
        ("linux.resources.cpu.burst", r"a place in the configuration, and decides ignored\[.linux.resources.cpu.burst.\]"),
        ("linux.resources.memory.limit", "decides domain.memory_mib"),
        ("xyz", "there is version, id,"),
        ("mounts[", "write it as in"),
        ("[0]", "write it as in"),
        (f"mounts[{'9' * 5000}]", "write it as in"),
    ],
)
def test_an_unknown_path(path: str, hint: str) -> None:
    with pytest.raises(RunxError, match="--explain") as caught:
        explain(inputs(), path)
    assert re.search(hint, caught.value.hint)


def test_the_program(bundle: Path) -> None:
    done = run("plan", "--explain", "process.cwd", bundle)
    assert (done.returncode, done.stderr) == (0, b"")
    assert b'process.cwd = "/"\n\ncomes from\n  config.json:' in done.stdout
    assert run("plan", "--explain", "process.cwd", bundle).stdout == done.stdout
    as_json = json.loads(run("plan", "--format", "json", "--explain", "process.cwd", bundle).stdout)
    assert as_json["causes"][0]["what"] == "process.cwd"
    assert run("plan", "--explain", "process.cwdd", bundle).returncode == 1
