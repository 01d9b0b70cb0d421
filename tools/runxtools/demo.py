"""tools/demo: run one container with containerd's ctr and runx, as a Xen virtual machine in the lab."""

import argparse
import shlex
import subprocess
import sys
import time
import uuid

from runxtools.checkout import CHECKOUT
from runxtools.command import main_of
from runxtools.lab.kinds import DEFAULT_SUITE, SUITES, Kind
from runxtools.lab.lab import Lab
from runxtools.machine import Machine

IMAGE = "localhost/runx-test:latest"
_LIMIT_S = 300
_SCRIPT = """
echo "hello from Linux $(uname -r) on $(nproc) CPU, up $(cut -d' ' -f1 /proc/uptime) s"
grep MemTotal /proc/meminfo
echo "process $$ of the container, user $(id -u)"
echo "this line went to standard error" >&2
echo ready
read line && echo "standard input said: $line"
exit 3
"""


def main() -> int:
    parser = argparse.ArgumentParser(prog="tools/demo", description=__doc__)
    parser.add_argument("--suite", choices=SUITES, default=DEFAULT_SUITE, help="the Debian of dom0; default: %(default)s")
    kind = Kind(parser.parse_args().suite)
    begin = time.monotonic()
    print("1. the guest: a kernel and a ramdisk (the first time about 10 min, then seconds)", flush=True)
    if subprocess.run([sys.executable, "./build"], cwd=CHECKOUT).returncode:
        return 1
    about = "in an emulated machine (the first time about 4 min, then seconds)"
    print(f"2. the lab: Debian {kind.suite} as dom0 of Xen, {about}", flush=True)
    lab = Lab(kind)
    lab.up()
    print("3. the container", flush=True)
    status = run_container(lab)
    print(
        f"\ntook {time.monotonic() - begin:.0f} s. The lab stays up: "
        f"tools/lab {kind.options}run -- COMMAND, tools/lab {kind.options}down"
    )
    return 0 if status == 3 else 1


def run_container(lab: Machine) -> int:
    """Run the container and print its output and `xl list` during and after it: its exit status."""
    container = f"demo-{uuid.uuid4().hex[:8]}"
    command = ["ctr", "run", "--rm", "--runc-binary", "/usr/local/bin/runx", IMAGE, container, "/bin/sh", "-c", _SCRIPT]
    print(f"\ndom0# {shlex.join(command)}", flush=True)
    process = lab.popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    assert process.stdin is not None
    assert process.stdout is not None
    output = b""
    while b"ready\n" not in output:
        data = process.stdout.read(65536)
        if not data:
            break
        output += data
    listing = lab.run(["xl", "list"]).stdout.decode()
    rest, _ = process.communicate(b"good day\n", timeout=_LIMIT_S)
    print((output + rest).decode(errors="replace"), end="")
    print(f"\ndom0# xl list                  (while it ran)\n{listing}")
    print(f"exit status: {process.returncode} (the script ends with `exit 3`)")
    print(f"\ndom0# xl list                  (now)\n{lab.run(['xl', 'list']).stdout.decode()}", end="")
    return process.returncode


if __name__ == "__main__":
    main_of("demo", main)
