"""QEMU's machine protocol: JSON lines over a unix socket (docs/interop/qmp-spec)."""

import json
import socket
import time
from pathlib import Path
from typing import Any

from runxtools.errors import ToolError


class Monitor:
    """A conversation with one QEMU. Use as a context manager."""

    def __init__(self, path: Path, timeout_s: float = 60) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(timeout_s)
        try:
            self._socket.connect(str(path))
        except OSError:
            self._socket.close()
            raise
        self._lines = self._socket.makefile("rb")
        self._read()  # the greeting
        self.execute("qmp_capabilities")

    def __enter__(self) -> "Monitor":
        return self

    def __exit__(self, *_: object) -> None:
        self._lines.close()
        self._socket.close()

    def execute(self, command: str, **arguments: Any) -> Any:
        """Run one command and returns what it returns. Raises ToolError with QEMU's own words when it refuses."""
        try:
            self._socket.sendall(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
            while True:
                reply = self._read()
                if "error" in reply:
                    raise ToolError(f"QEMU refused {command}: {reply['error']['desc']}")
                if "return" in reply:
                    return reply["return"]
                # Anything else is an event.
        except OSError as error:
            raise ToolError(f"QEMU does not answer to {command}: {error}") from None

    def save_state(self, path: Path, limit_s: float = 120) -> None:
        """Stop the machine and writes its state (memory and devices) to a file, with QEMU's migration."""
        self.execute("stop")
        # No reason to spare bandwidth: the default is made for a network and a running machine.
        self.execute("migrate-set-parameters", **{"max-bandwidth": 1 << 40})
        self.execute("migrate", uri=f"exec:exec cat >{_shell_quoted(path)}")
        self._await_migration(limit_s)

    def await_state(self, limit_s: float = 120) -> None:
        """Wait until a machine started with -incoming has read its state, and sets it going."""
        self._await_migration(limit_s)
        self.execute("cont")

    def _await_migration(self, limit_s: float) -> None:
        deadline = time.monotonic() + limit_s
        while time.monotonic() < deadline:
            progress = self.execute("query-migrate")
            if progress.get("status") == "completed":
                return
            if progress.get("status") in ("failed", "cancelled"):
                raise ToolError(f"QEMU could not transfer its state: {progress.get('error-desc', progress['status'])}")
            time.sleep(0.05)  # QMP has an event for it only with a capability set before; a look costs nothing
        raise ToolError(f"QEMU's state was not transferred in {limit_s:.0f} s")

    def _read(self) -> dict[str, Any]:
        line = self._lines.readline()
        if not line:
            raise ToolError("QEMU ended during a command")
        reply: dict[str, Any] = json.loads(line)
        return reply


def _shell_quoted(path: Path) -> str:
    return "'" + str(path).replace("'", "'\\''") + "'"
