"""Run the guest's /init on this machine, in new namespaces, with a pty as the console link.

The root is the tree of the base initrd (busybox of `./build`, or the machine's static one) with /init compiled from the
sources here. Everything mounted dies with the namespaces. Needs root and musl-gcc.
"""

import gzip
import os
import pty
import select
import shlex
import shutil
import signal
import struct
import subprocess
import time
import tty
from pathlib import Path

from runx.compiler.backends.records import record
from runx.exec.console import frames as link

CHECKOUT = Path(__file__).parents[2]
INIT_SOURCES = CHECKOUT / "guest-assets" / "init"
DEADLINE_S = 10.0

HELLO, LOG, FATAL, STARTED, STDOUT, STDERR = link.HELLO, link.LOG, link.FATAL, link.STARTED, link.STDOUT, link.STDERR
EXIT, CREDIT, STDIN_CLOSED, QUESTION, ENDING = link.EXIT, link.CREDIT_IN, link.STDIN_CLOSED, link.QUESTION, link.ENDING
WRITTEN_BACK, LAYER, TIME = link.WRITTEN_BACK, link.LAYER, link.TIME
HOST_STDIN, HOST_STDIN_EOF, HOST_SIGNAL, HOST_WINSIZE = link.STDIN, link.STDIN_EOF, link.SIGNAL, link.WINSIZE
HOST_CREDIT, HOST_CLOSED, HOST_NETWORK = link.CREDIT_OUT, link.CLOSED, link.NETWORK
HOST_NAMES, HOST_ANSWER, HOST_EXEC = link.NAMES, link.ANSWER, link.EXEC
HOST_ASK_TIME, HOST_DIAL = link.ASK_TIME, link.DIAL

DEFAULT_SETUP = "mount proc proc /proc nosuid,nodev,noexec\n"
AWAIT = "step network\nawait_network\n"


def compile_guest(folder: Path) -> tuple[Path, Path]:
    """Compile /init and the probe: their paths. Beside them is `inroot`, which runs one command of the room inroot/.

    None of them can set the clock, which is this machine's: clock.c stands in for that.
    """
    init, probe = folder / "init", folder / "probe"
    flags = ["-static", "-Os", "-std=gnu11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror"]
    code = sorted(INIT_SOURCES.rglob("*.c"))
    no_clock = ["-Dclock_settime=no_clock_settime", "-Dadjtimex=no_adjtimex", Path(__file__).with_name("clock.c")]
    subprocess.run(["musl-gcc", *flags, "-I", INIT_SOURCES, "-o", init, *code, *no_clock], check=True)
    rooms = [path for path in code if path.parent.name in ("inroot", "common")]
    inroot = [Path(__file__).with_name("inroot.c"), *rooms]
    subprocess.run(["musl-gcc", *flags, "-I", INIT_SOURCES, "-o", folder / "inroot", *inroot], check=True)
    subprocess.run(["musl-gcc", *flags, "-o", probe, Path(__file__).with_name("probe.c")], check=True)
    return init, probe


def initrd_entries(path: Path) -> dict[str, tuple[int, bytes]]:
    """Mode and data of each member of a gzipped newc archive, by name."""
    raw = gzip.decompress(path.read_bytes())
    entries: dict[str, tuple[int, bytes]] = {}
    at = 0
    while True:
        assert raw[at : at + 6] == b"070701", f"{path} is no newc archive at {at}"
        fields = [int(raw[at + 6 + 8 * i : at + 14 + 8 * i], 16) for i in range(13)]
        mode, size, name_size = fields[1], fields[6], fields[11]
        name = raw[at + 110 : at + 110 + name_size - 1].decode()
        if name == "TRAILER!!!":
            return entries
        start = (at + 110 + name_size + 3) & ~3
        entries[name] = (mode, raw[start : start + size])
        at = (start + size + 3) & ~3


def busybox() -> bytes:
    """A static busybox: that of `./build` if it exists, else Debian's."""
    built = CHECKOUT / "out" / os.uname().machine / "initrd"
    if built.exists():
        return initrd_entries(built)["bin/busybox"][1]
    debian = Path("/bin/busybox")
    assert debian.exists(), "no busybox: run ./build, or install busybox-static"
    return debian.read_bytes()


def install_busybox(root: Path, binary: bytes) -> None:
    """Put busybox and links of its names into ROOT/bin, as in the base initrd."""
    (root / "bin").mkdir(parents=True, exist_ok=True)
    target = root / "bin" / "busybox"
    target.write_bytes(binary)
    target.chmod(0o755)
    for name in subprocess.run([target, "--list"], check=True, capture_output=True, text=True).stdout.split():
        if name != "busybox":
            (root / "bin" / name).symlink_to("busybox")


def make_root(root: Path, init: Path, probe: Path) -> Path:
    """Make the ramdisk's tree at ROOT, with a small root of a container in ROOT/newroot."""
    for name in ("dev", "proc", "sys", "run", "runx", "newroot", "shares/mounts", "tmp"):
        (root / name).mkdir(parents=True)
    root.chmod(0o755)
    binary = busybox()
    install_busybox(root, binary)
    shutil.copy(init, root / "init")
    shutil.copy(init.with_name("inroot"), root / "bin" / "inroot")
    container = root / "newroot"
    install_busybox(container, binary)
    shutil.copy(probe, container / "bin" / "probe")
    for name in ("proc", "tmp", "etc", "work"):
        (container / name).mkdir()
    (container / "tmp").chmod(0o1777)
    return container


def records(**values: object) -> bytes:
    """Content of /runx/process. Each value is a string, bytes, a number, or a list of these."""
    out = b""
    for name, value in values.items():
        items = list(value) if isinstance(value, list | tuple) else [value]
        encoded = [item if isinstance(item, bytes) else str(item).encode() for item in items]
        out += b"".join(part + b"\0" for part in (name.encode(), str(len(items)).encode(), *encoded))
    return out


def steps(text: str) -> bytes:
    """Content of /runx/setup. Each line is a record, as `runx plan` shows it, but quoted as in a shell."""
    return b"".join(record(*words) for words in map(shlex.split, text.splitlines()) if words)


def unshare(*arguments: str) -> list[str]:
    """First words of a command that runs in new namespaces and dies with its starter."""
    return ["unshare", "--mount", "--propagation", "private", "--uts", "--ipc", *arguments]


class Said:
    """What the guest has said of a session."""

    def __init__(self) -> None:
        self.started = False
        self.ending: int | None = None
        self.status: int | None = None
        self.fatal: tuple[int, str] | tuple[()] = ()
        self.credit = 0
        self.streams = {STDOUT: b"", STDERR: b""}


class GuestBox:
    """One /init, from its start to its end."""

    def __init__(self, root: Path, *, setup: str | bytes = DEFAULT_SETUP, process: bytes, network: str = "") -> None:
        """Start /init with ROOT as its ramdisk. setup: lines for steps(), or the file itself. network: /runx/network, if any."""
        (root / "runx" / "setup").write_bytes(setup if isinstance(setup, bytes) else steps(setup))
        if network:
            (root / "runx" / "network").write_text(network)
        (root / "runx" / "process").write_bytes(process)
        (root / "link").touch()
        self.master, self._slave = pty.openpty()
        tty.setraw(self._slave)  # until /init does it: nothing may be echoed
        os.set_blocking(self.master, False)
        # As in the guest, the root is what lies on top in its mount namespace. The root may have no programs.
        enter = 'cd "$2" && mount --move . / && exec chroot . /init /link'
        script = f'mount --bind "$2" "$2" && mount --bind "$1" "$2/link" && {enter}'
        command = [*unshare("--pid", "--fork", "--kill-child"), "sh", "-c", script, "-"]
        self.proc = subprocess.Popen(  # a session of its own, or the pty would become its terminal
            [*command, os.ttyname(self._slave), str(root)], start_new_session=True, stdin=subprocess.DEVNULL
        )
        self._buffer = b""
        self._unsent = b""
        self.auto_credit = True
        self.streams = {STDOUT: b"", STDERR: b""}
        self.log = b""
        self.credit = 0
        self.seen: list[int] = []
        self.endings: list[bytes] = []
        """Payloads of ENDING."""
        self.written_back: list[bytes] = []
        self.sessions: dict[int, Said] = {}
        self.reuses_numbers = False
        """A session may follow one with the same number."""
        self.stalled: set[int] = set()
        """Sessions whose output gets no credit."""

    def __enter__(self) -> "GuestBox":
        return self

    def __exit__(self, *_: object) -> None:
        for fd in (self.master, self._slave):
            if fd >= 0:
                os.close(fd)
        if self.proc.poll() is None:
            self.proc.kill()
        self.proc.wait()

    def send(self, kind: int, payload: bytes = b"", session: int = 0) -> None:
        """Queue a frame, to be sent while frames are read."""
        self._unsent += link.frame(kind, payload, session)
        self._push()

    def execute(self, session: int, *args: object, **values: object) -> None:
        """Start a session."""
        text = records(args=list(args), **{"env": ["PATH=/bin"], "cwd": "/", **values})
        for at in range(0, len(text), link.PAYLOAD_LIMIT):
            self.send(HOST_EXEC, text[at : at + link.PAYLOAD_LIMIT], session)
        self.send(HOST_EXEC, b"", session)

    def of(self, session: int) -> "Said":
        """What came of a session."""
        return self.sessions.setdefault(session, Said())

    def _note_of_session(self, session: int, kind: int, payload: bytes) -> None:
        said = self.of(session)
        if self.reuses_numbers and (said.status is not None or said.fatal):
            said = self.sessions[session] = Said()
        assert said.status is None and not said.fatal, "a frame after the last one"
        if kind in said.streams:
            said.streams[kind] += payload
            if payload and self.auto_credit and session not in self.stalled:
                self.give_credit(kind, len(payload), session)
        elif kind == STARTED:
            said.started = True
        elif kind == CREDIT:
            said.credit += int.from_bytes(payload[1:], "little")
        elif kind == ENDING:
            assert said.started and said.ending is None
            said.ending = payload[0]
        elif kind == EXIT:
            assert said.started and said.ending in (None, payload[0])
            said.status = payload[0]
        elif kind == FATAL:
            assert not said.started
            said.fatal = (payload[0], payload[1:].decode("utf-8", "replace"))

    def until_said(self, session: int, text: bytes) -> None:
        """Read until the output of a session contains TEXT."""
        while text not in self.of(session).streams[STDOUT]:
            assert self.frame(), f"/init ended; log {self.log!r}"

    def status_of(self, session: int) -> int:
        """Read to the end of a session that has started: its exit status."""
        while self.of(session).status is None:
            assert not self.of(session).fatal, self.of(session).fatal
            assert self.frame(), f"/init ended; log {self.log!r}"
        return self.sessions[session].status or 0

    def ending_of(self, session: int) -> int:
        """Read until the process of a session has ended, while others use its output: its exit status."""
        while (status := self.of(session).ending) is None:
            assert self.of(session).status is None, "nobody else used it"
            assert self.frame(), f"/init ended; log {self.log!r}"
        return status

    def failure_of(self, session: int) -> tuple[int, str] | tuple[()]:
        """Read to the end of a session that could not start."""
        while not self.of(session).fatal:
            assert self.frame(), f"/init ended; log {self.log!r}"
        return self.of(session).fatal

    def _push(self) -> None:
        if not self._unsent:
            return
        try:
            self._unsent = self._unsent[os.write(self.master, self._unsent) :]
        except BlockingIOError:
            pass

    def frame(self, timeout_s: float = DEADLINE_S) -> tuple[int, bytes] | None:
        """The next frame, or None when the other end is closed. Raises AssertionError when none comes in time."""
        end = time.monotonic() + timeout_s
        while True:
            if len(self._buffer) >= 4:
                kind, session, length = struct.unpack("<BBH", self._buffer[:4])
                assert session <= link.SESSIONS_MOST and length <= link.PAYLOAD_LIMIT, self._buffer[:16]
                assert HELLO <= kind <= TIME, self._buffer[:16]
                if len(self._buffer) >= 4 + length:
                    payload = self._buffer[4 : 4 + length]
                    self._buffer = self._buffer[4 + length :]
                    if session:
                        self._note_of_session(session, kind, payload)
                        return link.kind_of(session, kind), payload
                    self._note(kind, payload)
                    return kind, payload
            left = end - time.monotonic()
            assert left > 0, f"no frame within {timeout_s} s; seen {self.seen}, log {self.log!r}"
            readable, writable, _ = select.select([self.master], [self.master] if self._unsent else [], [], left)
            if writable:
                self._push()
            if readable:
                try:
                    chunk = os.read(self.master, 65536)
                except OSError:
                    return None
                self._buffer += chunk

    def _note(self, kind: int, payload: bytes) -> None:
        self.seen.append(kind)
        if kind == HELLO and self._slave >= 0:
            os.close(self._slave)  # from now on the end of /init ends the reading
            self._slave = -1
        elif kind in self.streams:
            self.streams[kind] += payload
            if payload and self.auto_credit:
                self.give_credit(kind, len(payload))
        elif kind == WRITTEN_BACK:
            self.written_back.append(payload)
        elif kind == ENDING:
            self.endings.append(payload)
        elif kind == LOG:
            self.log += payload
        elif kind == CREDIT:
            stream, count = struct.unpack("<BI", payload)
            assert stream == 0
            self.credit += count

    def give_credit(self, kind: int, count: int, session: int = 0) -> None:
        self.send(HOST_CREDIT, struct.pack("<BI", 1 if kind == STDOUT else 2, count), session)

    def until(self, kind: int) -> bytes:
        """Read up to the first frame of this kind: its payload."""
        while got := self.frame():
            if got[0] == kind:
                return got[1]
        raise AssertionError(f"/init ended without frame {kind}; seen {self.seen}, log {self.log!r}")

    def until_output(self, text: bytes, kind: int = STDOUT) -> None:
        """Read until the stream's output contains TEXT."""
        while text not in self.streams[kind]:
            assert self.frame(), f"/init ended; output {self.streams}, log {self.log!r}"

    def exit_status(self) -> int:
        """Read to EXIT, and check that ENDING has told its status, that no frame follows and that /init powers off."""
        status = self.until(EXIT)
        assert len(status) == 1
        assert self.endings == [status]
        self.gone()
        return status[0]

    def fatal(self) -> tuple[int, str]:
        """Read to FATAL, and check that no frame follows and that /init powers off."""
        payload = self.until(FATAL)
        self.gone()
        assert EXIT not in self.seen
        return payload[0], payload[1:].decode()

    def gone(self) -> None:
        assert self.frame() is None
        # reboot(2) in a PID namespace ends its PID 1 by SIGINT for a power off; unshare(1) hands the death on.
        assert self.proc.wait(DEADLINE_S) in (128 + signal.SIGINT, -signal.SIGINT)


def pairs(output: bytes) -> dict[str, list[bytes]]:
    """The probe's output: values by name."""
    parts = output.split(b"\0")
    assert parts.pop() == b""
    found: dict[str, list[bytes]] = {}
    for name, value in zip(parts[::2], parts[1::2], strict=True):
        found.setdefault(name.decode(), []).append(value)
    return found
