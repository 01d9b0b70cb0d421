"""Write runx/compiler/model/guest_kernel.py, the table of what the guest's kernel has: `./build kernel-table`.

The kernel itself says it: QEMU boots it without Xen, and a script lists its parameters and devices. It has no driver for any
hardware, so the lists come out of the machine's memory, which is a file.
"""

import hashlib
import re
import subprocess
import tempfile
from pathlib import Path

from recipes import kconfig
from recipes.kernel_source import SERIES
from recipes.settings import ASSETS
from runx.cpio import OverlayFile, archive
from runxtools.checkout import CHECKOUT
from runxtools.errors import ToolError

TABLE = CHECKOUT / "runx" / "compiler" / "model" / "guest_kernel.py"
FRAGMENTS = [ASSETS / "kernel" / f"{name}.config" for name in ("common", "x86_64")]
TIMEOUT_S = 300

ASKED = (
    "CONFIG_BINFMT_MISC", "CONFIG_BRIDGE", "CONFIG_HUGETLBFS", "CONFIG_NETFILTER", "CONFIG_NUMA", "CONFIG_SWAP",
    "CONFIG_TCP_CONG_BBR", "CONFIG_TMPFS_QUOTA", "CONFIG_TRANSPARENT_HUGEPAGE", "CONFIG_TUN", "CONFIG_VETH",
    "CONFIG_WIREGUARD",
)  # fmt: skip
"""Symbols about which the compiler asks."""

_MEMORY_MIB = 192
_LINE = 128
"""Bytes of a line, by which pages of memory can be divided: no line lies in two pages."""
_END = "@RUNX@end 42"
# Without Xen, its frontends register nothing. Disks: 202, and 259 with a high number; consoles: 229 (Linux, Documentation/
# admin-guide/devices.txt).
_OF_XEN = ("blocks 202", "blocks 259", "chars 229")
_INDIVIDUAL = ("1", "5", "10")
"""Major numbers of character devices whose minor numbers each have a driver of their own: memory, terminals, misc."""
_SCRIPT = f"""\
#!/bin/sh
mkdir -p /proc /sys
mount -t proc proc /proc
mount -t sysfs sysfs /sys
say() {{
    printf '@RUNX@%-{_LINE - 7}s\\n' "$*"
}}
walk() {{
    for at in "$1"/*; do
        if [ -d "$at" ]; then walk "$at"; elif true 2> /dev/null >> "$at"; then say sysctl "${{at#/proc/sys/}}"; fi
    done
}}
{{
    walk /proc/sys
    for at in /sys/dev/char/*; do say char "${{at##*/}}"; done
    kind=
    while read -r number name; do
        case $number in Character) kind=chars ;; Block) kind=blocks ;; "") ;; *) say $kind "$number" ;; esac
    done < /proc/devices
    say end $((6 * 7))
}} > /lists
"""
# The script ends, so the kernel panics, and QEMU ends instead of booting again.


def fragments_hash() -> str:
    """Hash of the lines of the configuration."""
    return hashlib.sha256(kconfig.lines_of(FRAGMENTS).encode()).hexdigest()


def lines_said(kernel: Path, initrd: Path) -> set[str]:
    """Boot a kernel with a script in the ramdisk `initrd`, and return what it said. Raises ToolError."""
    with tempfile.TemporaryDirectory() as directory:
        memory, ramdisk = Path(directory) / "memory", Path(directory) / "ramdisk"
        base = initrd.read_bytes()
        ramdisk.write_bytes(base + bytes(-len(base) % 4) + archive([OverlayFile("list", 0o755, _SCRIPT.encode())]))
        backend = f"memory-backend-file,id=m,size={_MEMORY_MIB}M,mem-path={memory},share=on"
        argv = [
            "qemu-system-x86_64", "-accel", "tcg", "-M", "q35,memory-backend=m", "-m", str(_MEMORY_MIB), "-object", backend,
            "-display", "none", "-nodefaults", "-no-reboot", "-kernel", str(kernel), "-initrd", str(ramdisk),
            "-append", "rdinit=/list panic=-1",
        ]  # fmt: skip
        try:
            subprocess.run(argv, stdin=subprocess.DEVNULL, check=True, timeout=TIMEOUT_S)
        except (OSError, subprocess.SubprocessError) as error:
            raise ToolError(f"qemu-system-x86_64: {error}", "apt-get install qemu-system-x86") from None
        found = re.finditer(rb"@RUNX@[ -~]{121}\n", memory.read_bytes())
        lines = {match[0].decode().strip() for match in found}
    if _END not in lines:
        raise ToolError(f"{kernel} did not list what it has", "./build all")
    return {line.removeprefix("@RUNX@") for line in lines - {_END}}


def table(lines: set[str], config: dict[str, str]) -> str:
    """The text of the module. lines: what the kernel said; config: its configuration."""
    values: dict[str, set[str]] = {"sysctl": set(), "char": set(), "chars": set(), "blocks": set()}
    for line in (*lines, *_OF_XEN):
        kind, _, value = line.partition(" ")
        values[kind].add(value)
    parameters = {re.sub(r"^(net/ipv[46]/(?:conf|neigh))/[^/]+/", r"\1/*/", name) for name in values["sysctl"]}
    devices = {tuple(map(int, each.split(":"))) for each in values["char"] if each.split(":")[0] in _INDIVIDUAL}
    majors = {name: sorted(int(each) for each in values[name] - set(_INDIVIDUAL)) for name in ("chars", "blocks")}
    symbols = "".join(f'    "{name}": {config.get(name, "n") == "y"},\n' for name in ASKED)
    return f'''"""What the guest's kernel has. `./build kernel-table` writes this, from what the kernel itself says."""

FRAGMENTS = "{fragments_hash()}"
"""Hash of the configuration from which the kernel was made (guest-assets/kernel)."""

CONFIG = {{
{symbols}}}

CHARACTER_DEVICES = frozenset(
    {{
{"".join(f"        {device},{chr(10)}" for device in sorted(devices))}    }}
)
"""Major and minor numbers of devices that each have a driver of their own."""

CHARACTER_MAJORS = frozenset({{{", ".join(map(str, majors["chars"]))}}})
"""Major numbers whose drivers have all minor numbers."""

BLOCK_MAJORS = frozenset({{{", ".join(map(str, majors["blocks"]))}}})

SYSCTL = frozenset(
    """
{"".join(f"{name}{chr(10)}" for name in sorted(parameters))}""".split()
)
"""Parameters below /proc/sys that can be written. * stands for an interface."""
'''


def write(out: Path) -> None:
    """Write the table for the kernel, with its configuration, in `out`. Raises ToolError."""
    lines = lines_said(out / "kernel", out / "initrd")
    config = kconfig.parse((out / "kernel.config").read_text(), str(out / "kernel.config"))
    kconfig.check(kconfig.read_fragments(FRAGMENTS, SERIES), out / "kernel.config", "the kernel, which ./build kernel makes anew")
    TABLE.write_text(table(lines, config))
