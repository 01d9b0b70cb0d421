"""Print in dom0 one line for each thing that a container could leave behind."""

import glob
import os
import subprocess


def lines(*argv: str) -> list[str]:
    """Lines that a program prints. Raises CalledProcessError, as a failure would hide a leak."""
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.splitlines()


def processes() -> list[str]:
    """Command lines of runx, and of domains' QEMU."""
    found = []
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        try:
            with open(path, "rb") as file:
                words = file.read().rstrip(b"\0").replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue  # the process ended meanwhile
        if "bin/runx" in words or "runx.exec" in words or "-xen-domid" in words:
            found.append(f"{path.split('/')[2]} {words}")
    return found


def nodes(top: str) -> list[str]:
    """Nodes KIND/DOMAIN below `top` in xenstore, without those of dom0."""
    listing = subprocess.run(["xenstore-ls", "-f", top], check=False, capture_output=True, text=True).stdout
    paths = {line.partition(" = ")[0].removeprefix(top).strip("/") for line in listing.splitlines()}
    return sorted(path for path in paths if path.count("/") == 1 and not path.endswith("/0"))


found = {
    "domain": [" ".join(line.split()[:2]) for line in lines("xl", "list")[1:]],
    "mount": [" ".join(line.split()[:3]) for line in lines("cat", "/proc/self/mounts")],
    "process": processes(),
    "state": glob.glob("/run/containerd/runc/*/*") + glob.glob("/run/runx/*"),
    "MAC address": glob.glob("/run/runx-macs/*"),
    "backend": nodes("/local/domain/0/backend"),
    "link": [os.path.basename(path) for path in glob.glob("/sys/class/net/*")],
    "loop": lines("losetup", "--noheadings", "--output", "NAME,BACK-FILE", "--list"),
    "container": lines("ctr", "containers", "ls", "-q"),
}
for kind, things in found.items():
    for thing in things:
        print(kind, thing)
