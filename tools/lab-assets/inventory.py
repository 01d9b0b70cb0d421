"""Run in dom0: one line for each thing that a container could leave behind there."""

import glob
import os
import subprocess


def lines(*argv: str) -> list[str]:
    """What a program prints, by lines. One that fails would hide a leak."""
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout.splitlines()


def processes() -> list[str]:
    """Command lines in which runx or a domain's QEMU appears."""
    found = []
    for path in glob.glob("/proc/[0-9]*/cmdline"):
        try:
            with open(path, "rb") as file:
                words = file.read().rstrip(b"\0").replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue  # it ended meanwhile
        if "bin/runx" in words or "runx.exec" in words or "-xen-domid" in words:
            found.append(f"{path.split('/')[2]} {words}")
    return found


def nodes(top: str) -> list[str]:
    """Nodes of xenstore two levels below `top`, which are KIND/DOMAIN, except dom0's own."""
    listing = subprocess.run(["xenstore-ls", "-f", top], check=False, capture_output=True, text=True).stdout
    paths = {line.partition(" = ")[0].removeprefix(top).strip("/") for line in listing.splitlines()}
    return sorted(path for path in paths if path.count("/") == 1 and not path.endswith("/0"))


found = {
    "domain": [" ".join(line.split()[:2]) for line in lines("xl", "list")[1:]],
    "mount": [" ".join(line.split()[:3]) for line in lines("cat", "/proc/self/mounts")],
    "process": processes(),
    "state": glob.glob("/run/containerd/runc/*/*") + glob.glob("/run/runx/*"),
    "backend": nodes("/local/domain/0/backend"),
    "link": [os.path.basename(path) for path in glob.glob("/sys/class/net/*")],
    "loop": lines("losetup", "--noheadings", "--output", "NAME,BACK-FILE", "--list"),
    "container": lines("ctr", "containers", "ls", "-q"),
}
for kind, things in found.items():
    for thing in things:
        print(kind, thing)
