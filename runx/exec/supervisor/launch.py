"""Start a supervisor, and talk to it until the container is created: the side of `create`. main.py has the supervisor's."""

import os
import signal
import sys
from collections.abc import Callable

from runx import paths
from runx.errors import RunxError
from runx.exec import spawn
from runx.exec.container import hooks
from runx.exec.container.record import Record
from runx.linux import netns

_PROGRAM = """\
import os, sys
sys.path[:0] = [{library!r}]
from runx.exec.supervisor.main import main
os._exit(main())
"""


def _environment() -> dict[str, str]:
    """What the supervisor has of ours. An engine's environment may hold passwords (of proxies, of clouds), which are none of a
    guest that takes over the supervisor or its server. Python itself may need what is for ld.so(8)."""
    of_linker = {name: value for name, value in os.environ.items() if name.startswith("LD_")}
    return spawn.environment() | of_linker


class SupervisorProcess:
    """The supervisor's process. It loads while this process compiles, and does nothing before `go`. It ends if this process is
    killed before that."""

    def __init__(self, record: Record) -> None:
        self.made_the_domain = False
        go, self._go = os.pipe2(os.O_CLOEXEC)
        self._report, report = os.pipe2(os.O_CLOEXEC)
        fds = (report, go, netns.descriptor())
        for fd in fds:
            os.set_inheritable(fd, True)
        program = _PROGRAM.format(library=paths.LIBRARY_DIR)
        argv = netns.unshared([sys.executable, "-I", "-S", "-c", program, record.directory, *map(str, fds)])
        # It has its own session, and this process does not wait for its end. When this process ends, it becomes the child of
        # the caller's subreaper (containerd-shim, conmon), which takes its exit status as the container's.
        self.pid = os.posix_spawn(spawn.program(argv[0]), argv, _environment(), setsid=True)
        for fd in fds:
            os.close(fd)

    def go(self, run_hooks: Callable[[int], None] | None = None) -> None:
        """Let it make the domain, and wait for its report. Raises RunxError with the error that it reports.

        run_hooks: called with its pid once the domain exists, which the hooks may look at.
        """
        self._tell(hooks.ORDER_WITH_HOOKS if run_hooks else b"g")
        with open(self._report, encoding="utf-8", errors="replace") as pipe:
            report = pipe.readline()
            if run_hooks and report == hooks.HOOKS_NOW:
                self.made_the_domain = True
                try:
                    run_hooks(self.pid)
                except BaseException:
                    self._close_go()  # so that it removes the domain, and ends
                    os.waitpid(self.pid, 0)
                    raise
                self._tell(b"g")
                report = ""
            self._close_go()
            report += pipe.read()
        if report.startswith("created\n"):
            self.made_the_domain = True
            return
        os.waitpid(self.pid, 0)
        if report.startswith("error "):
            message, _, hint = report.removeprefix("error ").partition("\nhint ")
            raise RunxError(message.strip(), hint.strip())
        raise RunxError(
            "the supervisor ended before the container was created" + (f": {report.strip()}" if report.strip() else ""),
            "standard error says why; runx must run as root",
        )

    def _tell(self, byte: bytes) -> None:
        try:
            os.write(self._go, byte)
        except BrokenPipeError:
            pass  # it has ended; its report says why

    def call_off(self) -> None:
        """End it, if it still waits for `go`."""
        if self._go >= 0:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
            self._close_go()
            os.close(self._report)

    def _close_go(self) -> None:
        os.close(self._go)
        self._go = -1
