"""The record of a further process: an OCI process object or options, over the records of the container's process."""

from pathlib import Path
from typing import Any

import pytest

from runx.compiler.backends.records import parse, record
from runx.errors import RunxError
from runx.exec.container import process_record as pr
from runx.linux.process_words import CAPABILITIES

CONTAINER = b"".join(
    (
        record("args", "sleep", "1"),
        record("env", "PATH=/bin", "A=b"),
        record("cwd", "/srv"),
        record("user", "5", "6"),
        record("umask", "18"),
        record("rlimit", "nofile", "10", "20"),
        record("capabilities", *["3"] * 5),
        record("no_new_privs", "1"),
        record("oom_score_adj", "-7"),
        record("seccomp", "0"),
        record("pids_limit", "9"),
        record("terminal", "1", "2"),
        record("hook", "origin", "/bin/hook", "0", "0", "0"),
    )
)


@pytest.fixture
def inherited(tmp_path: Path) -> pr.Records:
    pr.keep(str(tmp_path), CONTAINER)
    assert (tmp_path / "process").stat().st_mode & 0o777 == 0o600
    return pr.load(str(tmp_path))


def with_process(inherited: pr.Records, **process: Any) -> dict[str, list[str]]:
    found, _ = pr.with_process(inherited, {"args": ["x"], "cwd": "/", **process})
    return {name: list(values) for name, values in parse(pr.text(found))}


def test_what_is_inherited(inherited: pr.Records) -> None:
    """Not what PID 1 of the guest adds itself, nor what is the container's own process's alone."""
    assert set(inherited) == {"args", "env", "cwd", "user", "umask", "rlimit", "capabilities", "no_new_privs", "oom_score_adj"}
    assert {name: list(values) for name, values in parse(pr.text(inherited))}["args"] == ["sleep", "1"]


def test_a_process_object_goes_before(inherited: pr.Records) -> None:
    bounding = {"bounding": ["CAP_CHOWN", "CAP_KILL", "CAP_NEW"], "permitted": ["CAP_KILL"], "ambient": ["CAP_KILL"]}
    made = with_process(
        inherited,
        args=["sh", "", "ü"],
        user={"uid": 1, "gid": 2, "additionalGids": [3, 4, 3], "umask": 63},
        oomScoreAdj=-1000,
        capabilities=bounding,
        rlimits=[{"type": "RLIMIT_CORE", "soft": 1, "hard": 2}],
        scheduler={"policy": "SCHED_BATCH", "nice": -3},
        ioPriority={"class": "IOPRIO_CLASS_IDLE", "priority": 0},
    )
    chown, kill = 1 << CAPABILITIES.index("CAP_CHOWN"), 1 << CAPABILITIES.index("CAP_KILL")
    assert made == {
        "args": ["sh", "", "ü"],
        "cwd": ["/"],
        "user": ["1", "2"],
        "groups": ["3", "4"],
        "umask": ["63"],
        "rlimit": ["core", "1", "2"],
        "capabilities": [str(chown | kill), "0", "0", str(kill), "0"],
        "oom_score_adj": ["-1000"],
        "scheduler": ["3", "0", "-3", "0", "0", "0", "0"],
        "io_priority": ["3", "0"],
    }


def test_what_a_process_object_leaves_out(inherited: pr.Records) -> None:
    """Limits, umask, capabilities and score are the container's; user, environment and no_new_privs are not. docs/differences.md
    says what runc does."""
    made = with_process(inherited)
    assert (made["rlimit"], made["capabilities"], made["user"]) == (["nofile", "10", "20"], ["3"] * 5, ["0", "0"])
    assert (made["umask"], made["oom_score_adj"]) == (["18"], ["-7"])
    assert not {"env", "no_new_privs"} & set(made)


def test_what_is_ignored_is_said(inherited: pr.Records) -> None:
    _, ignored = pr.with_process(
        inherited,
        {
            "args": ["x"],
            "cwd": "/",
            "apparmorProfile": "p",
            "capabilities": {"bounding": ["CAP_NEW"], "frob": []},
            "user": {"username": "u", "gids": [5]},
            "nonewprivs": True,
        },
    )
    assert ignored == [
        "process.apparmorProfile",
        "process.user.username",
        "the unknown property process.nonewprivs",
        "the unknown property process.user.gids",
        "the unknown property process.capabilities.frob",
        "the capability CAP_NEW, which Linux does not have,",
    ]


@pytest.mark.parametrize(
    ("process", "message"),
    [
        ({"args": []}, "process.args must name a program"),
        ({"args": "sh"}, "process.args: must be a list of strings"),
        ({"args": ["a\0b"]}, "args: a value has a NUL byte"),
        ({"cwd": "x"}, "process.cwd: must be an absolute path, not 'x'"),
        ({"user": {"uid": -1}}, "process.user.uid: must be a number from 0 to 4294967295, not -1"),
        ({"oomScoreAdj": 1001}, "process.oomScoreAdj: must be a number from -1000 to 1000, not 1001"),
        ({"user": "root"}, "process.user: must be an object"),
        ({"rlimits": [{"type": "NOFILE"}]}, "unknown resource limit 'NOFILE'"),
        ({"rlimits": [{}]}, "process.rlimits: unknown resource limit None"),
        ({"rlimits": [{"type": 5}]}, "process.rlimits: unknown resource limit 5"),
        ({"rlimits": {"RLIMIT_CORE": 5}}, "process.rlimits: must be a list of objects"),
        ({"args": ["a\ud800"]}, "process.args: 'a\\ud800' is not text that UTF-8 can have"),
        ({"cwd": "/\ud800"}, "process.cwd: '/\\ud800' is not text"),
        ({"scheduler": {"policy": "SCHED_X"}}, "process.scheduler.policy: unknown word 'SCHED_X'"),
        ({"ioPriority": {"priority": 1}}, "process.ioPriority.class: unknown word None"),
        ({"noNewPrivileges": "yes"}, "process.noNewPrivileges: must be true or false, not 'yes'"),
        ({"env": ["A"]}, "process.env: must be NAME=value, not 'A'"),
        ({"env": ["=b"]}, "process.env: must be NAME=value, not '=b'"),
        ({"capabilities": ["CAP_KILL"]}, "process.capabilities: must be an object"),
        ({"capabilities": {"bounding": "CAP_KILL"}}, "process.capabilities.bounding: must be a list of strings"),
        ({"capabilities": {"effective": [7]}}, "process.capabilities.effective: must be a list of strings"),
    ],
)
def test_faults_of_a_process_object(inherited: pr.Records, process: dict[str, Any], message: str) -> None:
    with pytest.raises(RunxError) as caught:
        with_process(inherited, **process)
    assert message in caught.value.message


def test_added_capabilities(inherited: pr.Records) -> None:
    ignored = pr.with_capabilities(inherited, ["CAP_KILL", "sys_admin", "x"])
    added = 3 | 1 << CAPABILITIES.index("CAP_KILL") | 1 << CAPABILITIES.index("CAP_SYS_ADMIN")
    assert inherited["capabilities"] == [str(mask).encode() for mask in (added, added, 3, added, 3)]
    assert ignored == ["--cap x, which Linux does not have,"], "as runc does"


@pytest.mark.parametrize(
    ("process", "size"),
    [
        ({}, None),
        ({"terminal": True}, (0, 0)),
        ({"terminal": True, "consoleSize": {"height": 5, "width": 7}}, (5, 7)),
    ],
)
def test_the_size_of_a_terminal(process: dict[str, Any], size: tuple[int, int] | None) -> None:
    assert pr.terminal_of(process) == size


def test_an_impossible_size_of_a_terminal() -> None:
    with pytest.raises(RunxError, match="consoleSize"):
        pr.terminal_of({"terminal": True, "consoleSize": {"height": 70000}})
