"""Processes identified by pid and start time, so that a reused pid is never taken for our process."""

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
        """The process that has this pid now. Raises ProcessLookupError for none, and for a zombie."""
        try:
            with open(f"/proc/{pid}/stat", "rb") as stat:
                # The second field is the program's name, which may contain anything, so read what follows its last bracket.
                fields = stat.read().rpartition(b")")[2].split()
        except FileNotFoundError:
            raise ProcessLookupError(f"no process {pid}") from None
        if fields[0] in (b"Z", b"X"):
            raise ProcessLookupError(f"process {pid} has ended")
        return cls(pid, int(fields[19]))

    def alive(self) -> bool:
        """Whether this process still runs."""
        try:
            return Process.of(self.pid) == self
        except ProcessLookupError:
            return False

    def end(self, grace_s: float = 5) -> None:
        """End the process with SIGTERM, and after `grace_s` seconds with SIGKILL. Does nothing for one that has ended."""
        try:
            descriptor = os.pidfd_open(self.pid)
        except ProcessLookupError:
            return
        try:
            # `alive` after pidfd_open proves that the descriptor is of this process.
            for number in (signal.SIGTERM, signal.SIGKILL):
                if not self.alive():
                    return
                signal.pidfd_send_signal(descriptor, number)
                select.select([descriptor], [], [], grace_s)
        except ProcessLookupError:
            return
        finally:
            os.close(descriptor)
