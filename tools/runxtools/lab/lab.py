"""The lab: Xen and a Debian dom0 in an emulated machine, for tests, demonstrations and debugging.

>>> from runxtools.lab.lab import Lab
>>> lab = Lab()
>>> lab.up()
>>> lab.run(["xl", "list"]).stdout
"""

import json
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

from runx.paths import VIRT_CAPS
from runxtools import cache, command
from runxtools.errors import ToolError
from runxtools.lab.kinds import Kind
from runxtools.lab.ssh import Connection
from runxtools.process import Process
from runxtools.progress import Progress

_BOOT_LIMIT_S = 600
_WARM_UP_LIMIT_S = 600
_ATTEMPTS = 3


class _Running(NamedTuple):
    """Contents of state.json of a running lab."""

    qemu: Process
    port: int
    snapshot: str
    since: float


class Lab:
    """The lab of a kind in this user's cache, a Machine. Every method may be called from any process."""

    def __init__(self, kind: Kind = Kind()) -> None:  # noqa: B008 (a constant)
        self.kind = kind
        self.directory = cache.root() / "lab" / kind.name
        self._machine = self.directory / (f"running-{kind.number}" if kind.number else "running")
        self._state_file = self._machine / "state.json"

    # --- its life

    def up(self, install: bool = True) -> None:
        """Start the lab unless it runs, make its parts first if needed, and install the checkout. Print the progress.

        Raises ToolError.
        """
        with cache.locked(self.directory / "lock"):
            progress = Progress(5 if install else 4)
            running = self._running()
            if running:
                for name in ("dom0 image", "first boot", "warm-up"):
                    progress.skip(name, "not needed")
                progress.skip("lab", f"runs since {time.strftime('%H:%M:%S', time.localtime(running.since))}")
                self._note_changed_recipe(running, progress)
            else:
                self._start(progress)
            self._set_clock()
            if install:
                self._install(progress)

    def down(self) -> bool:
        """End the lab and discard its disk. False when it did not run."""
        with cache.locked(self.directory / "lock"):
            running = self._running()
            if running is None:
                return False
            connection = self._connection(running)
            if connection.is_open():
                connection.close()
            running.qemu.end()
            shutil.rmtree(self._machine)
            return True

    def install(self) -> None:
        """Install the checkout in the running lab, below /usr/local. Raises ToolError when the lab is not up."""
        with cache.locked(self.directory / "lock"):
            self._require_running()
            self._install(Progress(1))

    def status(self) -> dict[str, Any] | None:
        """Facts about the running lab; None when it does not run."""
        running = self._running()
        if running is None:
            return None
        return {
            "kind": self.kind.name,
            "processors": self.kind.cpus,
            "pid": running.qemu.pid,
            "ssh port": running.port,
            "since": time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(running.since)),
            "made of": running.snapshot,
            "directory": str(self._machine),
        }

    def console(self) -> bytes:
        """The output of Xen and dom0 since the first boot. Raises ToolError when the lab is not up."""
        self._require_running()
        return b"".join((self._machine / name).read_bytes() for name in ("snapshot/console.log", "console.log"))

    # --- commands in dom0

    def command(self, argv: Sequence[str | bytes], tty: bool = False) -> list[str | bytes]:
        """The local command that runs `argv` in dom0, with the caller's streams and the exit status of `argv`.

        The status is 128 + n for signal n. Raises ToolError when the lab is not up.
        """
        return self._open_connection().command(argv, tty)

    def run(
        self, argv: Sequence[str | bytes], stdin: bytes = b"", timeout: float = 120, check: bool = False
    ) -> "subprocess.CompletedProcess[bytes]":
        """Run a command in dom0 to its end: its output and status (Machine.run)."""
        return command.run_elsewhere("dom0", self.command, argv, stdin, timeout, check)

    def popen(self, argv: Sequence[str | bytes], tty: bool = False, **options: Any) -> "subprocess.Popen[bytes]":
        """Start a command in dom0 (Machine.popen).

        The end of the local process does not end the command in dom0, unless it has a tty, which is hung up.
        """
        return subprocess.Popen(self.command(argv, tty), bufsize=0, **options)

    def put(self, local: str | Path, remote: str) -> None:
        """Copy a file or a directory into dom0 (Machine.put)."""
        source = Path(local).absolute()
        if not source.exists() and not source.is_symlink():
            raise ToolError(f"{local}: no such file or directory")
        script = (
            'if [ -d "$2" ]; then exec tar -x -p -C "$2"; fi; d=$(mktemp -d "$2.XXXXXX") && '
            'tar -x -p -C "$d" && mv -T -- "$d/$1" "$2"; s=$?; rm -rf -- "$d"; exit $s'
        )
        command.pipe(
            ["tar", "-c", "--format=pax", "-C", source.parent, "--", source.name],
            self.command(["sh", "-c", script, "put", source.name, remote]),
            f"the copy of {local} to {remote} in dom0",
        )

    def get(self, remote: str, local: str | Path) -> None:
        """Copy a file or a directory out of dom0 (Machine.get)."""
        target = Path(local).absolute()
        parent, _, name = remote.rstrip("/").rpartition("/")
        parent = parent or ("/" if remote.startswith("/") else ".")
        if target.is_dir():
            target = target / name
        work = target.parent / f".{target.name}.{os.getpid()}"
        work.mkdir()
        try:
            command.pipe(
                self.command(["tar", "-c", "--format=pax", "-C", parent, "--", name]),
                ["tar", "-x", "-p", "-C", work],
                f"the copy of {remote} from dom0 to {local}",
            )
            os.rename(work / name, target)
        finally:
            shutil.rmtree(work)

    @contextmanager
    def socket(self, path: str) -> Iterator[Path]:
        """A local path of a unix socket of dom0, until the context ends. Raises ToolError."""
        with tempfile.TemporaryDirectory(prefix="runx-lab-") as place:
            local = Path(place) / "socket"
            with self._open_connection().forwarded(path, local):
                yield local

    # --- inside

    def _running(self) -> _Running | None:
        try:
            state = json.loads(self._state_file.read_bytes())
        except FileNotFoundError:
            return None
        process = Process(*state["qemu"])
        if not process.alive():
            return None
        return _Running(process, state["port"], state["snapshot"], state["since"])

    def _require_running(self) -> _Running:
        running = self._running()
        if running is None:
            raise ToolError(f"the lab {self.kind.full_name} is not up", f"tools/lab {self.kind.options}up")
        return running

    def _open_connection(self) -> Connection:
        connection = self._connection(self._require_running())
        if not connection.is_open():
            with cache.locked(self.directory / "ssh.lock"):
                if not connection.is_open():
                    connection.open()
        return connection

    def _connection(self, running: _Running) -> Connection:
        return self._connect(self._machine, running.port)

    @staticmethod
    def _connect(machine: Path, port: int) -> Connection:
        image = machine / "image"
        return Connection(port, image / "ssh_key", image / "known_hosts", machine / "ssh")

    def _start(self, progress: Progress) -> None:
        # Imported here: `tools/lab run` does not need them and should be quick.
        from runxtools import packages
        from runxtools.lab import dom0, qemu

        needed = packages.missing([*dom0.HOST_PACKAGES, *qemu.HOST_PACKAGES])
        packages.install(needed, progress.note)
        for unfinished in (self.directory / "booted.tmp", self._machine):
            qemu.end_left_over(unfinished)
        image_key = dom0.key(self.kind)
        image = cache.find(self.directory, "dom0", image_key)
        if image:
            progress.skip("dom0 image", "cached")
        else:
            with progress.step("dom0 image", about_s=70):
                image = cache.make(self.directory, "dom0", image_key, lambda directory: dom0.build(self.kind, directory))
        snapshot_key = self._snapshot_key(image)
        snapshot = cache.find(self.directory, "booted", snapshot_key)
        if snapshot:
            progress.skip("first boot", "cached")
            progress.skip("warm-up", "cached")
        else:
            chosen = image
            snapshot = cache.make(
                self.directory, "booted", snapshot_key, lambda directory: self._first_boot(directory, chosen, progress)
            )
        with progress.step("restore", about_s=5):
            qemu.retry(_ATTEMPTS, lambda: self._restore(image, snapshot), progress.note)

    def _snapshot_key(self, image: Path) -> str:
        from runxtools.lab import qemu

        return cache.key_of(
            {
                "image": image.name,
                # An image made again from the same recipe is another disk with other host keys.
                "made": (image / "known_hosts").read_bytes(),
                "machine": "\0".join(qemu.machine(self.kind.cpus)),
                "qemu": qemu.version(),
            }
        )

    def _note_changed_recipe(self, running: _Running, progress: Progress) -> None:
        from runxtools import packages
        from runxtools.lab import dom0, qemu

        if packages.missing([*dom0.HOST_PACKAGES, *qemu.HOST_PACKAGES]):
            return  # the lab was made elsewhere
        image = cache.find(self.directory, "dom0", dom0.key(self.kind))
        if image is None or running.snapshot != f"booted-{self._snapshot_key(image)}":
            tool = f"tools/lab {self.kind.options}"
            progress.note(f"its recipe has changed: `{tool}down`, then `{tool}up`, makes it anew")

    def _first_boot(self, directory: Path, image: Path, progress: Progress) -> None:
        """Fill a directory with the disk and the saved state of a dom0 that is booted and warm."""
        from runxtools.lab import qemu

        qemu.link(directory, "image", image)
        booted: list[tuple[Process, int]] = []

        def boot() -> None:
            (directory / "console.log").unlink(missing_ok=True)
            qemu.make_disk(directory, f"../{image.name}/disk.raw", "raw")
            port = qemu.free_port()
            process = qemu.start(directory, self.kind.cpus, port)
            with _ended_on_failure(process):
                qemu.await_boot(directory, process, _BOOT_LIMIT_S)
            booted.append((process, port))

        with progress.step("first boot", about_s=35):
            qemu.retry(_ATTEMPTS, boot, progress.note)
        process, port = booted[-1]
        with _ended_on_failure(process), progress.step("warm-up", about_s=60):
            connection = self._connect(directory, port)
            connection.open()
            warm_up = connection.command(["/usr/libexec/runx-lab/warm-up"])
            command.run(warm_up, "the warm-up in dom0", limit_s=_WARM_UP_LIMIT_S)
            connection.close()
            with qemu.monitor(directory, process) as monitor:
                monitor.save_state(directory / "state")
            qemu.quit_and_wait(directory, process)

    def _restore(self, image: Path, snapshot: Path) -> None:
        from runxtools.lab import qemu

        if self._machine.exists():
            shutil.rmtree(self._machine)
        self._machine.mkdir()
        qemu.link(self._machine, "image", image)
        qemu.link(self._machine, "snapshot", snapshot)
        qemu.make_disk(self._machine, f"../{snapshot.name}/disk.qcow2", "qcow2")
        port = qemu.free_port()
        process = qemu.start(self._machine, self.kind.cpus, port, "snapshot/state")
        with _ended_on_failure(process):
            with qemu.monitor(self._machine, process) as monitor:
                monitor.await_state()
            connection = self._connect(self._machine, port)
            connection.open()
            state = {"qemu": process, "port": port, "snapshot": snapshot.name, "since": time.time()}
            unfinished = self._state_file.with_suffix(".tmp")
            unfinished.write_text(json.dumps(state))
            unfinished.rename(self._state_file)

    def _set_clock(self) -> None:
        """Set the clock of dom0: a restored machine has the time at which it was saved."""
        self.run(["date", "-u", "-s", f"@{time.time():.3f}"], check=True)

    def _install(self, progress: Progress) -> None:
        from runxtools import packages
        from runxtools.lab import install

        packages.install(packages.missing(install.HOST_PACKAGES), progress.note)
        with progress.step("runx into dom0", about_s=20):
            install.install(self, self.directory / "install.tmp", self.kind.suite)
        # Xen sees an emulated processor with hvm and hap, but a PVH guest takes ten times as long to boot on it as a PV guest.
        self.run(["sh", "-c", f"echo pv > {VIRT_CAPS}"], check=True)


class _ended_on_failure:  # noqa: N801 (reads as a statement)
    """A context that ends our process when its body fails, also by Ctrl-C."""

    def __init__(self, process: Process) -> None:
        self._process = process

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            self._process.end()
