"""The states of a container (OCI runtime.md, "Lifecycle"), and what leads from one to the next."""

import os

from runx.errors import RunxError
from runx.exec.supervisor import control
from runx.exec.supervisor.loop import Ended
from runx.linux.signals import signal

TYPE_CHECKING = False  # as typing's, which costs the supervisor memory
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    from runx.exec.container.record import Record

    class Runnable(Protocol):
        """What is started, paused and resumed."""

        def start(self) -> None:
            """Let a created container run. Raises RunxError."""

        def pause(self) -> None:
            """Stop a running container. Raises RunxError."""

        def resume(self) -> None:
            """Continue a paused container. Raises RunxError."""

        @property
        def execute(self) -> Callable[[int, list[int]], None]:
            """Start a further process for the carrier at this connection, with its descriptors, which are closed after an error.
            Raises RunxError."""

        @property
        def join(self) -> Callable[[int, str], None]:
            """Take a container into the machine of a pod, by the connection to its supervisor and its id. Raises RunxError."""

        @property
        def deliver(self) -> Callable[[int], None]:
            """Deliver a signal to a container that has been started. Raises RunxError if it is not taken, or Ended."""


IGNORED_BY_DEFAULT = (signal.SIGCHLD, signal.SIGCONT, signal.SIGURG, signal.SIGWINCH)


class Lifecycle:
    """Moves one container from state to state."""

    def __init__(self, record: "Record", machine: "Runnable") -> None:
        self._record = record
        self._machine = machine
        self._carriers: list[tuple[int, str]] = []
        """Pid and start time of the processes that have asked for a further process."""

    def start(self) -> None:
        """Start a created container. Raises RunxError if it is in another state, or cannot be started."""
        self._move("start", "created", "running", self._machine.start)

    def pause(self) -> None:
        """Pause a running container. Raises RunxError if it is in another state, or cannot be paused."""
        self._move("pause", "running", "paused", self._machine.pause)

    def resume(self) -> None:
        """Continue a paused container. Raises RunxError if it is in another state, or cannot be continued."""
        self._move("resume", "paused", "running", self._machine.resume)

    def _move(self, verb: str, before: str, after: str, act: "Callable[[], None]") -> None:
        """Act, and record the new state once that has succeeded: it is the state, whether it can be written or not."""
        if self._record.status != before:
            raise RunxError(f"cannot {verb} a container in the {self._record.status} state")
        act()
        self._record.status = after
        self._record.save_if_possible()

    def signal(self, number: int) -> None:
        """Deliver a signal. Raises RunxError if it is not taken, or Ended.

        A container that was never started has no process. A signal that would end one ends the container, as it would end
        runc's waiting init. KILL ends a paused container too, which needs to run for that.
        """
        if self._record.status == "created":
            if number not in IGNORED_BY_DEFAULT:
                raise Ended(128 + number)
            return
        if number == signal.SIGKILL and self._record.status == "paused":
            try:
                self.resume()
            except RunxError as error:
                self._record.say("warning", f"the container is destroyed, as it cannot be resumed to be killed: {error.message}")
                raise Ended(128 + number) from None
        self._machine.deliver(number)

    def join(self, connection: int, container_id: str) -> None:
        """Take a container into the machine of a pod, which runs. Raises RunxError; else the connection is the container's."""
        if self._record.status != "running":
            raise RunxError(f"cannot join the machine of a pod in the {self._record.status} state")
        self._machine.join(connection, container_id)

    def execute(self, connection: int, fds: list[int], *, while_paused: bool, since: str) -> None:
        """Start a further process in a running container. Raises RunxError if it cannot be; the descriptors are closed then.

        while_paused: in a paused one too, whose process starts when it is resumed. since: when the carrier was started, as it
        says itself: this process may not look (host_view.py); "": it is no carrier. The texts are runc's.
        """
        status = self._record.status
        if status == "running" or (status == "paused" and while_paused):
            carrier = control.peer(connection)
            self._machine.execute(connection, fds)
            self._carriers = [known for known in self._carriers if _lives(known[0])]
            if since and carrier:
                self._carriers.append((carrier, since))
        else:
            refuse(connection, fds, f"cannot exec in a {status} container")

    def carriers(self) -> list[tuple[int, str]]:
        """The processes on the host that stand for further processes of the container: pids and start times (linux/proc.py).

        Another process may have the pid of one that has ended: its start time tells.
        """
        return [known for known in self._carriers if _lives(known[0])]


def _lives(pid: int) -> bool:
    """Whether there is a process with this pid."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass
    return True


def takes_none_in(_connection: int, _container_id: str) -> None:
    """Refuse a container that would join."""
    raise RunxError("the container is not the sandbox of a pod that is one virtual machine")


def refuse(_connection: int, fds: list[int], why: str = "no process can be started in this container") -> None:
    """Refuse a further process, and close its descriptors."""
    for fd in fds:
        os.close(fd)
    raise RunxError(why)
