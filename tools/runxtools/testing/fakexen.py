"""A fake Xen: an `xl` that only keeps books, and a xenstored, for tests and benchmarks of runx's own work.

`FakeXen(directory)` is a context; give its `environment()` to runx. No guest ever runs, so nothing connects to the console.
Guests are tested on tools/xl-double (docs/double.md) and in the lab.
"""

import contextlib
import os
import shutil
import socket
import threading
import time
from pathlib import Path

from runxtools.double.xenstored import HEADER, WRITE, XenStored


class FakeXen(XenStored):
    """A fake Xen in a directory: serves xenstore's protocol from a thread until the context ends."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        for name in ("bin", "domains", "faults", "settings", "held"):
            (directory / name).mkdir(parents=True)
        super().__init__(self.socket_path)
        shutil.copy(Path(__file__).with_name("xl"), directory / "bin" / "xl")
        os.mkfifo(directory / "requests")
        self._requests = os.open(directory / "requests", os.O_RDWR | os.O_NONBLOCK)
        self.on_readable(self._requests, self._destroyed)
        self._thread = threading.Thread(target=self.serve, daemon=True)

    @property
    def socket_path(self) -> Path:
        return self.directory / "xenstored"

    def environment(self) -> dict[str, str]:
        return {**os.environ, "PATH": f"{self.directory}/bin:/usr/bin:/bin", "XENSTORED_PATH": str(self.socket_path)}

    def fault(self, command: str, words: str) -> None:
        """Make `xl command` fail with these words from now on."""
        (self.directory / "faults" / command).write_text(words)

    def hold(self, command: str) -> None:
        """Make `xl command` wait until `release`, from now on."""
        os.mkfifo(self.directory / "held" / command)

    def release(self, command: str) -> None:
        """Let the held calls continue; waits for the first one."""
        held = self.directory / "held" / command
        with held.open("w"):  # waits for a reader
            held.unlink()

    def await_call(self, command: str) -> None:
        """Wait until xl was called with this command."""
        limit = time.monotonic() + 60
        while not any(call[0] == command for call in self.calls()):
            assert time.monotonic() < limit, f"xl {command} was never called"
            time.sleep(0.01)

    def domains(self) -> dict[int, str]:
        found = {}
        for path in (self.directory / "domains").iterdir():
            with contextlib.suppress(FileNotFoundError):  # the domain was destroyed just now
                found[int(path.name)] = path.read_text().split("\n")[0]
        return found

    def settings(self, number: int) -> dict[str, str]:
        """Settings of a domain: memory (MiB), vcpus, time (seconds)."""
        words = (self.directory / "settings" / str(number)).read_text().split()
        return dict(word.partition("=")[::2] for word in words)

    def set(self, number: int, **values: object) -> None:
        """Change settings of a domain."""
        words = [f"{name}={value}" for name, value in {**self.settings(number), **values}.items()]
        path = self.directory / "settings" / str(number)
        path.with_suffix(".new").write_text(" ".join(words) + "\n")
        path.with_suffix(".new").rename(path)

    def shut_down(self, number: int, state: str = "---s--") -> None:
        """End the domain by itself: `xl list` shows this state until the domain is destroyed."""
        with (self.directory / "domains" / str(number)).open("a") as file:
            file.write(state + "\n")
        os.write(self._requests, b"none\n")  # xenstored announces that a domain ended

    def write(self, path: str, value: str) -> None:
        """Write to xenstore as another program of the host does; watches of the path fire."""
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(self.socket_path))
            payload = path.encode() + b"\0" + value.encode()
            client.sendall(HEADER.pack(WRITE, 0, 0, len(payload)) + payload)
            client.recv(HEADER.size + len(b"OK\0"), socket.MSG_WAITALL)

    def calls(self) -> list[list[str]]:
        """Arguments of each call of xl so far."""
        log = self.directory / "log"
        return [call.split("\n") for call in log.read_text().split("\n\n") if call] if log.exists() else []

    def __enter__(self) -> "FakeXen":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        self._thread.join()
        os.close(self._requests)

    def _destroyed(self) -> None:
        for number in os.read(self._requests, 4096).split():
            self.forget(f"/local/domain/{number.decode()}")
        self.fire("@releaseDomain")

    def names(self, path: str) -> list[str] | None:
        if path == "/local/domain":
            return [str(number) for number in (0, *self.domains())]
        return super().names(path)

    def value(self, path: str) -> bytes | None:
        parts = path.split("/")
        if path.startswith("/local/domain/") and len(parts) == 5 and parts[4] in ("name", "vm"):
            name = self.domains().get(int(parts[3]))
            return name.encode() if name else None
        return super().value(path)
