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
_PLACES_OF_XEN = ("/proc/xen directory", "/sys/hypervisor directory")
_INDIVIDUAL = ("1", "5", "10")
"""Major numbers of character devices whose minor numbers each have a driver of their own: memory, terminals, misc."""
_DEPENDENT = (
    "kernel/cad_pid", "kernel/ns_last_pid", "kernel/sched_rt_period_us", "kernel/sched_rt_runtime_us", "kernel/threads-max",
    "net/ipv4/ip_local_port_range", "net/ipv4/ip_unprivileged_port_start", "net/ipv4/ping_group_range", "vm/min_free_kbytes",
    "vm/mmap_rnd_bits", "vm/mmap_rnd_compat_bits", "vm/overcommit_memory",
)  # fmt: skip
"""Parameters whose bounds depend on other parameters, on the machine, or on the architecture, and one of whose values no shell
could be started with."""
_SCRIPT = f"""\
#!/bin/sh
mkdir -p /proc /sys
mount -t proc proc /proc
mount -t sysfs sysfs /sys
say() {{
    printf '@RUNX@%-{_LINE - 7}s\\n' "$*"
}}
# The value $1 for the number at $place, or for all numbers if that is 0, is taken.
takes() {{
    text= number=0
    for word in $old; do
        number=$((number + 1))
        if [ $place = 0 ] || [ $place = $number ]; then text="$text $1"; else text="$text $word"; fi
    done
    {{ echo $text > "$at"; }} 2> /dev/null
    set -- $?
    # What could not be written stays in the shell's buffer. To fork is impossible with some values.
    echo > /dev/null
    return $1
}}
# Sets low and high for $place. The numbers of `[` have 32 bits, those of $(()) 64.
search() {{
    for start in $first 0 1 2 {1 << 16}; do
        if takes $start; then break; fi
        start=
    done
    [ "$start" ] || return 1
    # Most bounds are those of a type, so only the others are searched.
    high=$start over=
    for each in {(1 << 31) - 1} {1 << 31} {(1 << 32) - 1} {1 << 32} {(1 << 63) - 1} {(1 << 64) - 1}; do
        [ $each = {(1 << 64) - 1} ] || [ $((each > start)) = 1 ] || continue
        if takes $each; then high=$each; else over=$each && break; fi
    done
    while [ "$over" ] && [ $((over - high > 1)) = 1 ]; do
        middle=$((high + (over - high) / 2))
        if takes $middle; then high=$middle; else over=$middle; fi
    done
    low=$start under={-(1 << 33)}
    for each in 1 0 -1 {-(1 << 31)} {-(1 << 31) - 1}; do
        [ $((each < start)) = 1 ] || continue
        if takes $each; then low=$each; else under=$each && break; fi
    done
    while [ $((low - under > 1)) = 1 ]; do
        middle=$((under + (low - under) / 2))
        if takes $middle; then low=$middle; else under=$middle; fi
    done
}}
# How many numbers the parameter has, and between which all that it takes are.
bounds() {{
    for each in {" ".join(_DEPENDENT)}; do [ "$at" != /proc/sys/$each ] || return; done
    # The kernel gives a parameter to one read(2) alone, and `read` reads single bytes.
    old=$(cat "$at") || return
    for each in $old; do
        case $each in *[!0-9-]* | ????????????????*) return ;; esac
    done
    set -- $old
    [ $# -gt 0 ] || return
    place=0 lowest= highest=
    [ $# -gt 1 ] || place=1
    while [ $place -le $# ]; do
        first=$1
        if search; then
            if [ ! "$lowest" ] || [ $((low < lowest)) = 1 ]; then lowest=$low; fi
            if [ ! "$highest" ] || [ $high = {(1 << 64) - 1} ]; then highest=$high; fi
            if [ $highest != {(1 << 64) - 1} ] && [ $((high > highest)) = 1 ]; then highest=$high; fi
        fi
        echo $old > "$at"
        place=$((place + 1))
    done
    [ ! "$lowest" ] || echo $# $lowest $highest
}}
walk() {{
    for at in "$1"/*; do
        if [ -d "$at" ]; then
            walk "$at"
        elif true >> "$at"; then
            case $at in
            */conf/default/* | */neigh/default/*) say sysctl "${{at#/proc/sys/}}" $(bounds) ;;
            */conf/* | */neigh/*) say sysctl "${{at#/proc/sys/}}" ;;
            *) say sysctl "${{at#/proc/sys/}}" $(bounds) ;;
            esac
        fi
    done
}}
# What is at some paths of a file system of the kernel.
list() {{
    for at; do
        if [ -d "$at" ]; then say place "$at" directory; elif [ -e "$at" ]; then say place "$at" file; fi
    done
}}
{{
    list /proc/[!0-9]* /proc/sys/* /sys/* /sys/fs/* /sys/kernel/*
    for at in /sys/dev/char/*; do say char "${{at##*/}}"; done
    kind=
    while read -r number name; do
        case $number in Character) kind=chars ;; Block) kind=blocks ;; "") ;; *) say $kind "$number" ;; esac
    done < /proc/devices
    walk /proc/sys
    say end $((6 * 7))
}} > /lists 2> /dev/null
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
    values: dict[str, set[str]] = {"sysctl": set(), "place": set(), "char": set(), "chars": set(), "blocks": set()}
    for line in (*lines, *_OF_XEN):
        kind, _, value = line.partition(" ")
        values[kind].add(value)
    parameters: dict[str, str] = {}
    for value in values["sysctl"]:
        name, _, bounds = value.partition(" ")
        pattern = re.sub(r"^(net/ipv[46]/(?:conf|neigh))/[^/]+/", r"\1/*/", name)
        parameters[pattern] = parameters.get(pattern) or bounds
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

SYSCTL = dict(
    line.partition(" ")[::2]
    for line in """
{"".join(f"{name} {parameters[name]}".rstrip() + chr(10) for name in sorted(parameters))}""".strip().split("\\n")
)
"""Parameters below /proc/sys that can be written. * stands for an interface. How many numbers each has, and its least and
greatest value; "" where there are no bounds of its own."""

PLACES = dict(
    line.partition(" ")[::2]
    for line in """
{"".join(f"{place}{chr(10)}" for place in sorted(values["place"] | set(_PLACES_OF_XEN)))}""".strip().split("\\n")
)
"""Files and directories of proc and sysfs: all of /proc but processes, and of /proc/sys, /sys, /sys/fs and /sys/kernel."""
'''


def write(out: Path) -> None:
    """Write the table for the kernel, with its configuration, in `out`. Raises ToolError."""
    lines = lines_said(out / "kernel", out / "initrd")
    config = kconfig.parse((out / "kernel.config").read_text(), str(out / "kernel.config"))
    kconfig.check(kconfig.read_fragments(FRAGMENTS, SERIES), out / "kernel.config", "the kernel, which ./build kernel makes anew")
    TABLE.write_text(table(lines, config))
