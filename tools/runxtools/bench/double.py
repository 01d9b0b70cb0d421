"""tools/bench: whole containers on tools/xl-double, whose guests run on this machine's kernel and so at its speed.

The programs of tools/bench-assets run here and in the lab.
"""

import shutil
import subprocess
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from runxtools.bench.figures import ASSETS, Figure, lines
from runxtools.bench.roots import RATE_LIMIT, measure_images
from runxtools.double.host import Double
from runxtools.errors import ToolError
from runxtools.machine import Machine

OUTPUT_SIZE = 256 * 1024 * 1024
"""Bytes of a container's standard output: some seconds."""
SESSION_SIZE = 64 * 1024 * 1024
"""Bytes that a session prints: about a second."""
NETWORK_SIZE = {"lab": 128 << 20, "xl-double": 512 << 20}
"""Bytes to send: one or two seconds."""
RUNX = "/usr/local/bin/runx"
OTHERS = ("runc", "crun")
"""Runtimes to compare runx with, if they are installed."""
COMMANDS = ("create", "start", "state", "kill", "delete", "all")
COUNTS = (1, 10, 50)
IMAGE_SIZES = (10, 100, 1000)
"""MiB."""
MANY_ROUNDS = 3


def measure_double(rounds: int) -> list[Figure]:
    """Every figure of xl-double."""
    with Double() as double:
        return [
            measure_output(double, rounds),
            *measure_sessions(double, rounds),
            *measure_joined(double, rounds),
            *measure_network(double, "xl-double", str(ASSETS / "network.py"), rounds),
            *many_figures(lines(double, str(ASSETS / "lives.py"), "many", MANY_ROUNDS, *COUNTS)),
            *command_figures(lines(double, str(ASSETS / "lives.py"), "commands", rounds, RUNX, *filter(shutil.which, OTHERS))),
            *measure_images(double, "xl-double", str(ASSETS / "roots.py"), IMAGE_SIZES, RATE_LIMIT),
        ]


def measure_output(double: Double, rounds: int) -> Figure:
    """Rate of a container's standard output."""
    from runxtools.testing.bundles import Bundle

    rates: list[float] = []
    with tempfile.TemporaryDirectory(prefix="runx-bench-") as name, tempfile.TemporaryFile() as said:
        bundle = Bundle(double, Path(name))
        bundle.write("/bin/dd", "if=/dev/zero", "bs=64k", f"count={OUTPUT_SIZE // 65536}", "status=none")
        for _ in range(rounds):
            null = subprocess.DEVNULL
            with double.popen(bundle.argv("run", "c"), stdin=null, stdout=subprocess.PIPE, stderr=said) as process:
                assert process.stdout is not None
                first = len(process.stdout.read(65536))
                begin = time.perf_counter()
                rest = 0
                while data := process.stdout.read(65536):
                    rest += len(data)
                seconds = time.perf_counter() - begin
            if process.returncode or first + rest != OUTPUT_SIZE:
                raise _failed(f"runx run, after {first + rest} bytes", process.returncode, _words(said))
            rates.append(rest / seconds / 1e6)
    return Figure("xl-double: a container's stdout", "MB/s", rates, limit=30, at_least=True)


def _words(file: IO[bytes]) -> bytes:
    file.seek(0)
    return file.read()


def _failed(what: str, status: int, words: bytes) -> ToolError:
    """The error of a container that failed: what it was doing, and what runx has said."""
    return ToolError(f"on xl-double, {what} ended with status {status}: {words.decode(errors='replace').strip() or 'no words'}")


_KIND, _SANDBOX = "io.kubernetes.cri.container-type", "io.kubernetes.cri.sandbox-id"


def measure_joined(double: Double, rounds: int) -> list[Figure]:
    """`create` and `start` of a container in the running machine of its pod, against one in a machine of its own."""
    from runxtools.testing.bundles import Bundle

    with tempfile.TemporaryDirectory(prefix="runx-bench-") as name, tempfile.TemporaryFile() as said:
        bundle = Bundle(double, Path(name))

        def times(container: str, annotations: dict[str, str]) -> tuple[float, float]:
            """Milliseconds of `create`, and of both."""
            bundle.config["annotations"] = annotations
            bundle.write("/bin/sleep", "1000")
            null = subprocess.DEVNULL
            begin = time.perf_counter()
            with double.popen(bundle.argv("create", container), stdin=null, stdout=null, stderr=said) as process:
                pass
            created = time.perf_counter()
            if process.returncode:
                raise _failed(f"runx create {container}", process.returncode, _words(said))
            started = bundle.runx("start", container)
            if started.returncode:
                raise _failed(f"runx start {container}", started.returncode, started.stderr)
            return 1000 * (created - begin), 1000 * (time.perf_counter() - begin)

        def measured(container: str, annotations: dict[str, str]) -> tuple[float, float]:
            taken = times(container, {"org.runx.root.carrier": "9p", **annotations})
            bundle.runx("delete", "--force", container, check=True)
            return taken

        times("pod", {_KIND: "sandbox", _SANDBOX: "pod", "org.runx.pods.machine": "pod"})
        in_pod = {_KIND: "container", _SANDBOX: "pod"}
        lives = [(measured("joined", in_pod), measured("own", {})) for _ in range(rounds)]
        bundle.runx("delete", "--force", "pod", check=True)
    return [
        Figure(
            f"xl-double: {what} in a pod's machine, against a machine of its own", "ms",
            [joined[at] for joined, _ in lives], [own[at] for _, own in lives], limit,
        )
        for at, (what, limit) in enumerate((("create", 0.5), ("create and start", None)))
    ]  # fmt: skip


def measure_sessions(double: Double, rounds: int) -> list[Figure]:
    """Time and output of processes that exec starts (`bench-assets/sessions.py`)."""
    put = """
        mkdir -p /run/bench/runx
        printf '[policy]\\nexec = true\\n' > /run/bench/runx/runx.toml
        mount -t overlay -o lowerdir=/run/bench:/etc overlay /etc
    """
    double.run(["sh", "-euc", put], check=True)
    try:
        return session_figures(lines(double, str(ASSETS / "sessions.py"), rounds, SESSION_SIZE))
    finally:
        double.run(["sh", "-euc", "umount /etc; rm -r /run/bench"], check=True)


def session_figures(rounds: Sequence[dict[str, float]]) -> list[Figure]:
    """Figures of the output of sessions.py."""
    rates = {of: [round_[of] / 1e6 for round_ in rounds] for of in ("session", "container")}
    above = [round_["exec"] - round_["process"] for round_ in rounds]
    state = [round_["state"] for round_ in rounds]
    return [
        Figure("xl-double: exec of true, above a process of this machine, against state", "ms", above, state, 3),
        Figure(
            "xl-double: stdout of a session, against the container's", "MB/s", rates["session"], rates["container"], 0.9,
            at_least=True,
        ),
    ]  # fmt: skip


def measure_network(host: Machine, name: str, program: str, rounds: int) -> list[Figure]:
    """Rates over an engine's network, with and without runx's forwarding (`bench-assets/network.py`)."""
    return network_figures(name, lines(host, program, rounds, NETWORK_SIZE[name]))


def network_figures(name: str, rounds: Sequence[dict[str, float]]) -> list[Figure]:
    """Figures of the output of network.py."""
    figures = []
    for key, what in (("to", "host to container"), ("between", "container to container")):
        vif, bridged, engine = ([round_[f"{way}_{key}"] / 1e6 for round_ in rounds] for way in ("vif", "bridged", "engine"))
        what = f"{name}: {what}, engine's network"
        figures += [
            Figure(f"{what}, against a bridge in place of runx's forwarding", "MB/s", engine, bridged, 0.9, at_least=True),
            Figure(f"{what}, against a vif on the host's bridge", "MB/s", engine, vif),
        ]
    return figures


def command_figures(rounds: Sequence[dict[str, float]]) -> list[Figure]:
    """Figures of the output of `lives.py commands`. For runx they include the double's xl, which costs more than most of runx."""
    floor = [round_["floor"] for round_ in rounds]
    runtimes = dict.fromkeys(name.partition(" ")[0] for name in rounds[0] if name != "floor")
    return [
        Figure(
            f"{runtime}: {command}" if command != "all" else f"{runtime}: a life",
            "ms",
            [r[f"{runtime} {command}"] for r in rounds],
            floor,
        )
        for command in COMMANDS
        for runtime in runtimes
    ]


def many_figures(rounds: Sequence[dict[str, dict[str, float]]]) -> list[Figure]:
    """Figures of the output of `lives.py many`. The limit: among many containers, one costs what it costs among few."""
    figures = []
    for what, unit, key in (("time for one", "s", "seconds"), ("memory of a supervisor (Pss)", "MiB", "mib")):
        columns = {count: [round_[count][key] for round_ in rounds] for count in rounds[0]}
        few = next((count for count in columns if int(count) > 1), None)
        for count, samples in columns.items():
            against = columns[few] if few and int(count) > int(few) else ()
            figures.append(Figure(f"xl-double: {count} at once, {what}", unit, samples, against, 1.3 if against else None))
    return figures
