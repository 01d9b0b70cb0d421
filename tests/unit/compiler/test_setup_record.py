"""/runx/setup and /runx/process: what the compiler writes for PID 1; and words of the network script."""

import json
import shutil
import subprocess

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from compiler_cases import Case, TextFacts, good_cases
from runx.compiler.backends.process_record import records_of
from runx.compiler.backends.records import parse, readable, record
from runx.compiler.model.plan import Process
from runx.compiler.pipeline import Inputs, compile
from runx.errors import RunxError
from runx.shell import command, quote

# The guest's shell is busybox's ash; Debian's dash is the nearest relative that is always there.
SHELLS = [["busybox", "sh"]] if shutil.which("busybox") else []
SHELLS.append(["sh"])
CASES = [case for case in good_cases() if case.compile().artifacts.overlay]
"""Those whose guest is runx's."""
WORDS = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"))


@pytest.mark.parametrize("shell", SHELLS, ids=" ".join)
@settings(deadline=None, max_examples=60)
@given(words=st.lists(WORDS, min_size=1, max_size=8))
@example(words=["", "'", "''", "it's", "'a b'", '"\'"', "\\'", "$(x)'`y`", "~", "#", "a\nb"])
def test_any_word_survives_the_shell(shell: list[str], words: list[str]) -> None:
    script = command("printf", "%s\\0", *words)
    done = subprocess.run([*shell, "-c", script], capture_output=True, check=True)
    assert done.stdout == "".join(f"{word}\0" for word in words).encode()


def test_a_shell_cannot_have_nul() -> None:
    with pytest.raises(RunxError, match="NUL"):
        quote("a\0b")


def steps(case: Case) -> list[tuple[str, list[str]]]:
    return list(parse(case.compile().artifacts.overlay[0].content))


@pytest.mark.parametrize("case", CASES, ids=repr)
def test_every_mount_is_a_record_as_planned(case: Case) -> None:
    plan = case.compile().plan
    records = steps(case)
    mounted = [[name, *values] for name, values in records if name in ("mount", "bind")]
    if plan.is_pod:
        assert mounted == []  # it has no root
        return
    shares = "/runx/shares" if plan.joined else "/shares/mounts"
    assert len(mounted) == len(plan.mounts)
    for words, mount in zip(mounted, plan.mounts, strict=True):
        if mount.carrier == "9p":
            assert words[:3] == ["bind", f"{shares}/{mount.slot}", mount.destination]
        elif mount.carrier == "value":
            assert words[:3] == ["bind", f"/runx/files/{mount.slot}", mount.destination]
        elif mount.type == "bind":
            assert words[:3] == ["bind", mount.source, mount.destination]
        else:
            assert words[:4] == ["mount", mount.type, mount.source, mount.destination]
        late = mount.carrier == "guest" and mount.type in ("tmpfs", "ramfs") and "ro" in mount.flags
        options = [] if words[-1] == "-" else words[-1].split(",")
        if plan.joined and not plan.joined.opens_all_devices and "nodev" not in mount.flags:
            assert "nodev" in options, "no node leads to a device of the pod's machine"
            options.remove("nodev")
        data = () if mount.carrier == "9p" else mount.data  # of an overlay, for the host
        assert sorted(options + ["ro"] * late) == sorted(
            ",".join((*mount.flags, *data)).split(",") if mount.flags or data else []
        )
        if [other for other in plan.mounts if other.destination == mount.destination][-1] is mount:
            assert (("readonly", [mount.destination]) in records) == late
    names = (("kernel/hostname", plan.guest.hostname),) if plan.guest.hostname else ()
    assert names or plan.joined, "the pod's machine has a name"
    for name, value in (*names, *plan.guest.sysctl):
        assert ("sysctl", [name, value]) in records
    assert [values[0] for name, values in records if name == "mask"] == list(plan.guest.masked_paths)


@pytest.mark.parametrize("case", CASES, ids=repr)
def test_every_record_has_a_step(case: Case) -> None:
    """A step has a name and something to do; a hint belongs to a step that attaches something."""
    records = steps(case)
    assert records[0][0] == "step" and records[-1][0] != "step"
    names = [name for name, _ in records]
    for number, name in enumerate(names):
        if name == "step":
            assert names[number + 1] != "step"
        elif name == "hint":
            assert names[number - 1 : number + 2] == ["step", "hint", "attach"]


@given(st.lists(st.tuples(WORDS, st.lists(WORDS))))
def test_any_word_survives_the_records(records: list[tuple[str, list[str]]]) -> None:
    assert list(parse(b"".join(record(name, *values) for name, values in records))) == records


def test_a_record_cannot_have_nul() -> None:
    with pytest.raises(RunxError, match="NUL"):
        record("mkdir", "/a\0b")


def test_a_record_is_one_line_for_people() -> None:
    text = readable("runx/setup", record("step", "two words") + record("mkdir", "/a\nb") + record("await_network"))
    assert text == 'step "two words"\n    mkdir "/a\\nb"\n    await_network\n'
    assert readable("runx/network", b"#!/bin/sh\n") == "#!/bin/sh\n"


def process(**values: object) -> Process:
    base: dict[str, object] = {"args": ("a",), "env": (), "cwd": "/", "uid": 0, "gid": 0, "additional_gids": ()}
    return Process.model_validate(base | values)


@given(st.lists(WORDS, min_size=1), st.lists(WORDS))
def test_any_argument_survives_the_record(args: list[str], env: list[str]) -> None:
    fields = records_of(process(args=args, env=env)).decode().split("\0")
    assert fields[: 2 + len(args)] == ["args", str(len(args)), *args]
    if env:
        assert fields[2 + len(args) : 4 + len(args) + len(env)] == ["env", str(len(env)), *env]


def test_records_hold_what_docs_guest_md_says() -> None:
    content = records_of(
        process(
            uid=1, gid=2, additional_gids=(3, 4), umask=0o27, no_new_privileges=True, oom_score_adj=-5, pid_namespace=True,
            rlimits=[{"name": "core", "soft": 0, "hard": 2**64 - 1}],
            capabilities={"bounding": ["CAP_CHOWN", "CAP_CHECKPOINT_RESTORE"], "ambient": ["CAP_KILL"]},
        )
    )  # fmt: skip
    assert content == b"".join(
        b"\0".join(fields) + b"\0"
        for fields in (
            (b"args", b"1", b"a"),
            (b"cwd", b"1", b"/"),
            (b"user", b"2", b"1", b"2"),
            (b"groups", b"2", b"3", b"4"),
            (b"umask", b"1", b"23"),
            (b"rlimit", b"3", b"core", b"0", b"18446744073709551615"),
            (b"capabilities", b"5", str(1 | 1 << 40).encode(), b"0", b"0", b"0", b"32"),
            (b"no_new_privs", b"1", b"1"),
            (b"oom_score_adj", b"1", b"-5"),
            (b"pid_namespace", b"1", b"1"),
        )
    )
    assert readable("runx/process", content).startswith('args\n    "a"\ncwd\n    "/"\n')


def test_values_of_kernel_parameters_are_not_interpreted() -> None:
    config = {
        "ociVersion": "1.0.0", "root": {"path": "r"}, "process": {"cwd": "/", "args": ["x"]},
        "linux": {"namespaces": [{"type": "network"}], "sysctl": {"kernel.core_pattern": "%s $(reboot) 'x' \\n"}},
    }  # fmt: skip
    result = compile(Inputs("/b", container_id="c", state_root="/r", assets="/a", facts=TextFacts(json.dumps(config))))
    assert ("sysctl", ["kernel/core_pattern", "%s $(reboot) 'x' \\n"]) in parse(result.artifacts.overlay[0].content)


@pytest.mark.parametrize(
    ("mounts", "closed"),
    [
        ([("/t", ["ro"])], ["/t"]),
        ([("/t", ["ro"]), ("/t", [])], []),
        ([("/t", []), ("/t", ["ro"])], ["/t"]),
        ([("/t/a", ["ro"]), ("/t", [])], []),
        ([("/t", []), ("/t/a", ["ro"]), ("/tt", ["ro"])], ["/t/a", "/tt"]),
    ],
)
def test_a_mount_that_another_covers_closes_nothing(mounts: list[tuple[str, list[str]]], closed: list[str]) -> None:
    """`ro` of a tmpfs comes last, when its mount points have been made, and is for what is seen at the place then."""
    config = {
        "ociVersion": "1.2.0",
        "process": {"cwd": "/", "args": ["/x"]},
        "root": {"path": "rootfs"},
        "mounts": [{"destination": place, "type": "tmpfs", "options": options} for place, options in mounts],
        "linux": {"namespaces": [{"type": "network"}]},
    }
    result = compile(Inputs("/bundle", container_id="c", state_root="/r", assets="/a", facts=TextFacts(json.dumps(config))))
    (setup,) = [file for file in result.artifacts.overlay if file.path == "runx/setup"]
    assert [values[0] for name, values in parse(setup.content) if name == "readonly"] == closed
