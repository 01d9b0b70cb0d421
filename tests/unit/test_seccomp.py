"""seccomp: profiles to programs, followed here instruction by instruction; their cache; and the guest's /init that loads them."""

import copy
import errno
import json
import os
import platform
import random
import re
import signal
import struct
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import guestbox as gb
import pytest
from compiler_cases import CASES, TextFacts
from guestbox import GuestBox, records

from runx import paths
from runx.cli import main
from runx.compiler import compile, filters
from runx.compiler.diagnostics import CompileError
from runx.compiler.facts import FilterError, HostFacts, NoFilters
from runx.compiler.filters import host_filter
from runx.compiler.seccomp import ARCHITECTURES, build
from runx.errors import RunxError
from runx.exec import create

LIBRARY = filters.find_library()
X86_64, X86, AARCH64, ARM = 0xC000003E, 0x40000003, 0xC00000B7, 0x40000028
X32_BIT = 1 << 30
ALLOW, KILL, KILL_PROCESS, TRAP, LOG = 0x7FFF0000, 0, 0x80000000, 0x30000, 0x7FFC0000
EPERM, ENOSYS, EACCES = 0x50000 | errno.EPERM, 0x50000 | errno.ENOSYS, 0x50000 | errno.EACCES


def test_the_library_is_here() -> None:
    """Debian has it always; without it the tests below would test nothing."""
    assert LIBRARY


def follow(program: bytes, architecture: int, number: int, *args: int) -> int:
    """What the kernel would do with the call: the value that the program returns."""
    data = struct.pack("<iIQ6Q", number, architecture, 0, *args, *[0] * (6 - len(args)))
    accumulator = at = 0
    lines = list(struct.iter_unpack("<HBBI", program))
    while True:
        code, yes, no, k = lines[at]
        at += 1
        if code == 0x20:
            (accumulator,) = struct.unpack_from("<I", data, k)
        elif code == 0x06:
            return int(k)
        elif code == 0x05:
            at += k
        elif code == 0x54:
            accumulator &= k
        else:
            holds = {0x15: accumulator == k, 0x25: accumulator > k, 0x35: accumulator >= k, 0x45: bool(accumulator & k)}
            at += yes if holds[code] else no


def profile(*rules: dict[str, Any], **members: Any) -> dict[str, Any]:
    return {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": list(rules), **members}


def rule(*names: str, action: str = "SCMP_ACT_ALLOW", **members: Any) -> dict[str, Any]:
    return {"names": list(names), "action": action, **members}


def argument(index: int, op: str, value: int, value_two: int = 0) -> dict[str, Any]:
    return {"index": index, "op": f"SCMP_CMP_{op}", "value": value, "valueTwo": value_two}


def made(document: dict[str, Any], machine: str = "x86_64") -> bytes:
    return build(document, machine, LIBRARY)


# Numbers of system calls in <asm/unistd.h> of each architecture.
READ, WRITE, OPENAT2, CLONE, PERSONALITY, CHMOD = 0, 1, 437, 56, 135, 90


def test_rules_and_the_default() -> None:
    program = made(profile(rule("read", "write", "nosuchcall"), rule("chmod", action="SCMP_ACT_KILL_PROCESS")))
    assert follow(program, X86_64, READ) == follow(program, X86_64, WRITE) == ALLOW
    assert follow(program, X86_64, CHMOD) == KILL_PROCESS
    assert follow(program, X86_64, 2) == EPERM


@pytest.mark.parametrize(
    ("action", "members", "value"),
    [
        ("KILL", {}, KILL), ("KILL_THREAD", {}, KILL), ("KILL_PROCESS", {}, KILL_PROCESS), ("TRAP", {}, TRAP),
        ("ERRNO", {}, EPERM), ("ERRNO", {"errnoRet": errno.EACCES}, EACCES), ("ERRNO", {"errnoRet": 0}, 0x50000),
        ("TRACE", {}, 0x7FF00001), ("TRACE", {"errnoRet": 7}, 0x7FF00007), ("LOG", {}, LOG),
    ],
)  # fmt: skip
def test_every_action(action: str, members: dict[str, int], value: int) -> None:
    program = made(profile(rule("chmod", action=f"SCMP_ACT_{action}", **members), defaultAction="SCMP_ACT_ALLOW"))
    assert follow(program, X86_64, CHMOD) == value
    assert follow(program, X86_64, READ) == ALLOW
    default = {"errnoRet": "defaultErrnoRet"}
    members = {default[name]: number for name, number in members.items()}
    program = made(profile(rule("read", "openat2"), defaultAction=f"SCMP_ACT_{action}", **members))
    assert follow(program, X86_64, CHMOD) == value
    assert follow(program, X86_64, READ) == ALLOW


@pytest.mark.parametrize(
    ("op", "holds", "fails"),
    [("NE", 6, 5), ("LT", 4, 5), ("LE", 5, 6), ("EQ", 5, 4), ("GE", 5, 4), ("GT", 6, 5), ("EQ", 5, 2**32 + 5)],
)
def test_every_operator(op: str, holds: int, fails: int) -> None:
    program = made(profile(rule("read", "fchmod"), rule("personality", args=[argument(0, op, 5)])))
    assert follow(program, X86_64, PERSONALITY, holds) == ALLOW
    assert follow(program, X86_64, PERSONALITY, fails) == EPERM


def test_a_masked_condition() -> None:
    """As docker guards clone: none of these flags may be set."""
    mask = 0x7E020000
    program = made(profile(rule("read"), rule("clone", args=[argument(0, "MASKED_EQ", mask, 0)])))
    assert follow(program, X86_64, CLONE, 0x1200011) == ALLOW
    assert follow(program, X86_64, CLONE, 0x10000000) == EPERM


def test_conditions_on_different_arguments_hold_together() -> None:
    program = made(profile(rule("socket", args=[argument(0, "EQ", 1), argument(1, "EQ", 2)])))
    assert follow(program, X86_64, 41, 1, 2) == ALLOW
    assert follow(program, X86_64, 41, 1, 3) == follow(program, X86_64, 41, 3, 2) == EPERM


def test_conditions_on_one_argument_are_rules_of_their_own() -> None:
    program = made(profile(rule("personality", args=[argument(0, "EQ", 0), argument(0, "EQ", 8)])))
    assert follow(program, X86_64, PERSONALITY, 0) == follow(program, X86_64, PERSONALITY, 8) == ALLOW
    assert follow(program, X86_64, PERSONALITY, 1) == EPERM


def test_calls_newer_than_the_profile_do_not_exist() -> None:
    program = made(profile(rule("read", "openat2", "nosuchcall")))
    assert follow(program, X86_64, OPENAT2) == ALLOW
    assert follow(program, X86_64, OPENAT2 - 1) == EPERM
    assert follow(program, X86_64, OPENAT2 + 1) == ENOSYS
    for members in ({"defaultAction": "SCMP_ACT_ALLOW"}, {"defaultAction": "SCMP_ACT_LOG"}, {"defaultErrnoRet": errno.ENOSYS}):
        document = profile(rule("read", "openat2", action="SCMP_ACT_TRAP"), **members)
        assert follow(made(document), X86_64, 5000) == follow(made(document), X86_64, 3), "the default, whatever the number"


def test_architectures() -> None:
    rules = rule("read", "write", "openat2")
    native_only = made(profile(rules))
    assert follow(native_only, X86_64, READ | X32_BIT) == follow(native_only, X86, 3) == KILL, "another architecture's"
    assert follow(native_only, AARCH64, 63) == KILL
    every = ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32", "SCMP_ARCH_S390X"]
    program = made(profile(rules, architectures=every))
    assert follow(program, X86_64, READ) == follow(program, X86, 3) == follow(program, X86_64, READ | X32_BIT) == ALLOW
    assert follow(program, X86_64, 2) == follow(program, X86, 1) == follow(program, X86_64, 2 | X32_BIT) == EPERM
    assert follow(program, X86_64, 500) == follow(program, X86, 500) == follow(program, X86_64, 500 | X32_BIT) == ENOSYS


def test_filters_for_other_guests() -> None:
    document = profile(rule("read", "openat2"), architectures=["SCMP_ARCH_AARCH64", "SCMP_ARCH_ARM"])
    program = made(document, "aarch64")
    assert follow(program, AARCH64, 63) == follow(program, ARM, 3) == ALLOW
    assert follow(program, AARCH64, 64) == follow(program, ARM, 4) == EPERM
    assert follow(program, AARCH64, 438) == follow(program, ARM, 438) == ENOSYS
    assert follow(program, X86_64, READ) == KILL
    program = made(document, "arm")
    assert follow(program, ARM, 3) == ALLOW
    assert follow(program, AARCH64, 63) == KILL


def test_a_profile_that_contradicts_itself() -> None:
    with pytest.raises(FilterError, match="read: another rule says otherwise"):
        args = [argument(0, "EQ", 3)]
        made(profile(rule("read", args=args), rule("read", action="SCMP_ACT_TRAP", args=args)))


def test_a_profile_that_is_too_long() -> None:
    rules = [rule("prctl", args=[argument(n % 6, "EQ", n)]) for n in range(5000)]
    with pytest.raises(FilterError, match=r"the profile becomes \d+ instructions, and the kernel takes 4096"):
        made(profile(*rules))


def real_profile(case: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((CASES / case / "config.json").read_text())["linux"]["seccomp"]
    return found


@pytest.mark.parametrize("machine", sorted(ARCHITECTURES))
@pytest.mark.parametrize("case", ["docker-plain", "podman-plain"])
def test_real_profiles(case: str, machine: str) -> None:
    program = made(real_profile(case), machine)
    # docker's names neither acct nor keyctl, podman's denies acct and allows keyctl.
    architecture, read, acct, keyctl = {
        "x86_64": (X86_64, 0, 163, 250), "aarch64": (AARCH64, 63, 89, 219), "arm": (ARM, 3, 51, 311),
    }[machine]  # fmt: skip
    assert follow(program, architecture, read) == ALLOW
    assert follow(program, architecture, acct) == EPERM
    assert follow(program, architecture, keyctl) == (ALLOW if case == "podman-plain" else EPERM)
    assert follow(program, architecture, 5000) == ENOSYS


def test_a_damaged_profile_becomes_a_program_or_is_explained() -> None:
    """Whatever is put where in a real profile, the kernel's words for it are the worst that comes out."""
    generator = random.Random(2026)
    values = [None, True, -1, 0, 5, 2**32, 2**64 - 1, 2**64, "", "read", "SCMP_ACT_KILL", "SCMP_CMP_NE", [], {}, ["x"], {"x": 1}]
    profiles = [real_profile("docker-plain"), real_profile("podman-plain")]
    outcomes = {"made": 0, "refused": 0}
    for _ in range(1000):
        document = copy.deepcopy(generator.choice(profiles))
        for _ in range(generator.randint(1, 3)):
            holder: Any = document
            while True:
                keys = list(holder) if isinstance(holder, dict) else list(range(len(holder)))
                key = generator.choice(keys) if keys else None
                if key is None or not isinstance(holder[key], dict | list) or generator.random() < 0.2:
                    break
                holder = holder[key]
            if key is not None:
                alike = [value for value in values if type(value) is type(holder[key])]
                holder[key] = copy.deepcopy(generator.choice(alike if alike and generator.random() < 0.8 else values))
        try:
            plan, artifacts, _ = compiled(document)
            assert plan.process.seccomp is None or len(artifacts.overlay[-1].content) % 8 == 0
            outcomes["made"] += 1
        except CompileError as error:
            assert "linux.seccomp" in error.message
            outcomes["refused"] += 1
    assert min(outcomes.values()) > 50, outcomes


# In the compiler.


def compiled(seccomp: dict[str, Any], **process: Any) -> Any:
    """With the real library in place of the cases' own filter."""
    config = json.loads((CASES / "minimal/config.json").read_text())
    config["process"].update(process)
    config["linux"]["seccomp"] = seccomp
    facts = TextFacts(json.dumps(config))
    facts.filter = HostFacts().filter  # type: ignore[method-assign]
    return compile("/bundle", container_id="box", state_root="/r", assets="/a", facts=facts)


def test_the_plan_tells_of_the_filter() -> None:
    flags = ["SECCOMP_FILTER_FLAG_TSYNC", "SECCOMP_FILTER_FLAG_SPEC_ALLOW", "SECCOMP_FILTER_FLAG_LOG"]
    plan, artifacts, _ = compiled(profile(rule("read", "write"), flags=flags))
    assert plan.process.seccomp.default_action == "SCMP_ACT_ERRNO"
    assert plan.process.seccomp.system_calls == 2
    assert plan.process.seccomp.flags == ("SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW")
    files = {file.path: file.content for file in artifacts.overlay}
    assert len(files["runx/seccomp"]) == plan.process.seccomp.instructions * 8
    assert b"seccomp\x001\x006\x00" in files["runx/process"]
    assert not [entry for entry in plan.ignored if "seccomp" in entry.path]


def test_without_the_library_the_profile_is_ignored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filters, "find_library", lambda: "")
    plan, artifacts, _ = compiled(profile(rule("read")))
    assert [(entry.path, entry.reason) for entry in plan.ignored if "seccomp" in entry.path] == [
        ("linux.seccomp", "no filter is loaded: libseccomp.so.2 is not installed")
    ]
    assert "runx/seccomp" not in {file.path for file in artifacts.overlay}


def test_a_library_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "lib").write_text("no library")
    with pytest.raises(NoFilters, match="lib: "):
        filters._made(profile(), str(tmp_path / "lib"), -1, "")


def test_a_host_short_of_files_does_not_drop_the_filter(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr("os.memfd_create", full)
    with pytest.raises(CompileError, match="no place for the program: too many open files"):
        compiled(profile(rule("read")))


# The cache.


def test_a_filter_is_kept_and_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    cache = tmp_path / "cache/runx/seccomp"
    document = profile(rule("read"))
    program = host_filter(document, str(cache))
    assert cache.stat().st_mode & 0o777 == 0o700
    assert [path.stat().st_mode & 0o777 for path in cache.iterdir()] == [0o600]
    monkeypatch.setattr(filters, "_made", lambda *_: pytest.fail("built again"))
    assert host_filter(document, str(cache)) == program
    with pytest.raises(pytest.fail.Exception):
        host_filter(profile(rule("write")), str(cache))


def test_a_hit_loads_no_library(tmp_path: Path) -> None:
    script = (
        "import sys; from runx.compiler.filters import host_filter; "
        f"host_filter({{'defaultAction': 'SCMP_ACT_ALLOW'}}, {str(tmp_path / 'c')!r}); print('ctypes' in sys.modules)"
    )
    runs = [subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout for _ in "12"]
    assert runs == ["True\n", "False\n"]


@pytest.mark.parametrize("damage", [b"", b"short", bytes(32 + 16)])
def test_a_damaged_file_is_replaced(tmp_path: Path, damage: bytes) -> None:
    document = profile(rule("read"))
    program = host_filter(document, str(tmp_path / "c"))
    (kept,) = (tmp_path / "c").iterdir()
    whole = kept.read_bytes()
    kept.write_bytes(damage)
    assert host_filter(document, str(tmp_path / "c")) == program
    assert kept.read_bytes() == whole


def test_a_directory_that_others_may_use_is_not_trusted(tmp_path: Path) -> None:
    document = profile(rule("read"))
    program = host_filter(document, str(tmp_path / "c"))
    (kept,) = (tmp_path / "c").iterdir()
    kept.unlink()
    (tmp_path / "c").chmod(0o755)
    (tmp_path / "link").symlink_to("c")
    for cache in ("c", "link"):
        assert host_filter(document, str(tmp_path / cache)) == program
        assert not list((tmp_path / "c").iterdir())


def test_a_link_in_the_cache_is_not_followed(tmp_path: Path) -> None:
    document = profile(rule("read"))
    program = host_filter(document, str(tmp_path / "c"))
    (kept,) = (tmp_path / "c").iterdir()
    kept.rename(tmp_path / "elsewhere")
    kept.symlink_to(tmp_path / "elsewhere")
    assert host_filter(document, str(tmp_path / "c")) == program
    assert not kept.is_symlink()


def test_a_cache_that_cannot_be_written_is_no_failure() -> None:
    assert host_filter(profile(rule("read")), "/proc/nowhere/seccomp")


def test_the_cache_is_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(filters, "KEPT", 3)
    for number in range(6):
        host_filter(profile(rule("read"), defaultErrnoRet=number), str(tmp_path / "c"))
    assert len(list((tmp_path / "c").iterdir())) == 3


def test_looking_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """`runx plan` builds the filter to show its length, or finds it, and keeps nothing."""
    monkeypatch.setattr(paths, "FILTER_CACHE", str(tmp_path / "cache"))
    config = json.loads((CASES / "minimal/config.json").read_text())
    config["linux"]["seccomp"] = profile(rule("read", "write"))
    (tmp_path / "bundle/rootfs").mkdir(parents=True)
    (tmp_path / "bundle/config.json").write_text(json.dumps(config))
    assert main(["plan", str(tmp_path / "bundle")]) == 0
    assert re.search(
        r"seccomp +2 system calls, \d+ instructions, all else: errno \(sha256 [0-9a-f]{12}\)", capsys.readouterr().out
    )
    assert not (tmp_path / "cache").exists()
    host_filter(profile(rule("read", "write")), str(tmp_path / "cache"))
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").iterdir()}
    monkeypatch.setattr("runx.compiler.filters._made", None)
    assert main(["plan", str(tmp_path / "bundle")]) == 0
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "cache").iterdir()} == before


def test_create_keeps_filters(monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(*_: object, facts: HostFacts, **__: object) -> None:
        raise RunxError(f"{facts.filter_cache} {facts.keeps_filters}")

    monkeypatch.setattr("runx.compiler.compile", stop)
    with pytest.raises(RunxError, match=r"^/var/cache/runx/seccomp True$"):
        create._compile_into(SimpleNamespace(directory="/run/runx/c"), "/b", "/run/runx")


# In the guest: /init, run here in namespaces.

Start = Callable[..., GuestBox]
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces and mounts need root")
MACHINE = platform.machine()
# x86_64; other machines have other numbers, and are tested by the programs above.
native = pytest.mark.skipif(MACHINE != "x86_64", reason="numbers of x86_64")
UNSHARE, KEYCTL, VHANGUP, GETPID = 272, 250, 153, 39


@pytest.fixture(scope="module")
def programs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("guest")
    call = Path(__file__).with_name("call.c")
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
@pytest.mark.parametrize("values", [{}, {"no_new_privs": 1}])
def test_the_process_sees_its_filter(start: Start, values: dict[str, object]) -> None:
    box = start(made(real_profile("docker-plain"), MACHINE), "grep", "^Seccomp", "/proc/self/status", **values)
    assert output(box) == (0, ["Seccomp:\t2", "Seccomp_filters:\t1"])


@needs_root
def test_without_a_record_there_is_no_filter(start: Start) -> None:
    box = start(None, "grep", "^Seccomp:", "/proc/self/status", seccomp=None)
    assert output(box) == (0, ["Seccomp:\t0"])


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
        (b"12345", {}, "seccomp: 5 bytes are no filter"),
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
