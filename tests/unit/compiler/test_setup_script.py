"""/runx/setup and /runx/process: what the guest's shell and PID 1 make of them."""

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from compiler_cases import Case, TextFacts, good_cases
from runx.compiler.backends.process_record import readable, records_of
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

STUB = """\
#!/bin/sh
[ "$1 $3" != "$FAIL" ] || { echo "stub: no" >&2; exit 1; }
{ printf '%s\\0' "${0##*/}" "$@"; echo; } >> "$CALLS"
"""


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


def run(script: str, directory: Path, fail: str = "") -> tuple[subprocess.CompletedProcess[bytes], list[list[str]]]:
    """Run a setup script with every program replaced by a stub, and the kernel's parameters by files. The stubs' calls."""
    (directory / "bin").mkdir()
    for name in ("inroot", "mount", "ip", "mkdir", "mknod", "chown", "chmod"):
        (directory / "bin" / name).write_text(STUB)
        (directory / "bin" / name).chmod(0o755)
    for path in re.findall(r"/proc/sys/([\w/.-]+)", script):
        (directory / "sys" / path).parent.mkdir(parents=True, exist_ok=True)
    script = script.replace("/proc/sys/", f"{directory}/sys/")
    calls = directory / "calls"
    calls.touch()
    environment = {"PATH": f"{directory}/bin", "CALLS": str(calls), "FAIL": fail}
    # On descriptor 3 PID 1 gives a line when the network is up (docs/guest.md).
    begin = ["/bin/sh", "-c", 'echo up > "$CALLS.network"; exec 3< "$CALLS.network"; exec /bin/sh']
    done = subprocess.run(begin, input=script.encode(), env=environment, capture_output=True, check=False)
    return done, [line.split("\0")[:-1] for line in calls.read_text().split("\0\n")[:-1] for line in [line + "\0"]]


@pytest.mark.parametrize("case", CASES, ids=repr)
def test_every_mount_reaches_inroot_as_planned(case: Case, tmp_path: Path) -> None:
    plan, artifacts, _ = case.compile()
    done, calls = run(artifacts.overlay[0].content.decode(), tmp_path)
    assert (done.returncode, done.stderr, done.stdout) == (0, b"", b"")
    mounted = [call for call in calls if call[:2] in (["inroot", "mount"], ["inroot", "bind"]) and "/nodes/" not in call[2]]
    assert len(mounted) == len(plan.mounts)
    for call, mount in zip(mounted, plan.mounts, strict=True):
        if mount.carrier == "9p":
            assert call[:4] == ["inroot", "bind", f"/shares/mounts/{mount.slot}", mount.destination]
        elif mount.carrier == "value":
            assert call[:4] == ["inroot", "bind", f"/runx/files/{mount.slot}", mount.destination]
        else:
            assert call[:5] == ["inroot", "mount", mount.type, mount.source, mount.destination]
        late = mount.carrier == "guest" and mount.type in ("tmpfs", "ramfs") and "ro" in mount.flags
        options = [] if call[-1] == "-" else call[-1].split(",")
        assert sorted(options + ["ro"] * late) == sorted(
            ",".join((*mount.flags, *mount.data)).split(",") if mount.flags or mount.data else []
        )
        assert (["inroot", "readonly", mount.destination] in calls) == late
    for name, value in (("kernel/hostname", plan.guest.hostname), *plan.guest.sysctl):
        assert (tmp_path / "sys" / name).read_text() == value
    assert [call[2] for call in calls if call[:2] == ["inroot", "mask"]] == list(plan.guest.masked_paths)


def test_the_failing_step_is_named(tmp_path: Path) -> None:
    script = next(case for case in CASES if repr(case) == "quoting").compile().artifacts.overlay[0].content.decode()
    done, calls = run(script, tmp_path, fail="mount tmpfs")
    assert done.returncode == 1
    assert done.stderr.decode().splitlines()[-1].endswith("/$HOME/`id`/;reboot failed")
    assert done.stderr.startswith(b"stub: no\nrunx: mounts[1] ")
    assert [call[0] for call in calls][-1] == "inroot"


def test_nothing_after_a_failing_step_runs(tmp_path: Path) -> None:
    script = CASES[0].compile().artifacts.overlay[0].content.decode()
    done, calls = run(script.replace("inroot mkdir", "false; inroot mkdir"), tmp_path)
    assert done.returncode == 1
    assert done.stderr == b"runx: process.cwd failed\n"
    assert not [call for call in calls if call[:2] == ["inroot", "mkdir"]]


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
    record = records_of(
        process(
            uid=1, gid=2, additional_gids=(3, 4), umask=0o27, no_new_privileges=True, oom_score_adj=-5, pid_namespace=True,
            rlimits=[{"name": "core", "soft": 0, "hard": 2**64 - 1}],
            capabilities={"bounding": ["CAP_CHOWN", "CAP_CHECKPOINT_RESTORE"], "ambient": ["CAP_KILL"]},
        )
    )  # fmt: skip
    assert record == b"".join(
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
    assert readable(record).startswith('args\n    "a"\ncwd\n    "/"\n')


def test_values_of_kernel_parameters_are_not_interpreted(tmp_path: Path) -> None:
    config = {
        "ociVersion": "1.0.0", "root": {"path": "r"}, "process": {"cwd": "/", "args": ["x"]},
        "linux": {"namespaces": [{"type": "network"}], "sysctl": {"kernel.core_pattern": "%s $(reboot) 'x' \\n"}},
    }  # fmt: skip
    result = compile(Inputs("/b", container_id="c", state_root="/r", assets="/a", facts=TextFacts(json.dumps(config))))
    run(result.artifacts.overlay[0].content.decode(), tmp_path)
    assert (tmp_path / "sys/kernel/core_pattern").read_text() == "%s $(reboot) 'x' \\n"
