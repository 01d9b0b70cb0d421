"""tools/test: everything tests need, then linters, unit and snapshot tests, tests without Xen, and those in the Xen lab."""

import argparse
import os
import subprocess
import sys
import time

from runxtools import packages, specification, venv
from runxtools.checkout import CHECKOUT
from runxtools.command import main_of
from runxtools.double import host
from runxtools.packages import Package
from runxtools.progress import Progress

_PACKAGES = (
    Package("python3-venv", "/usr/share/doc/python3-venv", "the tests' virtual environment"),
    Package("shellcheck", "shellcheck", "linter of shell scripts"),
    Package("codespell", "codespell", "linter of words"),
    Package("cpio", "cpio", "reads the archives we write"),
    Package("erofs-utils", "mkfs.erofs", "makes disks of root filesystems"),
    Package("busybox-static", "busybox", "the test image's programs"),
    Package("strace", "strace", "kills processes before a chosen system call"),
    Package("git", "git", "the list of files for the linters"),
    Package("qemu-utils", "qemu-img", "makes images of disks"),
    Package("sqlite3", "sqlite3", "a database, for the tests of root filesystems"),
    *host.PACKAGES,
    Package("containerd", "containerd", "an engine, for the tests on xl-double"),
    Package("podman", "podman", "an engine, for the tests on xl-double"),
    Package("conmon", "conmon", "podman's half of a container"),
    Package("crun", "crun", "a runtime that podman looks for"),
    Package("catatonit", "catatonit", "what waits in podman's pods"),
    Package("docker.io", "dockerd", "an engine, for the tests on xl-double"),
    Package("containernetworking-plugins", "/usr/lib/cni/bridge", "podman's networks and ctr's"),
    Package("iptables", "iptables", "the ports that engines publish"),
    Package("dnsmasq-base", "dnsmasq", "a DHCP server"),
)


def main() -> int:
    parser = argparse.ArgumentParser(prog="tools/test", description=__doc__)
    parser.add_argument("--no-lab", action="store_true", help="leave out what needs the Xen lab (and the guest's kernel)")
    parser.add_argument("--lab-only", action="store_true", help="only the tests in the lab")
    parser.add_argument("pytest", nargs="*", help="arguments for pytest, after --")
    options = parser.parse_args()
    begin = time.monotonic()
    progress = Progress(4 if options.no_lab else 5)
    needed = packages.missing(_PACKAGES)
    if needed:
        with progress.step("Debian packages", about_s=30):
            packages.install(needed, progress.note)
    else:
        progress.skip("Debian packages", "installed")
    if found := venv.find():
        progress.skip("virtual environment", "cached")
        python = found
    else:
        with progress.step("virtual environment", about_s=30):
            python = venv.make()
    if specification.find():
        progress.skip("schemas of the OCI specification", "cached")
    else:
        with progress.step("schemas of the OCI specification", about_s=10):
            specification.make()
    failed = []

    def run(what: str, argv: list[str]) -> None:
        sys.stdout.flush()
        if subprocess.run(argv, cwd=CHECKOUT, env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"}).returncode:
            failed.append(what)

    progress.skip("guest", "the initrd alone" if options.no_lab else "kernel and initrd; the first time takes about 10 min")
    run("./build", [sys.executable, "./build", *(["initrd"] if options.no_lab else [])])
    pytest = [str(python), "-m", "pytest", "-q", *options.pytest]
    if not options.lab_only:
        run("tests without the lab", [*pytest, "tests/unit", "tests/test_linters.py"])
        run("tests on xl-double", [*pytest, "tests/integration"])
    if not options.no_lab:
        progress.skip("lab", "starting; the first time takes about 4 min")
        run("tools/lab up", [sys.executable, "tools/lab", "up"])
        if not {"./build", "tools/lab up"} & set(failed):
            run("tests in the lab", [*pytest, "tests/lab"])
    minutes = (time.monotonic() - begin) / 60
    print(f"tools/test: {'failed: ' + ', '.join(failed) if failed else 'all passed'}, {minutes:.1f} min")
    return 1 if failed else 0


if __name__ == "__main__":
    main_of("test", main)
