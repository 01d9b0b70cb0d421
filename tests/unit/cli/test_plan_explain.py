"""`runx plan --explain`: every cause it names is one, and where a value shows is where it stands."""

import json
import re
from pathlib import Path

import pytest
from cli.test_plan import bundle, run

from compiler_cases import TextFacts
from runx.cli.plan_explain import as_json, explain, text
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
    assert any("/runx/setup" in line and "inroot readonly /" in line for line in ask("root.read_only")["shown_in"])  # type: ignore[attr-defined]
    assert ask("mounts[1].read_only")["shown_in"] == ["plan.json"]  # the executor alone acts on it
    assert any(line.startswith("domain.cfg:2: type") for line in ask("domain.type")["shown_in"])  # type: ignore[attr-defined]


def test_for_people() -> None:
    assert text(explain(inputs(), "mounts[1].read_only"), "config.json") == (
        "mounts[1].read_only = true\n\ncomes from\n"
        '  config.json:7:90: mounts[1].options[1] = "ro"\n      without it: false\n\nshows in\n  plan.json\n'
    )


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
