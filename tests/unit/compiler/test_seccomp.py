"""seccomp: profiles to programs, followed here instruction by instruction."""

import copy
import errno
import json
import random
import struct
from pathlib import Path
from typing import Any

import pytest

from compiler_cases import TextFacts
from runx.cli.plan import main
from runx.compiler.diagnostics import CompileError
from runx.compiler.host.facts import FilterError, NoFilters
from runx.compiler.host.libseccomp import ARCHITECTURES
from runx.compiler.pipeline import Inputs, compile
from seccomp_profiles import LIBRARY, argument, compiled, made, profile, real_profile, rule

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
    args = [argument(0, "EQ", 3)]
    with pytest.raises(FilterError, match="read: another rule says otherwise") as caught:
        made(profile(rule("write", "read", args=args), rule("read", action="SCMP_ACT_TRAP", args=args)))
    assert caught.value.place == ("syscalls", 1, "names", 0)


def test_a_profile_that_is_too_long() -> None:
    rules = [rule("prctl", args=[argument(n % 6, "EQ", n)]) for n in range(4090)]
    with pytest.raises(FilterError, match=r"the profile becomes \d+ instructions, and the kernel takes 4096"):
        made(profile(*rules))


def test_a_profile_that_is_much_too_long_is_refused_at_once() -> None:
    """libseccomp would take minutes."""
    rules = [rule("prctl", args=[argument(n % 6, "EQ", n)]) for n in range(50_000)]
    with pytest.raises(FilterError, match="compares arguments with 50000 numbers, and the kernel takes 4096 instructions"):
        made(profile(*rules))
    # Beside a rule without conditions, these say nothing, as do those of a name that the library does not know.
    rules = [rule("no_such_call", "prctl", args=[argument(0, "EQ", n)]) for n in range(5000)]
    assert follow(made(profile(rule("read"), rule("prctl"), *rules)), X86_64, READ) == ALLOW


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
            plan, artifacts, *_ = compiled(document)
            assert plan.process.seccomp is None or len(artifacts.overlay[-1].content) % 8 == 0
            outcomes["made"] += 1
        except CompileError as error:
            assert "linux.seccomp" in error.message
            outcomes["refused"] += 1
    assert min(outcomes.values()) > 50, outcomes


class NoLibrary(TextFacts):
    """A host that cannot make filters. elsewhere: the facts are for `runx plan`."""

    def __init__(self, toml: str = "", *, elsewhere: bool = False) -> None:
        config = {
            "ociVersion": "1.3.0", "root": {"path": "r"}, "process": {"cwd": "/", "args": ["x"]},
            "linux": {"namespaces": [{"type": "network"}], "seccomp": profile(rule("read"))},
        }  # fmt: skip
        super().__init__(json.dumps(config))
        self.toml = toml
        self.elsewhere = elsewhere

    def host_config(self) -> tuple[str, bytes] | None:
        return ("runx.toml", self.toml.encode()) if self.toml else None

    def filter(self, profile: object) -> bytes:  # noqa: ARG002
        error = NoFilters("libseccomp.so.2 is not installed")
        error.is_elsewhere = self.elsewhere
        raise error


def planned(facts: NoLibrary) -> Any:
    return compile(Inputs("/b", container_id="c", state_root="/r", assets="/a", facts=facts)).plan


def test_without_the_library_a_profile_is_an_error() -> None:
    for toml in ("", "[policy]\nseccomp_optional = false\n"):
        with pytest.raises(CompileError, match=r"linux\.seccomp: no filter can be made: libseccomp\.so\.2 is not") as caught:
            planned(NoLibrary(toml))
        assert "seccomp_optional in [policy]" in caught.value.message
        assert caught.value.diagnostics[0].id == "RX445"


@pytest.mark.parametrize("facts", [NoLibrary("[policy]\nseccomp_optional = true\n"), NoLibrary(elsewhere=True)])
def test_unless_the_host_allows_it_or_the_plan_is_for_another_one(facts: NoLibrary) -> None:
    plan = planned(facts)
    assert plan.process.seccomp is None
    assert [notice.reason for notice in plan.ignored if notice.id == "RX443"] == [
        "no filter is loaded: libseccomp.so.2 is not installed"
    ]


def test_a_plan_warns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("runx.compiler.host.seccomp_cache.find_library", lambda: "")
    (tmp_path / "r").mkdir()
    (tmp_path / "config.json").write_bytes(NoLibrary().raw)
    assert main([str(tmp_path)], "/run/runx") == 0
    said = capsys.readouterr()
    assert "warning: no seccomp filter: libseccomp.so.2 is not installed, without which `runx create` would fail" in said.err
    assert "no filter is loaded" in said.out
