"""tools/test: install what tests need, then run them, the quickest first.

lint    ruff, mypy, shellcheck, codespell, warnings of the C compiler
unit    unit and snapshot tests
double  engines on tools/xl-double, whose domains are no virtual machines
trixie  the same as double, with the engines and the Python of Debian 13, in a tree of it; on Debian 13 it is
        the step bookworm, with those of Debian 12
lab     engines in the Xen lab, an emulated machine with Debian 13
lab-bookworm  a few of these tests with Debian 12: its xl, a volume, and an image that needs its QEMU
Not in a run of all steps:
quick              the linters and most tests of the compiler, in about 20 s
habits             what docker's users do, under runc and under runx on tools/xl-double, compared
lab-bookworm-more  all tests of ctr and of images with Debian 12
lab-long           what takes longest in the lab, and podman's tests
lab-systemd        a lab whose dom0 has systemd, udev and Debian's services

--engines runs the tests of the step double in trees of Debian 12, 13 and unstable, or of those that it names.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

from runxtools import apt, bootstrap, engines, packages, pythons, specification, venv
from runxtools.checkout import CHECKOUT
from runxtools.command import main_of
from runxtools.double import host
from runxtools.lab.kinds import Kind
from runxtools.packages import Package
from runxtools.progress import Progress

_LINT = (
    Package("python3-venv", "/usr/share/doc/python3-venv", "the tests' virtual environment"),
    Package("git", "git", "the list of files for the linters"),
    Package("shellcheck", "shellcheck", "linter of shell scripts"),
    Package("codespell", "codespell", "linter of words"),
    Package("gcc", "gcc", "warnings about C"),
    Package("musl-tools", "musl-gcc", "warnings about the guest's C"),
)
_UNIT = (
    Package("make", "make", "the Makefile"),
    Package("cpio", "cpio", "reads the archives we write"),
    Package("erofs-utils", "mkfs.erofs", "makes disks of root filesystems"),
    Package("busybox-static", "busybox", "the test image's programs"),
    Package("strace", "strace", "kills processes before a chosen system call"),
    Package("qemu-utils", "qemu-img", "makes images of disks"),
    Package("iptables", "iptables", "the ports that engines publish"),
    Package("dnsmasq-base", "dnsmasq", "a DHCP server"),
    *host.PACKAGES,
)
_DOUBLE = (
    Package("containerd", "containerd", "an engine, for the tests on xl-double"),
    Package("podman", "podman", "an engine, for the tests on xl-double"),
    Package("conmon", "conmon", "podman's half of a container"),
    Package("crun", "crun", "a runtime that podman looks for"),
    Package("catatonit", "catatonit", "what waits in podman's pods"),
    Package("buildah", "buildah", "builds images with containers of their own"),
    Package("docker.io", "dockerd", "an engine, for the tests on xl-double"),
    Package("containernetworking-plugins", "/usr/lib/cni/bridge", "podman's networks and ctr's"),
    Package("sqlite3", "sqlite3", "a database, for the tests of root filesystems"),
)
_SPLIT = (
    Package("docker-cli", "docker", "docker's command"),
    Package("netavark", "/usr/lib/podman/netavark", "podman's networks"),
    Package("aardvark-dns", "/usr/lib/podman/aardvark-dns", "names in podman's networks"),
    Package("nftables", "nft", "the ports that netavark publishes"),
)
"""Parts of engines that Debian 12's docker.io contains, or that its podman does without."""
_COMPOSE = Package("docker-compose", "docker-compose", "several containers of docker's at once")
_ALL = (*_LINT, *_UNIT, *_DOUBLE, *(_SPLIT if apt.machine_release() not in ("bookworm", "") else ()))


class Step(NamedTuple):
    """A part of the tests."""

    what: str
    """Its name in the summary."""
    pytest: tuple[str, ...]
    """Arguments for pytest: the tests."""
    packages: tuple[Package, ...]
    build: str = ""
    """The target of ./build that it needs."""
    schemas: bool = False
    """Whether it needs the schemas of the OCI specification."""
    suite: str = ""
    """The suite of Debian in whose tree it runs; "" for this machine."""
    lab: Kind | None = None
    """The kind of lab that it needs."""
    usual: bool = True
    """Whether a run of all steps has it."""
    workers: int = 1
    """Processes that share its tests, file by file, where the machine has as many processors."""

    @property
    def processes(self) -> int:
        """Processes that share its tests on this machine."""
        return min(self.workers, os.cpu_count() or 1)

    @property
    def labs(self) -> tuple[Kind, ...]:
        """The labs that it needs, one for each process."""
        return self.lab.parts(self.processes) if self.lab else ()

    @property
    def arguments(self) -> tuple[str, ...]:
        """Arguments for pytest."""
        return (
            *(("-n", str(self.processes), "--dist", "loadfile") if self.processes > 1 else ()),
            *self.pytest,
            *(("--lab", self.lab.name) if self.lab else ()),
        )


STEPS = {
    "lint": Step("linters", ("tests/test_linters.py",), _LINT),
    "unit": Step("unit and snapshot tests", ("tests/unit",), (*_LINT, *_UNIT), "initrd", schemas=True, workers=4),
    "double": Step("tests on xl-double", ("tests/integration",), _ALL, "initrd", workers=2),
    **{
        suite: Step(
            f"tests on xl-double, Debian {suite}",
            ("tests/integration",),
            bootstrap.HOST_PACKAGES,
            "initrd",
            suite=suite,
            usual=suite == engines.other(apt.machine_release()),
            workers=2,
        )
        for suite in engines.SUITES
    },
    "lab": Step("tests in the Xen lab", ("-m", "not long", "tests/lab"), _ALL, "all", lab=Kind(), workers=2),
    # Debian 12 has another xl and another Linux, and a QEMU that can serve guests. This lab has two processors.
    "lab-bookworm": Step(
        "tests in the Xen lab, Debian 12",
        (
            "tests/lab/test_image.py::test_an_image_by_qemu",
            "tests/lab/test_cpus.py::test_cpu_limits_reach_the_scheduler",
            "tests/lab/test_ctr.py::test_the_container_is_a_domain_of_its_own",
            "tests/lab/test_ctr.py::test_a_read_only_bind_stays_read_only",
        ),
        _ALL,
        "all",
        lab=Kind("bookworm"),
    ),
    "lab-bookworm-more": Step(
        "more tests in the Xen lab, Debian 12",
        ("tests/lab/test_image.py", "tests/lab/test_ctr.py"),
        _ALL,
        "all",
        lab=Kind("bookworm"),
        usual=False,
    ),
    "lab-long": Step("long tests in the Xen lab", ("-m", "long", "tests/lab"), _ALL, "all", lab=Kind(), usual=False, workers=2),
    "lab-systemd": Step(
        "tests of systemd in the Xen lab", ("tests/lab/test_systemd.py",), _ALL, "all", lab=Kind(systemd=True), usual=False
    ),
    "habits": Step("habits of docker's users", ("tests/habits",), (*_ALL, _COMPOSE), "initrd", usual=False),
    "quick": Step(
        "linters and the compiler's tests",
        (
            "tests/test_linters.py",
            "tests/unit/test_imports.py",
            "tests/unit/cli",
            "tests/unit/compiler",
            # The first takes half a minute, the second starts containers.
            "--ignore=tests/unit/compiler/test_damage.py",
            "--ignore=tests/unit/compiler/test_update.py",
        ),
        (*_LINT, *_UNIT),
        schemas=True,
        usual=False,
    ),
}
PYTEST = ("-m", "pytest", "-q", "--durations=10", "--durations-min=10")
"""Arguments of Python: the tests, with the names of those that take longest, for all of them together have a time limit."""
NOTHING_SELECTED = 5
"""pytest's exit status when its arguments leave no test."""


class Result(NamedTuple):
    """The outcome of a command."""

    what: str
    seconds: float
    outcome: str
    """passed, failed, not run, or no test: the arguments left none."""


def _status(argv: Sequence[str | Path]) -> int:
    """Run a command in the checkout: its exit status."""
    return subprocess.run(argv, cwd=CHECKOUT, env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}).returncode


class Results:
    """The commands that were run, with their times."""

    def __init__(self) -> None:
        self.all: list[Result] = []
        self.notes: list[str] = []
        """Lines at the end of the summary."""
        self._begin = time.monotonic()
        self._tests: list[str] = []
        """Names of those that are pytest."""

    def run(self, what: str, argv: Sequence[str | Path]) -> bool:
        """Run a command; whether its exit status is 0."""
        return self._measure(what, lambda: _status(argv), {}) == "passed"

    def test(self, what: str, command: Callable[[], int], chosen: bool) -> None:
        """Run a command that is pytest. Where somebody has `chosen` tests, a step may have none of them."""
        self._tests.append(what)
        self._measure(what, command, {NOTHING_SELECTED: "no test"} if chosen else {})

    def _measure(self, what: str, command: Callable[[], int], outcomes: Mapping[int, str]) -> str:
        sys.stdout.flush()
        begin = time.monotonic()
        status = command()
        outcome = outcomes.get(status, "failed") if status else "passed"
        self.all.append(Result(what, time.monotonic() - begin, outcome))
        return outcome

    def leave_out(self, what: str) -> None:
        """Record a command that cannot be run."""
        self.all.append(Result(what, 0, "not run"))

    @property
    def failed(self) -> list[str]:
        """The commands that did not pass. A step without a test is a failure only when every step is without."""
        outcomes = {result.outcome for result in self.all if result.what in self._tests}
        fine = ("passed",) if outcomes == {"no test"} else ("passed", "no test")
        return [result.what for result in self.all if result.outcome not in fine]

    def summary(self) -> str:
        """A line for each command, and one for all of them."""
        width = max((len(result.what) for result in self.all), default=0)
        lines = [f"  {result.what:<{width}}  {result.seconds:5.0f} s  {result.outcome}" for result in self.all]
        verdict = f"failed: {', '.join(self.failed)}" if self.failed else "all passed"
        return "\n".join([*lines, *self.notes, f"tools/test: {verdict}, {(time.monotonic() - self._begin) / 60:.1f} min"])


def steps(only: Sequence[str], no_lab: bool) -> list[Step]:
    """The steps in their order: those chosen, or all usual ones."""
    chosen = only or [name for name, step in STEPS.items() if step.usual]
    return [step for name, step in STEPS.items() if name in chosen and not (no_lab and step.lab)]


def set_up(chosen: Sequence[Step]) -> Path:
    """Install what the steps need on this machine: the tests' interpreter. Raises ToolError."""
    needed = packages.missing(list({package.name: package for step in chosen for package in step.packages}.values()))
    schemas = any(step.schemas for step in chosen)
    progress = Progress(3 if schemas else 2)
    if needed:
        with progress.step("Debian packages", about_s=30):
            packages.install(needed, progress.note)
    else:
        progress.skip("Debian packages", "installed")
    python = venv.find()
    if python:
        progress.skip("virtual environment", "cached")
    else:
        with progress.step("virtual environment", about_s=30):
            python = venv.make()
    if schemas and specification.find():
        progress.skip("schemas of the OCI specification", "cached")
    elif schemas:
        with progress.step("schemas of the OCI specification", about_s=10):
            specification.make()
    return python


def _labs_are_up(step: Step, results: Results) -> bool:
    print(f"\n{step.what}: the lab; the first time takes about 4 min")
    return all(_call_lab(lab, "up", results) for lab in step.labs)


def _call_lab(lab: Kind, order: str, results: Results) -> bool:
    return results.run(f"tools/lab {lab.options}{order}", [sys.executable, "tools/lab", *lab.options.split(), order])


def in_tree(step: Step, arguments: Sequence[str], results: Results) -> None:
    """Run a step's tests in the tree of its suite. Raises ToolError when there is no tree."""
    with Progress(1).step(f"Debian {step.suite} with its engines", about_s=180):
        there = engines.Tree(step.suite)
    versions = there.versions()
    print(f"{step.suite}: {versions}")
    words = ["tools/python", *PYTEST, "-p", "no:cacheprovider", *step.arguments, *arguments]
    results.test(step.what, lambda: there.call(words), bool(arguments))
    results.notes.append(f"  Debian {step.suite}: {versions}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="tools/test", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--no-lab", action="store_true", help="leave out the lab, and the guest's kernel, which only it needs")
    which.add_argument("--lab-only", action="store_const", dest="only", const=["lab"], help="the same as --only lab")
    which.add_argument(
        "--only", action="append", choices=tuple(STEPS), metavar="STEP", help="run this step: %(choices)s; may be repeated"
    )
    which.add_argument(
        "--python",
        type=pythons.version_or_path,
        metavar="VERSION",
        help=f"run the unit tests with the Python of another Debian ({', '.join(pythons.SUITES)}), or the one at a path",
    )
    which.add_argument(
        "--engines",
        nargs="*",
        choices=engines.SUITES,
        metavar="SUITE",
        help="run the tests on xl-double with the engines of these suites of Debian: %(choices)s (default: all of them)",
    )
    parser.add_argument("pytest", nargs="*", help="arguments for pytest, after --")
    options = parser.parse_args()
    for word in options.pytest:
        if word in STEPS:
            parser.error(f"{word} is a step, not an argument for pytest: write --only before each step")
    if options.python:
        set_up(steps(["unit"], no_lab=True))
        subprocess.run([sys.executable, "./build", "initrd"], cwd=CHECKOUT, check=True)
        return pythons.test(options.python, options.pytest)
    suites = None if options.engines is None else options.engines or engines.SUITES
    chosen = steps(suites or options.only or (), options.no_lab)
    python = set_up(chosen)
    results = Results()
    built: dict[str, bool] = {"": True}
    for step in chosen:
        if step.build not in built:
            hint = "; the first time takes about 10 min for its kernel" if step.build == "all" else ""
            print(f"\n{step.what}: the guest{hint}")
            built[step.build] = results.run(f"./build {step.build}", [sys.executable, "./build", step.build])
        if step.lab and not (built[step.build] and _labs_are_up(step, results)):
            results.leave_out(step.what)
            continue
        print(f"\n{step.what}")
        if step.suite:
            in_tree(step, options.pytest, results)
            continue
        argv = [python, *PYTEST, *step.arguments, *options.pytest]
        results.test(step.what, partial(_status, argv), bool(options.pytest))
        if len(step.labs) > 1 or any(other.lab for other in chosen[chosen.index(step) + 1 :]):
            # A lab takes a processor even when it is idle.
            for lab in step.labs:
                _call_lab(lab, "down", results)
    print(f"\n{results.summary()}")
    return 1 if results.failed else 0


if __name__ == "__main__":
    main_of("test", main)
