"""The base initrd: a newc archive of busybox and /init (docs/guest.md), compressed with gzip."""

import gzip
import struct
import subprocess
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from stat import S_IFCHR, S_IFDIR, S_IFLNK, S_IFREG

from recipes.settings import ASSETS, Settings
from runx import cpio
from runxtools.arches import Arch
from runxtools.errors import ToolError

# Programs of network scripts and of the kernel. A busybox given by `busybox=` must have them.
REQUIRED = tuple(
    "sh [ cat chmod chown cp dd dmesg echo env grep head hostname id ip kill ln ls mkdir mknod mount mv poweroff printf ps "
    "readlink reboot halt rm rmdir sed sleep sync sysctl test touch tr true false udhcpc umount uname".split()
)
# Scripts beside busybox: network scripts and busybox call them (guest-assets/network).
NETWORK = {
    **{name: f"bin/{name}" for name in ("await-interface", "collect-dns", "take-lease")},
    "udhcpc.script": "etc/udhcpc.script",
}
_SBIN = {"halt", "poweroff", "reboot"}

_DIRECTORIES = ("bin dev etc newroot proc run runx sbin shares shares/mounts sys tmp").split()


@dataclass(frozen=True)
class Entry:
    """One file of the archive. All files belong to root and have date 0."""

    name: str
    mode: int
    data: bytes = b""
    device: tuple[int, int] = (0, 0)


def tree(init: bytes, busybox: bytes, applets: Iterable[str]) -> list[Entry]:
    """The files of the base initrd."""
    entries = [Entry(name, S_IFDIR | 0o755) for name in _DIRECTORIES]
    # The kernel opens /dev/console for PID 1 before there is a devtmpfs.
    entries.append(Entry("dev/console", S_IFCHR | 0o600, device=(5, 1)))
    entries.append(Entry("dev/null", S_IFCHR | 0o666, device=(1, 3)))
    entries.append(Entry("init", S_IFREG | 0o755, init))
    entries.append(Entry("bin/add-neighbour", S_IFLNK | 0o777, b"/init"))
    entries += [Entry(path, S_IFREG | 0o755, (ASSETS / "network" / name).read_bytes()) for name, path in NETWORK.items()]
    entries.append(Entry("bin/busybox", S_IFREG | 0o755, busybox))
    for name in applets:
        entries.append(Entry(f"{'sbin' if name in _SBIN else 'bin'}/{name}", S_IFLNK | 0o777, b"/bin/busybox"))
    return entries


def archive(entries: Iterable[Entry]) -> bytes:
    """A newc archive (cpio(5)), sorted by name so that directories come before their files."""
    parts = []
    for number, entry in enumerate(sorted(entries, key=lambda entry: entry.name), 1):
        parts.append(cpio.header(number, entry.name, entry.mode, len(entry.data), device=entry.device))
        parts.append(entry.data + cpio.padding(len(entry.data)))
    return b"".join((*parts, cpio.header(0, cpio.TRAILER, 0, 0)))


def pack(entries: Iterable[Entry]) -> bytes:
    """The compressed archive, padded with zeros to 512 bytes: the kernel requires that an archive after it is aligned."""
    packed = gzip.compress(archive(entries), 9, mtime=0)
    return packed + bytes(-len(packed) % 512)


def check_static(path: Path, arch: Arch) -> None:
    """Raise ToolError unless the file is a static program for this architecture (elf(5))."""
    data = path.read_bytes()
    if data[:4] != b"\x7fELF" or len(data) < 64:
        raise ToolError(f"{path} is not a program")
    if data[5] != 1 or struct.unpack_from("<H", data, 18)[0] != arch.elf_machine:
        raise ToolError(f"{path} is not a program for {arch.name}")
    wide = data[4] == 2
    offset = struct.unpack_from("<Q", data, 32)[0] if wide else struct.unpack_from("<I", data, 28)[0]
    size, count = struct.unpack_from("<HH", data, 54 if wide else 42)
    for number in range(count):
        at = offset + number * size
        if at + 4 <= len(data) and struct.unpack_from("<I", data, at)[0] == 3:  # PT_INTERP
            raise ToolError(f"{path} is not static: the initrd has no dynamic linker")


def applets(busybox: Path, settings: Settings) -> list[str]:
    """Names of the programs in busybox; REQUIRED for a busybox that this machine cannot run."""
    if not settings.arch.native:
        return list(REQUIRED)
    result = subprocess.run([busybox, "--list"], capture_output=True, text=True, check=False)
    names = sorted(set(result.stdout.split()) - {"busybox"})
    missing = sorted(set(REQUIRED) - set(names))
    if result.returncode or missing:
        raise ToolError(f"{busybox} lacks {' '.join(missing)}", "network scripts in the guest need them")
    return names
