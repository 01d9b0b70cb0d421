"""Processes. A pid alone may be another process's by now: a process is known by its pid and its start time."""

import os


def stat(pid: int) -> list[bytes]:
    """The fields of /proc/PID/stat from the third, the state, on (proc_pid_stat(5)); none when the process has ended."""
    try:
        file = os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return []
    try:
        text = os.read(file, 1024)
    except OSError:
        return []  # it ended just now
    finally:
        os.close(file)
    # The second field, the program's name, may hold anything; what follows its last bracket does not.
    fields = text[text.rindex(b")") + 2 :].split()
    return [] if fields[0] in (b"Z", b"X") else fields


def start_time(pid: int) -> str:
    """When a live process was started, in clock ticks since boot (field 22); "" when it has ended."""
    fields = stat(pid)
    return fields[19].decode() if fields else ""


def die_with_parent(parent: int, signal: int) -> None:
    """Have the kernel send this process a signal when the thread that forked it ends (PR_SET_PDEATHSIG(2const)).

    An exec of a program without set-id bits keeps that. Raises ProcessLookupError if `parent`, its pid, has ended already.
    """
    import ctypes  # fast commands load this module

    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, ctypes.c_ulong(signal))
    if os.getppid() != parent:
        raise ProcessLookupError("the parent has ended")


_PR_SET_PDEATHSIG = 1
"""linux/prctl.h"""


def pidfd(pid: int, started: str) -> int:
    """A descriptor of the process with this pid and start time, which polls as readable when it has ended (pidfd_open(2)).

    -1 when it has ended already, or there never was one.
    """
    if pid <= 0 or not started:
        return -1
    try:
        descriptor = os.pidfd_open(pid)
    except ProcessLookupError:
        return -1
    # Looked at after the descriptor is ours: from here on it cannot be another process that got the number.
    if start_time(pid) != started:
        os.close(descriptor)
        return -1
    return descriptor
