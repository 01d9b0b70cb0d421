"""seccomp in the guest: /init loads the program; it is run here in namespaces."""

import errno
import os
import platform
import signal
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import guestbox as gb
from guestbox import GuestBox, records
from seccomp_profiles import made, profile, real_profile, rule

Start = Callable[..., GuestBox]
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces and mounts need root")
MACHINE = platform.machine()
# x86_64; other machines have other numbers, and are tested by the programs above.
native = pytest.mark.skipif(MACHINE != "x86_64", reason="numbers of x86_64")
UNSHARE, KEYCTL, VHANGUP, GETPID = 272, 250, 153, 39


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("guest")
    call = gb.CHECKOUT / "tests/support/call.c"
    subprocess.run(["musl-gcc", "-static", "-Os", "-Wall", "-Wextra", "-Werror", "-o", folder / "call", call], check=True)
    return gb.compile_guest(folder)


@pytest.fixture
def start(tmp_path: Path, programs: tuple[Path, Path]) -> Iterator[Start]:
    boxes: list[GuestBox] = []

    def begin(program: bytes | None, *args: object, **values: object) -> GuestBox:
        root = tmp_path / "root"
        container = gb.make_root(root, *programs)
        (container / "bin/call").write_bytes(programs[0].with_name("call").read_bytes())
        (container / "bin/call").chmod(0o755)
        if program is not None:
            (root / "runx/seccomp").write_bytes(program)
        defaults: dict[str, object] = {"args": args, "env": ["PATH=/bin"], "cwd": "/", "seccomp": 0}
        boxes.append(GuestBox(root, process=records(**{k: v for k, v in {**defaults, **values}.items() if v is not None})))
        return boxes[-1]

    yield begin
    for box in boxes:
        box.__exit__()


def output(box: GuestBox) -> tuple[int, list[str]]:
    status = box.exit_status()
    return status, box.streams[gb.STDOUT].decode().splitlines()


CAPABILITIES = [0xA80425FB] * 2 + [0] + [0xA80425FB] + [0]
"""Docker's default sets."""


@needs_root
@native
@pytest.mark.parametrize("case", ["docker-plain", "podman-plain"])
@pytest.mark.parametrize("values", [{}, {"no_new_privs": 1}, {"user": [1000, 1000], "groups": [7]}])
def test_a_real_profile_is_in_force(start: Start, case: str, values: dict[str, object]) -> None:
    box = start(made(real_profile(case)), "call", UNSHARE, KEYCTL, VHANGUP, GETPID, 5000, capabilities=CAPABILITIES, **values)
    status, lines = output(box)
    assert status == 0
    errors = dict(line.split() for line in lines)
    assert errors[str(GETPID)] == "0"
    # unshare(0) and keyctl(0) succeed where they are allowed, whoever calls: podman allows them, docker neither.
    denied = {"docker-plain": errno.EPERM, "podman-plain": 0}[case]
    assert errors[str(UNSHARE)] == str(denied)
    assert (errors[str(KEYCTL)] == str(errno.EPERM)) == bool(denied)
    assert errors[str(VHANGUP)] == str(errno.EPERM)
    assert errors["5000"] == str(errno.ENOSYS)


@needs_root
@native
@pytest.mark.parametrize("values", [{}, {"no_new_privs": 1}, {"user": [1000, 1000]}, {"capabilities": [(1 << 41) - 1] * 5}])
def test_it_is_in_force_for_a_further_process(start: Start, values: dict[str, object]) -> None:
    """Whatever the record of that process says: it is the container's filter, not one of its own."""
    program = made(real_profile("docker-plain"))
    box = start(program, "/bin/sh", "-c", "read x", capabilities=CAPABILITIES, sessions=1, pid_namespace=1)
    box.until(gb.STARTED)
    box.execute(1, "/bin/call", UNSHARE, KEYCTL, VHANGUP, GETPID, 5000, **values)
    assert box.status_of(1) == 0
    errors = dict(line.split() for line in box.of(1).streams[gb.STDOUT].decode().splitlines())
    refused = {str(number): str(errno.EPERM) for number in (UNSHARE, KEYCTL, VHANGUP)}
    assert errors == {**refused, str(GETPID): "0", "5000": str(errno.ENOSYS)}
    box.send(gb.HOST_STDIN, b"go\n")
    assert box.exit_status() == 0


@needs_root
@pytest.mark.parametrize("values", [{}, {"no_new_privs": 1}])
def test_the_process_sees_its_filter(start: Start, values: dict[str, object]) -> None:
    box = start(made(real_profile("docker-plain"), MACHINE), "grep", "^Seccomp", "/proc/self/status", **values)
    assert output(box) == (0, ["Seccomp:\t2", "Seccomp_filters:\t1"])


@needs_root
def test_without_a_record_there_is_no_filter(start: Start) -> None:
    box = start(None, "grep", "^Seccomp:", "/proc/self/status", seccomp=None)
    assert output(box) == (0, ["Seccomp:\t0"])


@needs_root
@pytest.mark.parametrize("values", [{}, {"no_new_privs": 1}])
def test_a_filter_that_allows_nothing_ends_the_process(start: Start, values: dict[str, object]) -> None:
    """Not even its end can be asked for, and no failure can be told."""
    document = {"defaultAction": "SCMP_ACT_ERRNO"}
    status, reason = start(made(document, MACHINE), "true", **values).fatal()
    assert (status, reason) == (125, "the set-up was killed: by the seccomp profile, or for lack of memory")


@needs_root
@native
def test_a_filter_may_kill(start: Start) -> None:
    document = profile(rule("unshare", action="SCMP_ACT_KILL_PROCESS"), defaultAction="SCMP_ACT_ALLOW")
    status, lines = output(start(made(document), "call", GETPID, UNSHARE, GETPID))
    assert (status, lines) == (128 + signal.SIGSYS, [f"{GETPID} 0"])


@needs_root
def test_with_no_new_privs_nothing_but_execve_need_be_allowed(start: Start) -> None:
    """Dropping privileges comes before the filter then."""
    document = profile(
        rule("setgid", "setuid", "setgroups", "capset", "prctl", action="SCMP_ACT_KILL_PROCESS"), defaultAction="SCMP_ACT_ALLOW"
    )
    values: dict[str, object] = {"user": [1000, 1000], "capabilities": [0, 0, 0, 0, 0]}
    assert output(start(made(document, MACHINE), "call", GETPID, no_new_privs=1, **values)) == (0, [f"{GETPID} 0"])


@needs_root
def test_without_no_new_privs_the_filter_comes_before_capabilities_go(start: Start) -> None:
    document = profile(rule("capset", action="SCMP_ACT_ERRNO"), defaultAction="SCMP_ACT_ALLOW")
    box = start(made(document, MACHINE), "true", user=[1000, 1000], capabilities=[0, 0, 0, 0, 0])
    assert box.fatal() == (125, "capabilities: operation not permitted")


@needs_root
@pytest.mark.parametrize("answer", [errno.EPERM, errno.ENOSYS])
def test_a_program_is_found_when_the_filter_hides_a_new_call(start: Start, answer: int) -> None:
    document = profile(rule("faccessat2", action="SCMP_ACT_ERRNO", errnoRet=answer), defaultAction="SCMP_ACT_ALLOW")
    assert output(start(made(document, MACHINE), "echo", "there", user=[1000, 1000])) == (0, ["there"])


@needs_root
def test_flags_reach_the_kernel(start: Start) -> None:
    document = profile(defaultAction="SCMP_ACT_ALLOW")
    assert output(start(made(document, MACHINE), "echo", "there", seccomp=2 | 4)) == (0, ["there"])


@needs_root
@pytest.mark.parametrize(
    ("program", "values", "reason"),
    [
        (None, {}, "/runx/process: seccomp: /runx/seccomp: no such file or directory"),
        (b"12345", {}, "seccomp: 5 bytes are not a filter"),
        (b"", {}, "seccomp: invalid argument"),
        (bytes(8), {}, "seccomp: invalid argument"),
        (bytes.fromhex("060000000000ff7f"), {"seccomp": 1 << 20}, "seccomp: invalid argument"),
        (None, {"seccomp": [1, 2]}, "/runx/process: seccomp: 2 values instead of 1"),
    ],
)
def test_what_is_no_filter_is_not_passed_over(
    start: Start, program: bytes | None, values: dict[str, object], reason: str
) -> None:
    assert start(program, "true", **values).fatal() == (125, reason)
