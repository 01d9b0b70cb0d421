"""From a seccomp profile (OCI config-linux.md, "Seccomp") to the BPF program that the guest loads, by libseccomp.

The program does the same as runc's: the same rules, and -ENOSYS for system calls newer than the profile. libseccomp's headers are
not needed: ctypes calls the library, with the interface of libseccomp.so.2 since version 2.4.
"""

import ctypes
import errno
import os
import struct
from typing import Any

from runx.compiler.host.facts import FilterError
from runx.errors import reason

ACTIONS = {
    "SCMP_ACT_KILL": 0x00000000,
    "SCMP_ACT_KILL_PROCESS": 0x80000000,
    "SCMP_ACT_KILL_THREAD": 0x00000000,
    "SCMP_ACT_TRAP": 0x00030000,
    "SCMP_ACT_ERRNO": 0x00050000,
    "SCMP_ACT_TRACE": 0x7FF00000,
    "SCMP_ACT_ALLOW": 0x7FFF0000,
    "SCMP_ACT_LOG": 0x7FFC0000,
}
"""Return values of seccomp(2). Errno and trace have a number in the lower half."""

OPERATORS = {
    "SCMP_CMP_NE": 1, "SCMP_CMP_LT": 2, "SCMP_CMP_LE": 3, "SCMP_CMP_EQ": 4, "SCMP_CMP_GE": 5, "SCMP_CMP_GT": 6,
    "SCMP_CMP_MASKED_EQ": 7,
}  # fmt: skip

ARCHITECTURES = {
    "x86_64": {"SCMP_ARCH_X86_64": 0xC000003E, "SCMP_ARCH_X86": 0x40000003, "SCMP_ARCH_X32": 0x4000003E},
    "aarch64": {"SCMP_ARCH_AARCH64": 0xC00000B7, "SCMP_ARCH_ARM": 0x40000028},
    "arm": {"SCMP_ARCH_ARM": 0x40000028},
}
"""By the architecture of a guest: the architectures whose programs its kernel can run, its own first. Programs of others never
make a system call."""

MAX_INSTRUCTIONS = 4096
"""BPF_MAXINSNS: the most that the kernel loads."""

_INSTRUCTION = struct.Struct("=HBBI")
_X86_64, _X32, _X32_BIT = 0xC000003E, 0x4000003E, 1 << 30
_LOAD, _JUMP, _JUMP_EQUAL, _JUMP_GREATER, _JUMP_SET, _RETURN = 0x20, 0x05, 0x15, 0x25, 0x45, 0x06
_NUMBER, _ARCHITECTURE = 0, 4
"""Offsets in struct seccomp_data."""
_ATTRIBUTE_OPTIMIZE = 8
_MANY_SYSTEM_CALLS = 32
"""With more, the program searches in a tree, which runc asks for, too."""
_UNKNOWN = -1


class _Condition(ctypes.Structure):
    _fields_ = (("arg", ctypes.c_uint), ("op", ctypes.c_int), ("a", ctypes.c_uint64), ("b", ctypes.c_uint64))


def build(profile: dict[str, Any], machine: str, library: str) -> bytes:
    """The program, an array of struct sock_filter, for a guest of `machine` (`x86_64`, `aarch64` or `arm`).

    profile: of the shape in frontends/oci/schema.py, without SCMP_ACT_NOTIFY. library: the path of libseccomp.so.2.
    Raises FilterError for a profile that contradicts itself or is too long, OSError if the library cannot be loaded.
    """
    scmp = ctypes.CDLL(library)
    scmp.seccomp_init.restype = ctypes.c_void_p
    scmp.seccomp_init.argtypes = (ctypes.c_uint32,)
    for name in ("seccomp_release", "seccomp_export_bpf", "seccomp_arch_add", "seccomp_arch_remove", "seccomp_attr_set"):
        getattr(scmp, name).argtypes = (ctypes.c_void_p, ctypes.c_uint32, ctypes.c_uint32)[: 3 if name.endswith("set") else 2]
    scmp.seccomp_release.argtypes = (ctypes.c_void_p,)
    scmp.seccomp_rule_add_array.argtypes = (
        ctypes.c_void_p, ctypes.c_uint32, ctypes.c_int, ctypes.c_uint, ctypes.POINTER(_Condition),
    )  # fmt: skip
    scmp.seccomp_syscall_resolve_name_arch.argtypes = (ctypes.c_uint32, ctypes.c_char_p)
    # The program runs on the guest's kernel, so it must not depend on the features of this machine's kernel.
    _ = any(scmp.seccomp_api_set(level) == 0 for level in (7, 6, 5, 4, 3))

    default = _action(profile["defaultAction"], profile.get("defaultErrnoRet"))
    context = scmp.seccomp_init(default)
    if not context:
        raise FilterError(f"libseccomp does not take {profile['defaultAction']} as the default action")
    try:
        architectures = _architectures(scmp, context, profile, machine)
        _add_rules(scmp, context, profile, default)
        program = _stub(scmp, profile, architectures) + _export(scmp, context)
    finally:
        scmp.seccomp_release(context)
    if len(program) > MAX_INSTRUCTIONS * _INSTRUCTION.size:
        count = len(program) // _INSTRUCTION.size
        raise FilterError(f"the profile becomes {count} instructions, and the kernel takes {MAX_INSTRUCTIONS}")
    return program


def _action(name: str, number: int | None) -> int:
    if name in ("SCMP_ACT_ERRNO", "SCMP_ACT_TRACE"):
        return ACTIONS[name] | (errno.EPERM if number is None else number & 0xFFFF)
    return ACTIONS[name]


def _architectures(scmp: ctypes.CDLL, context: int, profile: dict[str, Any], machine: str) -> list[int]:
    """Make the filter hold for the guest's own architecture and for all of `profile` that it can run; their tokens."""
    possible = ARCHITECTURES[machine]
    own = next(iter(possible.values()))
    wanted = [own, *(possible[name] for name in profile.get("architectures", ()) if name in possible)]
    for token in wanted:
        _done(scmp.seccomp_arch_add(context, token), "architectures", errno.EEXIST)
    native = scmp.seccomp_arch_native() & 0xFFFFFFFF
    if native not in wanted:
        _done(scmp.seccomp_arch_remove(context, native), "architectures")
    return list(dict.fromkeys(wanted))


def _add_rules(scmp: ctypes.CDLL, context: int, profile: dict[str, Any], default: int) -> None:
    calls = [
        (name, rule, ("syscalls", index, "names", number))
        for index, rule in enumerate(profile.get("syscalls", ()))
        for number, name in enumerate(rule["names"])
    ]
    if len(calls) > _MANY_SYSTEM_CALLS:
        scmp.seccomp_attr_set(context, _ATTRIBUTE_OPTIMIZE, 2)  # unknown before version 2.5
    known = []
    for name, rule, place in calls:
        action = _action(rule["action"], rule.get("errnoRet"))
        # Rules have numbers of this machine. The library translates them.
        number = scmp.seccomp_syscall_resolve_name(name.encode())
        if action != default and number != _UNKNOWN:
            known.append((number, action, rule.get("args", []), name, place))
    _check_comparisons([(number, args) for number, _, args, _, _ in known])
    for number, action, args, name, place in known:
        for conditions in _alternatives(args):
            array = (_Condition * len(conditions))(*conditions)
            _done(scmp.seccomp_rule_add_array(context, action, number, len(conditions), array), name, place=place)


def _check_comparisons(rules: list[tuple[int, Any]]) -> None:
    """Raise FilterError for a profile that certainly becomes too long: the library would take a time quadratic in its length to
    say so. rules: the numbers of system calls, and the conditions on their arguments.

    An instruction compares 32 bits of one argument with one number. Conditions beside a rule without any are not compared.
    """
    plain = {number for number, args in rules if not args}
    compared = {
        (arg["index"], (arg.get("valueTwo", 0) if arg["op"] == "SCMP_CMP_MASKED_EQ" else arg["value"]) & 0xFFFFFFFF)
        for number, args in rules
        if number not in plain
        for arg in args
    }
    if len(compared) > MAX_INSTRUCTIONS:
        message = (
            f"the profile compares arguments with {len(compared)} numbers, and the kernel takes {MAX_INSTRUCTIONS} instructions"
        )
        raise FilterError(message)


def _alternatives(args: list[dict[str, Any]]) -> list[list[_Condition]]:
    """The rules of a list of conditions: one rule with all; if two conditions are on one argument, a rule for each (as runc)."""
    conditions = [_Condition(arg["index"], OPERATORS[arg["op"]], arg["value"], arg.get("valueTwo", 0)) for arg in args]
    if len({condition.arg for condition in conditions}) == len(conditions):
        return [conditions]
    return [[condition] for condition in conditions]


def _export(scmp: ctypes.CDLL, context: int) -> bytes:
    try:
        descriptor = os.memfd_create("filter", os.MFD_CLOEXEC)
        with open(descriptor, "rb") as file:
            _done(scmp.seccomp_export_bpf(context, descriptor), "the program")
            file.seek(0)
            return file.read()
    except OSError as error:  # not a missing library, without which a profile is ignored
        raise FilterError(f"no place for the program: {reason(error)}") from None


def _stub(scmp: ctypes.CDLL, profile: dict[str, Any], architectures: list[int]) -> bytes:
    """The beginning of the program: -ENOSYS for system calls with numbers above all that the profile names.

    From ENOSYS, programs conclude that the kernel is older than the call, and use another one. EPERM they take for a failure.
    As in runc, there is no such beginning if the default action allows, or is ENOSYS anyway.
    """
    if profile.get("defaultErrnoRet") == errno.ENOSYS or profile["defaultAction"] in (
        "SCMP_ACT_ALLOW",
        "SCMP_ACT_LOG",
        "SCMP_ACT_TRACE",
    ):
        return b""
    names = [name.encode() for rule in profile.get("syscalls", ()) for name in rule["names"]]
    last: dict[int, int] = {}
    for token in architectures:
        numbers = [scmp.seccomp_syscall_resolve_name_arch(token, name) for name in names]
        if known := [number for number in numbers if number >= 0]:
            last[token] = max(known)
    sections = [_section(token, last) for token in last if token != _X32]
    if not sections:
        return b""
    body = [line for section in sections for line in section]
    # A section jumps to `enosys` or to `rules`, both after the last section. Other architectures go to the rules.
    enosys_line = (_RETURN, 0, 0, ACTIONS["SCMP_ACT_ERRNO"] | errno.ENOSYS)
    lines = [(_LOAD, 0, 0, _ARCHITECTURE), *body, (_JUMP, 0, 0, 1), enosys_line]
    enosys = len(lines) - 1
    targets = {"enosys": enosys, "rules": enosys + 1}
    return b"".join(
        _INSTRUCTION.pack(code, *(targets[to] - index - 1 if isinstance(to, str) else to for to in (yes, no)), k)
        for index, (code, yes, no, k) in enumerate(lines)
    )


def _section(token: int, last: dict[int, int]) -> list[tuple[int, int | str, int | str, int]]:
    """The section of one architecture: compare the number and jump. The architecture's token is in the accumulator."""
    lines: list[tuple[int, int | str, int | str, int]] = [(_LOAD, 0, 0, _NUMBER)]
    if token == _X86_64:
        # x32 has the same token, and a bit in its numbers tells it.
        if _X32 in last:
            lines += [(_JUMP_SET, 0, 1, _X32_BIT), (_JUMP_GREATER, "enosys", "rules", last[_X32])]
        else:
            lines.append((_JUMP_SET, "rules", 0, _X32_BIT))
    lines.append((_JUMP_GREATER, "enosys", "rules", last[token]))
    return [(_JUMP_EQUAL, 0, len(lines), token), *lines]


def _done(result: int, what: str, *harmless: int, place: tuple[str | int, ...] = ()) -> None:
    if result < 0 and -result not in harmless:
        reasons = {errno.EEXIST: "another rule says otherwise", errno.EINVAL: "libseccomp takes no such rule"}
        raise FilterError(f"{what}: {reasons.get(-result, os.strerror(-result).lower())}", place)
