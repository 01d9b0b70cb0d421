"""The life of a container on the host, whatever it is made of: made, supervised, removed.

One process for each container does this. It puts the parts of its loop together (loop.py): those of the machine, which is a
virtual machine (vm.py) or a pod's sandbox (sandbox.py), and those that serve the engine.
"""

import os

from runx.errors import RunxError
from runx.exec.supervisor import loop
from runx.exec.supervisor.host_signals import HostSignals
from runx.exec.supervisor.lifecycle import Lifecycle
from runx.exec.supervisor.requests import Requests
from runx.exec.supervisor.session import STATUS_BROKEN
from runx.linux import netns
from runx.linux.proc import start_time

TYPE_CHECKING = False  # as typing's, which costs the supervisor memory
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Protocol

    from runx.exec.container.record import Record
    from runx.exec.supervisor.lifecycle import Runnable
    from runx.exec.supervisor.loop import Part
    from runx.exec.supervisor.session import Session

    class Machine(Runnable, Protocol):
        """What is supervised: vm.VirtualMachine, sandbox.Sandbox."""

        @property
        def first_parts(self) -> tuple[Part, ...]:
            """Parts of the loop that have their turn before requests are served."""

        @property
        def last_parts(self) -> tuple[Part, ...]:
            """Parts of the loop that have their turn after that."""

        def make(self, caller: int) -> None:
            """Make it, up to what `start` does, or begin with that. This process is in the container's network namespace.

            caller: a descriptor of a pipe that is closed if the caller is ended meanwhile. Raises RunxError.
            """

        def complete(self, serving: Sequence[Part]) -> int | None:
            """Make what `make` only began with, while these parts are served. The exit status of a container that ended before
            it was complete, None for one that is."""

        def confine(self) -> None:
            """Give up what this process does not need any more, if it is complete. Raises RunxError."""

        def await_hooks(self, order: int) -> None:
            """Wait until the descriptor `order` is readable. Raises RunxError if the machine ends before."""

        @property
        def finished(self) -> Callable[[], int | None]:
            """The container's exit status once there is nothing left to do, None until then."""

        def remove(self) -> None:
            """Leave nothing of it, however far `make` has come. Raises RunxError."""


class Supervisor:
    """The life of one container, from a compiled plan in its directory to its exit status."""

    def __init__(self, record: "Record", machine: "Machine", session: "Session", host_network: int) -> None:
        """host_network: a descriptor of the host's network namespace."""
        self._record = record
        self._machine = machine
        self._session = session
        self._host_network = host_network
        self._lifecycle = Lifecycle(record, machine)

    def create(self, caller: int, run_hooks: "Callable[[], None] | None") -> None:
        """Make the container, up to the state "created". Raises RunxError; nothing is left of the container then.

        caller: as in Machine.make.
        run_hooks: called when everything is there that a hook may look at, and the status is still "creating".
        """
        record = self._record
        moved: list[tuple[str, str]] = []
        try:
            if record.network_namespace:
                netns.join(record.network_namespace, self._host_network)
            self._machine.make(caller)
            if record.network_devices:
                from runx.exec.network import host_devices  # few containers have any

                moved = host_devices.take(record.network_devices, self._host_network)
            self._requests = Requests(record, self._lifecycle, self._session)
            if record.terminal:
                self._session.open_terminal(record.console_socket, *record.terminal)
            record.pid = os.getpid()
            record.pid_start = start_time(record.pid)
            if run_hooks:
                record.save()
                run_hooks()
            self._machine.confine()
            record.status = "created"
            record.save()
        except BaseException:
            if moved:
                host_devices.give_back(moved, self._host_network)
            self._machine.remove()
            raise

    def supervise(self) -> int:
        """Serve until the container has ended; its exit status. Nothing of the container is left then but its record."""
        machine, session = self._machine, self._session
        status = STATUS_BROKEN
        try:
            host_signals = HostSignals(self._lifecycle, session, self._record.terminal is not None, self._record.say)
            serving = (self._requests, host_signals)
            ended = machine.complete(serving)
            status = loop.run((*machine.first_parts, *serving, *machine.last_parts), machine.finished) if ended is None else ended
        except RunxError as error:
            session.say(f"the container is ended: {error.message}")
        except Exception as error:  # a fault of ours must leave nothing behind, nor look like the container's own status
            session.say(f"internal error, the container is ended: {type(error).__name__}: {error}")
        finally:
            self._finish(status)
        return status

    def _finish(self, status: int) -> None:
        record = self._record
        try:
            self._machine.remove()
        except RunxError as error:
            self._session.say(f"cleaning up: {error.message}")
        record.status = "stopped"
        record.exit_status = status
        try:
            record.save()
        except RunxError:
            pass  # `delete --force` was quicker
        self._requests.close()
