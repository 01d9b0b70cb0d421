"""QEMU's machine protocol: JSON lines over a unix socket (docs/interop/qmp-spec)."""

import json
import socket
import time
from pathlib import Path
from typing import Any

from runxtools.errors import ToolError


class Monitor:
    """A connection to one QEMU, and a context that closes it."""

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
        """Run one command: its result. Raises ToolError with QEMU's message when it refuses."""
        try:
            self._socket.sendall(json.dumps({"execute": command, "arguments": arguments}).encode() + b"\n")
            while True:
                reply = self._read()
                if "error" in reply:
                    raise ToolError(f"QEMU refused {command}: {reply['error']['desc']}")
                if "return" in reply:
                    return reply["return"]
                # Other messages are events.
        except OSError as error:
            raise ToolError(f"QEMU does not answer to {command}: {error}") from None

    def save_state(self, path: Path, limit_s: float = 120) -> None:
        """Stop the machine and write its state (memory and devices) to a file, by QEMU's migration."""
        self.execute("stop")
        # The default limit is for a network and a running machine.
        self.execute("migrate-set-parameters", **{"max-bandwidth": 1 << 40})
        self.execute("migrate", uri=f"exec:exec cat >{_shell_quoted(path)}")
        self._await_migration(limit_s)

    def await_state(self, limit_s: float = 120) -> None:
        """Wait until a machine started with -incoming has read its state, then let it run."""
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
            time.sleep(0.05)  # QMP has an event for this, but only after a capability is set; polling is simpler
        raise ToolError(f"QEMU's state was not transferred in {limit_s:.0f} s")

    def _read(self) -> dict[str, Any]:
        line = self._lines.readline()
        if not line:
            raise ToolError("QEMU ended during a command")
        reply: dict[str, Any] = json.loads(line)
        return reply


def _shell_quoted(path: Path) -> str:
    return "'" + str(path).replace("'", "'\\''") + "'"
