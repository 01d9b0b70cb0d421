"""tools/xl-double: a machine with Xen's tools and runx but without Xen, for tests and for people."""

import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from runxtools import cache, command, installer, venv
from runxtools.checkout import CHECKOUT, HOST_SCRIPTS
from runxtools.errors import ToolError
from runxtools.packages import XEN_LIBRARY, Package, missing, require_root

ASSETS = CHECKOUT / "tools" / "double-assets"
PACKAGES = (
    Package("gcc", "gcc", "compiles what stands for the hypervisor"),
    Package("libc6-dev", "/usr/include/stdio.h", "the compiler's headers"),
    Package(XEN_LIBRARY, f"/usr/lib/{os.uname().machine}-linux-gnu/libxlutil.so.4.*", "xl's own parser"),
    Package("xenstore-utils", "xenstore-read", "clients of xenstore"),
    Package("util-linux", "nsenter", "namespaces"),
    Package("iproute2", "ip", "the loopback of dom0"),
)
LOCAL = "/usr/local"
"""The prefix of runx there, as after `./build install`."""
_FLAGS = ("-O2", "-std=gnu11", "-D_GNU_SOURCE", "-Wall", "-Wextra", "-Werror")
_PROGRAMS = {"guest": (), "preload.so": ("-shared", "-fPIC")}
_START_LIMIT_S = 60
_CGROUP_PREFIX = "xl-double."

_XL = """\
#!/usr/bin/python3 -IS
import sys
sys.path[:0] = [{tools!r}, {checkout!r}]
from runxtools.double.toolstack import Xl
sys.exit(Xl({state!r}).call(sys.argv[1:]))
"""
# Engines pass on little of their environment, so the launcher sets what the supervisor needs.
_RUNX = """\
import os, sys
os.environ["LD_PRELOAD"] = {state!r} + "/lib/preload.so"
os.environ["XENSTORED_PATH"] = {state!r} + "/xenstored"
sys.path[:0] = [{checkout!r}, {libraries!r}]
from runx import paths
paths.assets_dir = lambda: {assets!r}
paths.DEFAULT_IMAGES = {state!r} + "/images"
paths.data_dir = lambda name: {state!r} + "/lib/" + name
from runx.cli.main import program
program()
"""
# Leave the caller's control group, which is not below dom0's.
_JOIN = 'echo 0 > /sys/fs/cgroup/dom0/cgroup.procs && exec "$@"'
_REMOVE_GROUPS = """
mount -t cgroup2 none "$1" || exit
for group in "$1/$2"*; do
    # The numbers are the PID namespace and the pid of the group's maker.
    name=${group##*/xl-double.}
    space=${name%%.*}
    name=${name#*.}
    if [ "$3" = ended ]; then
        :
    elif [ "$space" = "$4" ]; then
        ! [ -d "/proc/${name%%.*}" ] || continue
    else
        [ "$(find "$group" -maxdepth 0 -mmin +60)" ] || continue
    fi
    ! grep -q "populated 0" "$group/cgroup.events" || find "$group" -depth -type d -exec rmdir {} +
done
"""


class Double:
    """A double, which is a Machine: a context that leaves no processes, mounts, networks or files, however it ends."""

    def __init__(self, directory: Path | None = None) -> None:
        """`directory` of the state must not exist (default: a temporary directory)."""
        self._wanted = directory

    def __enter__(self) -> "Double":
        """Start the double. Raises ToolError when it lacks something."""
        require_root("namespaces and mounts are needed")
        if lacking := missing(PACKAGES):
            names = " ".join(package.name for package in lacking)
            raise ToolError(f"xl-double needs Debian packages: {names}", f"apt-get install {names}")
        if self._wanted:
            try:
                self._wanted.mkdir(mode=0o700)
            except OSError as error:
                raise ToolError(f"cannot make {self._wanted}: {error.strerror}") from None
        self.directory = self._wanted or Path(tempfile.mkdtemp(prefix="xl-double-"))
        try:
            self._fill()
            self._start()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    # -- what Machine has ----------------------------------------------------------------------------------------------

    def command(self, argv: Sequence[str | bytes], tty: bool = False) -> list[str | bytes]:
        """The local command that runs `argv` in the double (Machine.command)."""
        spaces = ("--mount", "--pid", "--net", "--ipc", "--uts", "--cgroup")
        enter = ["nsenter", "--target", str(self.pid), *spaces, f"--wdns={os.getcwd()}", "sh", "-c", _JOIN, "sh"]
        if tty:
            words = shlex.join(os.fsdecode(word) for word in argv)
            return [*enter, "script", "--quiet", "--return", "--command", words, "/dev/null"]
        return [*enter, *argv]

    def run(
        self, argv: Sequence[str | bytes], stdin: bytes = b"", timeout: float = 120, check: bool = False
    ) -> "subprocess.CompletedProcess[bytes]":
        """Run a command in the double to its end: its output and status (Machine.run)."""
        return command.run_elsewhere("the double", self.command, argv, stdin, timeout, check, self.environment())

    def popen(self, argv: Sequence[str | bytes], tty: bool = False, **options: Any) -> "subprocess.Popen[bytes]":
        """Start a command in the double (Machine.popen)."""
        return subprocess.Popen(self.command(argv, tty), env=self.environment(), bufsize=0, **options)

    def put(self, local: str | Path, remote: str) -> None:
        """Copy a file or a directory (Machine.put): the double sees this machine's files."""
        command.run(["cp", "-a", "--", local, remote])

    def get(self, remote: str, local: str | Path) -> None:
        """Copy a file or a directory (Machine.get)."""
        self.put(remote, str(local))

    @contextmanager
    def socket(self, path: str) -> Iterator[Path]:
        """A path of this machine for a unix socket of the double, until the context ends."""
        yield Path(f"/proc/{self.pid}/root{path}")

    # -- what it has alone ---------------------------------------------------------------------------------------------

    def environment(self, base: Mapping[str, str] = os.environ) -> dict[str, str]:
        """The environment of commands in the double."""
        return {**base, "PATH": f"{LOCAL}/bin:{command.PATH}"}

    def fault(self, name: str, words: str = "") -> None:
        """Order a fault (docs/double.md, "Faults")."""
        (self.directory / "faults" / name).write_text(words)

    def order(self, domid: int, words: str) -> None:
        """Give an order to a domain, as xl does. Raises toolstack.XlError."""
        from runxtools.double.toolstack import Xl

        Xl(str(self.directory)).ask(domid, words)

    def no_fault(self, name: str) -> None:
        (self.directory / "faults" / name).unlink()

    # -- its life ------------------------------------------------------------------------------------------------------

    def _fill(self) -> None:
        for name in ("lib", "domains", "faults", "log", "local/bin"):
            (self.directory / name).mkdir(parents=True)
        (self.directory / "next-domid").write_text("1")
        for name in _PROGRAMS:
            shutil.copy(programs() / name, self.directory / "lib")
        built = CHECKOUT / "out" / os.uname().machine
        if not (built / "initrd").exists():
            raise ToolError(f"{built}/initrd has not been built", "./build initrd")
        assets = self.directory / "local/share/runx" / os.uname().machine
        assets.mkdir(parents=True)
        shutil.copy(built / "initrd", assets)
        for script in HOST_SCRIPTS:
            shutil.copy(script, assets)
        # No kernel is booted, so any file will do.
        (assets / "kernel").write_bytes(b"xl-double boots none\n")
        python = venv.find() or venv.make()
        shutil.copytree(grammars(python), self.directory / "lib/grammars")
        libraries = next((python.parent.parent / "lib").glob("python*/site-packages"))
        words = {"tools": str(CHECKOUT / "tools"), "checkout": str(CHECKOUT), "state": str(self.directory)}
        words |= {"python": shlex.quote(str(python))}
        words |= {"libraries": str(libraries), "assets": f"{LOCAL}/share/runx/{os.uname().machine}"}
        for name, text in (("xl", _XL), ("runx", installer.PREAMBLE + _RUNX)):
            path = self.directory / "local/bin" / name
            path.write_text(text.format(**words))
            path.chmod(0o755)

    def _start(self) -> None:
        remove_groups(_CGROUP_PREFIX)  # groups of killed doubles
        self._group = f"{_CGROUP_PREFIX}{_pid_namespace()}.{os.getpid()}.{self.directory.name}"
        spaces = ("--mount", "--propagation", "private", "--pid", "--fork", "--kill-child", "--ipc", "--uts", "--net")
        program = (
            f"import sys; sys.path[:0] = [{str(CHECKOUT / 'tools')!r}, {str(CHECKOUT)!r}]; "
            "from runxtools.double.dom0 import main; main(*sys.argv[1:])"
        )
        with (self.directory / "log" / "dom0").open("wb") as log:
            self._dom0 = subprocess.Popen(
                ["unshare", *spaces, "/usr/bin/python3", "-I", "-S", "-c", program, str(self.directory), self._group],
                stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, start_new_session=True,
            )  # fmt: skip
        assert self._dom0.stdout is not None
        if self._dom0.stdout.readline() != b"ready\n":
            self._dom0.wait(_START_LIMIT_S)
            said = (self.directory / "log" / "dom0").read_text(errors="replace").strip()
            raise ToolError("xl-double could not start", said[-2000:])
        children = Path(f"/proc/{self._dom0.pid}/task/{self._dom0.pid}/children").read_text().split()
        self.pid = int(children[0])

    _dom0: "subprocess.Popen[bytes] | None" = None
    _group = ""

    def _end(self) -> None:
        if self._dom0:
            assert self._dom0.stdin is not None
            assert self._dom0.stdout is not None
            self._dom0.stdin.close()
            self._dom0.stdout.close()
            try:
                self._dom0.wait(_START_LIMIT_S)
            except subprocess.TimeoutExpired:
                self._dom0.kill()
                self._dom0.wait()
            self._dom0 = None
            remove_groups(self._group, "ended")
        shutil.rmtree(self.directory)


def programs() -> Path:
    """Directory of the compiled programs, in the cache. Raises ToolError with the compiler's message."""
    sources = {name: (ASSETS / name).with_suffix(".c") for name in _PROGRAMS}
    ingredients = {name: source.read_bytes() for name, source in sources.items()}
    compiler = command.run(["gcc", "--version"]).encode()
    key = cache.key_of({**ingredients, "flags": repr((_FLAGS, _PROGRAMS)), "compiler": compiler})

    def fill(directory: Path) -> None:
        for name, source in sources.items():
            command.run(["gcc", *_FLAGS, *_PROGRAMS[name], "-o", directory / name, source])

    with cache.locked(cache.root() / "double.lock"):
        return cache.find(cache.root(), "double", key) or cache.make(cache.root(), "double", key, fill)


_WRITE_TABLES = """\
import sys
sys.path.insert(0, sys.argv[1])
from runx import paths
paths.data_dir = lambda _: sys.argv[2]
from runx.compiler.grammar import write_tables
write_tables()
"""


def grammars(python: Path) -> Path:
    """Directory of runx's grammars with the parsers' tables, as an installation has them, in the cache. Raises ToolError."""
    sources = sorted((CHECKOUT / "grammars").glob("*.lark"))
    key = cache.key_of({**{source.name: source.read_bytes() for source in sources}, "python": str(python)})

    def fill(directory: Path) -> None:
        for source in sources:
            shutil.copy(source, directory)
        command.run([python, "-c", _WRITE_TABLES, CHECKOUT, directory])

    with cache.locked(cache.root() / "double.lock"):
        return cache.find(cache.root(), "double-grammars", key) or cache.make(cache.root(), "double-grammars", key, fill)


def _pid_namespace() -> int:
    return os.stat("/proc/self/ns/pid").st_ino


def remove_groups(prefix: str, which: str = "") -> None:
    """Remove empty control groups whose names begin with `prefix`: all with "ended", else those whose maker has ended.

    Of makers in other PID namespaces (a double in a tree) that is not known: their groups go when they are an hour old.
    """
    with tempfile.TemporaryDirectory(prefix="xl-double-groups-") as place:
        script = ["sh", "-c", _REMOVE_GROUPS, "sh", place, prefix, which, str(_pid_namespace())]
        words = ["unshare", "--mount", "--propagation", "private", *script]
        subprocess.run(words, stderr=subprocess.DEVNULL, check=False)


def main(argv: Sequence[str]) -> int:
    """Run `tools/xl-double ARGV`: the exit status of the command."""
    import argparse

    parser = argparse.ArgumentParser(
        prog="tools/xl-double",
        usage="tools/xl-double [OPTION ...] [--] COMMAND [ARGUMENT ...]",
        description="Runs a command on a machine that has Xen's tools and runx, without Xen: docs/double.md.",
    )
    parser.add_argument("--state", metavar="DIR", type=Path, help="directory for the state; must not exist, removed at the end")
    parser.add_argument(
        "--fault",
        action="append",
        default=[],
        metavar="NAME[=WORDS]",
        help="order a fault of docs/double.md; may be repeated",
    )
    parser.add_argument("command", nargs=argparse.REMAINDER, metavar="COMMAND")
    options = parser.parse_args(argv)
    words = options.command[1:] if options.command[:1] == ["--"] else options.command
    if not words:
        parser.error("COMMAND is missing")
    with Double(options.state.absolute() if options.state else None) as double:
        for fault in options.fault:
            double.fault(*fault.split("=", 1))
        status = subprocess.run(double.command(words), env=double.environment(), check=False).returncode
    return 128 - status if status < 0 else status


if __name__ == "__main__":
    command.main_of("xl-double", lambda: main(sys.argv[1:]), trouble=125)
