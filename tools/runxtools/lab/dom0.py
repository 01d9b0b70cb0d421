"""Make the disk of the lab's dom0: Debian 12 with Xen, by mmdebstrap from this machine's apt sources."""

import gzip
import hashlib
import os
import shutil
from collections.abc import Iterable
from pathlib import Path

from runxtools import cache, ociimage
from runxtools.command import run
from runxtools.errors import ToolError
from runxtools.packages import Package, require_root

ASSETS = Path(__file__).resolve().parents[2] / "lab-assets"

HOST_PACKAGES = (
    Package("mmdebstrap", "mmdebstrap", "makes the Debian root of dom0"),
    Package("e2fsprogs", "mke2fs", "puts it into a disk image"),
    Package("openssh-client", "ssh", "reaches dom0"),
)

SUITE = "bookworm"
PACKAGES = (
    "xen-hypervisor-4.17-amd64", "xen-utils-4.17",
    "qemu-system-xen",  # the 9p backend of guests
    "linux-image-amd64", "kmod", "udev", "lz4",  # dom0's kernel and what makes its initrd
    "containerd", "runc", "podman", "crun", "conmon",  # engines, and runc to compare runx with
    "containernetworking-plugins", "netavark", "aardvark-dns", "iptables",  # the networks of engines
    "openssh-server", "iproute2", "iputils-ping", "dnsmasq-base", "procps", "strace",
    "erofs-utils", "e2fsprogs",  # to make disks of root filesystems
    "python3", "busybox-static",
)  # fmt: skip
# Half of the kernel's modules are for hardware that QEMU does not emulate.
_LEFT_OUT = (
    "/usr/share/doc/*", "/usr/share/info/*", "/usr/share/locale/*", "/usr/share/man/*",
    *(f"/lib/modules/*/kernel/{part}/*" for part in (
        "drivers/gpu", "drivers/iio", "drivers/infiniband", "drivers/media", "drivers/net/ethernet",
        "drivers/net/wireless", "drivers/scsi", "drivers/staging", "drivers/usb", "sound",
    )),
)  # fmt: skip
_DISK_SIZE = "6G"  # sparse
_FURNITURE = {  # asset: its place in dom0 and its mode
    "dom0-init": ("sbin/lab-init", 0o755),
    "warm-up": ("usr/libexec/runx-lab/warm-up", 0o755),
    "sshd_config": ("etc/ssh/sshd_config", 0o644),
    "containerd.toml": ("etc/containerd/config.toml", 0o644),
}


def key() -> str:
    """Key of the image: changes with all its ingredients."""
    ingredients: dict[str, str | bytes] = {
        "packages": " ".join((SUITE, *PACKAGES)),
        "left out": " ".join(_LEFT_OUT),
        "mmdebstrap": run(["mmdebstrap", "--version"]),
        "mke2fs": run(["mke2fs", "-V"]),
        "test image": ociimage.image(b"busybox", ["sh"]),
    }
    for path in [Path(__file__), *(ASSETS / name for name in _FURNITURE)]:
        ingredients[path.name] = path.read_bytes()
    for path in _apt_sources():
        # apt sources may hold passwords, so only their hash is used.
        ingredients[str(path)] = hashlib.sha256(path.read_bytes()).digest()
    return cache.key_of(ingredients)


def build(directory: Path) -> None:
    """Fill a directory: disk.raw, xen, vmlinuz, initrd, ssh_key, known_hosts. About a minute.

    Raises ToolError, with the end of the failing program's output.
    """
    require_root("making the dom0 image needs device nodes and owners in files")
    tree = directory / "root"
    archive = directory / "root.tar"
    tree.mkdir()
    run(["mmdebstrap", *_mmdebstrap_options(), SUITE, archive, *_apt_sources()])
    run(["tar", "-x", "-C", tree, "-f", archive])
    archive.unlink()
    _furnish(tree, directory)
    (directory / "xen").write_bytes(gzip.decompress(_only(tree.glob("boot/xen-4*.gz")).read_bytes()))
    shutil.copy(_only(tree.glob("boot/vmlinuz-*")), directory / "vmlinuz")
    shutil.move(_only(tree.glob("boot/initrd.img-*")), directory / "initrd")
    disk = directory / "disk.raw"
    run(["truncate", "-s", _DISK_SIZE, disk])
    # Without checksums and lazy initialisation, which slow down an emulated disk.
    run([
        "mke2fs", "-q", "-t", "ext4", "-O", "^metadata_csum", "-E", "lazy_itable_init=1,lazy_journal_init=1",
        "-m", "0", "-d", tree, disk,
    ])  # fmt: skip
    shutil.rmtree(tree)


def _mmdebstrap_options() -> list[str]:
    modules = "virtio_pci\\nvirtio_blk\\next4\\n"
    return [
        "--variant=minbase", "--mode=root", "--format=tar",
        f"--include={','.join(PACKAGES)}",
        *(f"--dpkgopt=path-exclude={pattern}" for pattern in _LEFT_OUT),
        *(f"--aptopt={setting}" for setting in _apt_settings()),
        # An initrd with a few modules is made, loaded and unpacked in a fraction of the time.
        '--setup-hook=mkdir -p "$1/etc/initramfs-tools/conf.d" "$1/usr/share/initramfs-tools/modules.d"',
        '--setup-hook=printf "MODULES=list\\nCOMPRESS=lz4\\n" >"$1/etc/initramfs-tools/conf.d/lab"',
        f'--setup-hook=printf "{modules}" >"$1/usr/share/initramfs-tools/modules.d/lab"',
    ]  # fmt: skip


def _apt_sources() -> list[Path]:
    """The files of apt sources that apt reads on this machine (sources.list(5)). Raises ToolError for none."""
    candidates = [Path("/etc/apt/sources.list"), *sorted(Path("/etc/apt/sources.list.d").glob("*"))]
    found = [
        path for path in candidates if path.suffix in (".list", ".sources") and path.is_file() and b"deb" in path.read_bytes()
    ]
    if not found:
        raise ToolError("/etc/apt has no package sources", "dom0 is made of Debian packages")
    return found


def _apt_settings() -> list[str]:
    """This machine's apt settings (proxies, passwords, checks) for mmdebstrap, which starts from apt's defaults."""
    lines = run(["apt-config", "dump"]).splitlines()
    fetching = [line for line in lines if line.startswith("Acquire::") and not line.startswith("Acquire::IndexTargets")]
    netrc = [
        f'Dir::Etc::{name} "{path}";'
        for name, path in (("netrc", "/etc/apt/auth.conf"), ("netrcparts", "/etc/apt/auth.conf.d"))
        if os.path.exists(path)
    ]
    return fetching + netrc


def _furnish(tree: Path, directory: Path) -> None:
    # dom0 has no use for this machine's sources and settings.
    for path in [*tree.glob("etc/apt/sources.list*/*"), *tree.glob("etc/apt/apt.conf.d/*mmdebstrap*")]:
        path.unlink()
    for name in ("etc/apt/sources.list", "etc/apt/auth.conf", "etc/resolv.conf"):
        (tree / name).unlink(missing_ok=True)
    (tree / "etc/resolv.conf").write_text("")
    (tree / "etc/hostname").write_text("dom0\n")
    (tree / "etc/hosts").write_text("127.0.0.1 localhost dom0\n")
    for asset, (place, mode) in _FURNITURE.items():
        target = tree / place
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ASSETS / asset, target)
        target.chmod(mode)
    # sshd runs commands in the login shell, and dash starts twice as fast as bash.
    passwd = tree / "etc/passwd"
    passwd.write_text(passwd.read_text().replace("root:/root:/bin/bash", "root:/root:/bin/sh"))
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "runx-lab", "-f", directory / "ssh_key"])
    ssh = tree / "root/.ssh"
    ssh.mkdir(mode=0o700)
    shutil.copy(directory / "ssh_key.pub", ssh / "authorized_keys")
    host_key = (tree / "etc/ssh/ssh_host_ed25519_key.pub").read_text()
    (directory / "known_hosts").write_text(f"runx-lab {host_key}")
    state = tree / "var/lib/runx-lab"
    state.mkdir(parents=True)
    ociimage.write(state / "test-image.tar", tree / "bin/busybox")


def _only(paths: Iterable[Path]) -> Path:
    found = sorted(paths)
    if len(found) != 1:
        raise ToolError(f"the dom0 image should have one file, not {len(found)}: {', '.join(map(str, found))}")
    return found[0]
