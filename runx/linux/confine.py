"""Take rights from this process for ever: capabilities, privileges of programs, system calls."""

import errno
import os
import struct
import sys

from runx.linux import libc, proc

_PR_SET_DUMPABLE, _PR_CAPBSET_READ, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS, _PR_SET_SECCOMP = 4, 23, 24, 38, 22
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 47, 4
_SECCOMP_MODE_FILTER = 2
_CAPABILITY_VERSION_3 = 0x20080522

# linux/capability.h
CAP_CHOWN, CAP_DAC_OVERRIDE, CAP_DAC_READ_SEARCH, CAP_FOWNER, CAP_FSETID, CAP_MKNOD, CAP_SETFCAP = 0, 1, 2, 3, 4, 27, 31
CAP_KILL, CAP_SETGID, CAP_SETUID, CAP_SETPCAP, CAP_NET_ADMIN, CAP_NET_RAW, CAP_IPC_LOCK = 5, 6, 7, 8, 12, 13, 14
CAP_SYS_CHROOT = 18
CAP_SYS_PTRACE, CAP_SYS_ADMIN, CAP_SYS_NICE, CAP_SYS_RESOURCE = 19, 21, 23, 24

_prctl_of_five = libc.function("prctl", "iLLLL")
_capget = libc.function("capget", "PP")
_capset = libc.function("capset", "PP")
_CapabilityData = libc.buffer_type(24)
"""Twice effective, permitted and inheritable (struct __user_cap_data_struct)."""


def _prctl(option: int, *arguments: int) -> int:
    return _prctl_of_five(option, *arguments, *(0,) * (4 - len(arguments)))


def not_traceable() -> None:
    """Keep other processes without CAP_SYS_PTRACE out of this one's /proc/PID and memory. Raises OSError."""
    libc.check(_prctl(_PR_SET_DUMPABLE, 0), "PR_SET_DUMPABLE")


def keep_capabilities(kept: "frozenset[int]") -> None:
    """Give up all capabilities but those of these that this process has, for programs to come, too. Raises OSError."""
    number = 0
    while _prctl(_PR_CAPBSET_READ, number) >= 0:  # EINVAL after the kernel's last one
        if number not in kept:
            libc.check(_prctl(_PR_CAPBSET_DROP, number), "PR_CAPBSET_DROP")
        number += 1
    libc.check(_prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL), "PR_CAP_AMBIENT")
    header = struct.pack("=Ii", _CAPABILITY_VERSION_3, 0)
    buffer = _CapabilityData()
    libc.check(_capget(header, buffer), "capget")
    permitted = struct.unpack("=6I", memoryview(buffer))[1::3]
    words = [sum(1 << number % 32 for number in kept if number // 32 == word) & permitted[word] for word in range(2)]
    data = b"".join(struct.pack("=III", word, word, 0) for word in words)  # effective, permitted, inheritable
    libc.check(_capset(header, data), "capset")


def no_new_privileges() -> None:
    """Let no program that this process executes have more rights than it has. Raises OSError."""
    libc.check(_prctl(_PR_SET_NO_NEW_PRIVS, 1), "PR_SET_NO_NEW_PRIVS")


# -- system calls (seccomp(2)) ---------------------------------------------------------------------------------------------

_LOAD, _JUMP_EQUAL, _JUMP_GREATER, _JUMP_NOT_LESS, _JUMP_SET, _RETURN = 0x20, 0x15, 0x25, 0x35, 0x45, 0x06
_NUMBER, _ARCHITECTURE, _ARGUMENTS = 0, 4, 16
"""Offsets in struct seccomp_data."""
_ALLOW, _ERRNO, _KILL_PROCESS = 0x7FFF0000, 0x00050000, 0x80000000
ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7, "arm": 0x40000028}
"""AUDIT_ARCH_* by the name of the architecture."""


def architecture() -> str:
    """The architecture of this process, as ARCHITECTURES has it: arm for a program of 32 bits on a kernel of 64, too."""
    machine = os.uname().machine
    return "arm" if machine.startswith("arm") or (machine == "aarch64" and sys.maxsize < 1 << 32) else machine


def numbers(architecture: str, table: str) -> "dict[str, int]":
    """Numbers of system calls by name, of a table with a column for each architecture. Raises ValueError for an architecture that
    the table does not have."""
    rows = [line.split() for line in table.strip().splitlines()]
    column = rows[0].index(architecture)
    return {row[0]: int(row[column]) for row in rows[1:] if row[column] != "-"}


class Condition:
    """What an argument of a system call has to be: one of some values, with some bits set, or with none of them set."""

    __slots__ = ("argument", "none_of", "one_of", "some_of")

    def __init__(self, argument: int, *, one_of: "tuple[int, ...]" = (), some_of: int = 0, none_of: int = 0) -> None:
        """argument: its number, from 0. Its lower 32 bits count."""
        self.argument = argument
        self.one_of, self.some_of, self.none_of = one_of, some_of, none_of


def filter_program(
    audit: int, allowed: "list[int]", conditions: "dict[int, Condition]", refusal: int
) -> "list[tuple[int, int, int, int]]":
    """A program that allows some system calls, and others under a condition; for all others it gives the errno `refusal`.

    System calls of other architectures than `audit` (AUDIT_ARCH_*) end the process. Instructions are fields of struct
    sock_filter.
    """
    body = _conditional(conditions, refusal)
    count = len(allowed)
    body += [(_JUMP_EQUAL, count - at, 0, number) for at, number in enumerate(allowed)]
    return [
        *_of_architecture(audit),
        *body,
        (_RETURN, 0, 0, _ERRNO | refusal),
        (_RETURN, 0, 0, _ALLOW),
    ]


def _of_architecture(audit: int) -> "list[tuple[int, int, int, int]]":
    """Instructions that end the process if the system call is of another architecture, and load its number."""
    return [
        (_LOAD, 0, 0, _ARCHITECTURE),
        (_JUMP_EQUAL, 1, 0, audit),
        (_RETURN, 0, 0, _KILL_PROCESS),
        (_LOAD, 0, 0, _NUMBER),
    ]


def _conditional(conditions: "dict[int, Condition]", refusal: int) -> "list[tuple[int, int, int, int]]":
    """Instructions that decide about these system calls, and go on for all others."""
    body: list[tuple[int, int, int, int]] = []
    for number, condition in conditions.items():
        checks: list[tuple[int, int, int, int]] = [(_LOAD, 0, 0, _ARGUMENTS + 8 * condition.argument)]
        if condition.one_of:
            last = len(condition.one_of) - 1
            checks += [(_JUMP_EQUAL, last - at + 1, 0, value) for at, value in enumerate(condition.one_of)]
        elif condition.some_of:
            checks.append((_JUMP_SET, 1, 0, condition.some_of))
        else:
            checks.append((_JUMP_SET, 0, 1, condition.none_of))
        checks += [(_RETURN, 0, 0, _ERRNO | refusal), (_RETURN, 0, 0, _ALLOW)]
        body += [(_JUMP_EQUAL, 0, len(checks), number), *checks]
    return body


_X32 = 0x40000000
"""Set in numbers of x86_64's second set of system calls, which would get round a list of numbers (__X32_SYSCALL_BIT)."""
_PRIVATE = 0x0F0000
"""From here on, Arm has calls of its own, such as set_tls (__ARM_NR_BASE)."""


def denial_program(
    audit: int,
    denied: "list[int]",
    refusal: int,
    conditions: "dict[int, Condition] | None" = None,
    missing: "list[int] | None" = None,
    newest: int = _PRIVATE,
) -> "list[tuple[int, int, int, int]]":
    """As `filter_program`, a program that allows all system calls but some, which get the errno `refusal`.

    conditions: under which others are allowed. missing: calls that get ENOSYS, as of an older kernel; so do all after `newest`.
    """
    numbers = sorted(denied)
    absent = [step for number in missing or () for step in ((_JUMP_EQUAL, 0, 1, number), (_RETURN, 0, 0, _ERRNO | errno.ENOSYS))]
    checks = [(_JUMP_EQUAL, len(numbers) - at, 0, number) for at, number in enumerate(numbers)]
    return [
        *_of_architecture(audit),
        (_JUMP_SET, 0, 1, _X32),
        (_RETURN, 0, 0, _ERRNO | refusal),
        (_JUMP_GREATER, 0, 3, newest),
        (_JUMP_NOT_LESS, 1, 0, _PRIVATE),
        (_RETURN, 0, 0, _ERRNO | errno.ENOSYS),
        (_RETURN, 0, 0, _ALLOW),
        *absent,
        *_conditional(conditions or {}, refusal),
        *checks,
        (_RETURN, 0, 0, _ALLOW),
        (_RETURN, 0, 0, _ERRNO | refusal),
    ]


def load_filter(program: "list[tuple[int, int, int, int]]") -> None:
    """Bind this process to a program of `filter_program`, after `no_new_privileges`. Raises OSError."""
    code = b"".join(struct.pack("=HBBI", *instruction) for instruction in program)
    header = struct.pack("@HP", len(program), libc.address(code))
    libc.check(_prctl(_PR_SET_SECCOMP, _SECCOMP_MODE_FILTER, libc.address(header)), "PR_SET_SECCOMP")


# -- as others see it ------------------------------------------------------------------------------------------------------

_PR_SET_MM, _PR_SET_MM_ARG_START, _PR_SET_MM_ARG_END, _PR_SET_PDEATHSIG = 35, 8, 9, 1
_titles: "list[bytes]" = []


def set_title(text: str) -> None:
    """Make `text` the command line that ps(1) shows. Without CAP_SYS_RESOURCE, only so much of it as the present one has room
    for."""
    title = os.fsencode(text) + b"\0"
    _titles.append(title)  # the kernel reads it there
    start = libc.address(title)
    if _prctl(_PR_SET_MM, _PR_SET_MM_ARG_START, start) == 0:
        _prctl(_PR_SET_MM, _PR_SET_MM_ARG_END, start + len(title) - 1)
    else:
        _overwrite_arguments(title)


def _overwrite_arguments(title: bytes) -> None:
    """Write over the arguments where the kernel has put them: nothing reads them there but /proc/PID/cmdline (proc_pid_stat(5),
    arg_start and arg_end)."""
    start, end = map(int, proc.stat(os.getpid())[45:47])
    if room := end - start:
        memory = os.open("/proc/self/mem", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.pwrite(memory, title[: room - 1].ljust(room, b"\0"), start)
        finally:
            os.close(memory)


def die_at(adjustment: int) -> None:
    """Say when this process is killed for want of memory: from -1000, never, to 1000, first (proc_pid_oom_score_adj(5)).

    A lower value than it has takes CAP_SYS_RESOURCE; without that it keeps what it has. Raises OSError.
    """
    file = os.open("/proc/self/oom_score_adj", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(file, str(adjustment).encode())
    except PermissionError:
        pass
    finally:
        os.close(file)


def end_with_parent(signal: int) -> None:
    """Have the kernel send this signal when the parent ends. Raises OSError."""
    libc.check(_prctl(_PR_SET_PDEATHSIG, signal), "PR_SET_PDEATHSIG")
