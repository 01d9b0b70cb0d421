"""Processes known by pid and start time, so that a reused pid is never taken for the one we started."""

import os
import select
import signal
from typing import NamedTuple


class Process(NamedTuple):
    """`started` is field 22 of /proc/PID/stat, clock ticks since boot (proc(5))."""

    pid: int
    started: int

    @classmethod
    def of(cls, pid: int) -> "Process":
        """The process that has this pid now. Raises ProcessLookupError when there is none, or only a zombie."""
        try:
            with open(f"/proc/{pid}/stat", "rb") as stat:
                # The second field, the program's name, may hold anything; what follows its last bracket does not.
                fields = stat.read().rpartition(b")")[2].split()
        except FileNotFoundError:
            raise ProcessLookupError(f"no process {pid}") from None
        if fields[0] in (b"Z", b"X"):
            raise ProcessLookupError(f"process {pid} has ended")
        return cls(pid, int(fields[19]))

    def alive(self) -> bool:
        """Whether this very process still runs."""
        try:
            return Process.of(self.pid) == self
        except ProcessLookupError:
            return False

    def end(self, grace_s: float = 5) -> None:
        """Ends it: SIGTERM, and SIGKILL after the grace. Does nothing when it is gone."""
        try:
            descriptor = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return
        try:
            # Looked at after the pidfd was opened: from here on the descriptor cannot mean another process.
            for number in (signal.SIGTERM, signal.SIGKILL):
                if not self.alive():
                    return
                signal.pidfd_send_signal(descriptor, number)
                select.select([descriptor], [], [], grace_s)
        except ProcessLookupError:
            return
        finally:
            os.close(descriptor)
