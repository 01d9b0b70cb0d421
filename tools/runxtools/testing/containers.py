"""Containers of containerd's ctr, on a machine with Xen's tools."""

import subprocess
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any

from runxtools.machine import Machine

IMAGE = "localhost/runx-test:latest"
RUNX = "/usr/local/bin/runx"
LIMIT_S = 600
"""Seconds for a container: it takes a few in a quiet lab, and many times that on a loaded machine."""
REACH = 'reach() { for try in $(seq 12); do ! busybox ping -c 1 -W 5 "$1" > /dev/null || return 0; done; return 1; }; '
"""A shell function that tells whether an address answers. On a loaded machine a new interface loses its first frames, and
busybox's ping sends none again."""


def new_id() -> str:
    return f"test-{uuid.uuid4().hex[:12]}"


def until(condition: Callable[[], Any], explain: Callable[[], object] = lambda: "") -> Any:
    """Wait until the condition's value is true: the value. Raises AssertionError with `explain()` after LIMIT_S."""
    begin = asked = time.monotonic()
    while not (value := condition()):
        answered = time.monotonic()
        assert answered < begin + LIMIT_S, explain()
        time.sleep(min(0.05 + 4 * (answered - asked), 1))  # not too often, or an emulated machine does little else than answer
        asked = time.monotonic()
    return value


def removed(host: Machine, engine: Sequence[str], container: str) -> None:
    """Kill and remove a container of docker or podman.

    docker waits ten seconds for its end, which are few in an emulated machine. It removes the container when it is asked again.
    """
    argv = [*engine, "rm", "--force", container]
    until(lambda: not host.run(argv, timeout=LIMIT_S).returncode, lambda: host.run(argv, timeout=LIMIT_S))


def command(argv: Sequence[str], options: Sequence[str] = (), container: str = "", image: str = IMAGE) -> list[str]:
    """The `ctr run` command of a container of runx, with the container's output and exit status."""
    return ["ctr", "run", "--rm", "--runc-binary", RUNX, *options, image, container or new_id(), *argv]


def run(
    host: Machine, argv: Sequence[str], options: Sequence[str] = (), stdin: bytes = b"", image: str = IMAGE
) -> "subprocess.CompletedProcess[bytes]":
    return host.run(command(argv, options, image=image), stdin=stdin, timeout=LIMIT_S)


def sh(
    host: Machine, script: str, *arguments: str, options: Sequence[str] = (), stdin: bytes = b"", image: str = IMAGE
) -> "subprocess.CompletedProcess[bytes]":
    """Run a shell script as the container's process."""
    return run(host, ["/bin/sh", "-c", script, "sh", *arguments], options, stdin, image)


class Running:
    """A container that was started by `ctr run` and has printed `ready`."""

    def __init__(self, host: Machine, script: str, options: Sequence[str] = ()) -> None:
        self.host = host
        self.id = new_id()
        argv = command(["/bin/sh", "-c", script], options, self.id)
        self.process = host.popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        if line != b"ready\n":
            _, errors = self.process.communicate()
            raise AssertionError(f"the container printed {line!r}, and on standard error {errors.decode(errors='replace')}")

    def kill(self, signal: str) -> None:
        self.host.run(["ctr", "task", "kill", "-s", signal, self.id], check=True, timeout=LIMIT_S)

    def stop(self) -> None:
        """Kill the container if it still runs, so that a failed test leaves nothing for the next one."""
        if self.process.poll() is None:
            self.kill("KILL")
            self.process.communicate(timeout=LIMIT_S)

    def end(self, stdin: bytes = b"") -> tuple[int, bytes, bytes]:
        """Send the rest of the input and wait for the end: exit status, rest of the output, errors."""
        output, errors = self.process.communicate(stdin, timeout=LIMIT_S)
        return self.process.returncode, output, errors
