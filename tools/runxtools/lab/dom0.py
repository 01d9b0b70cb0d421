"""Make the disk of the lab's dom0: Debian with Xen, by mmdebstrap from this machine's apt sources."""

import gzip
import shutil
from collections.abc import Iterable
from pathlib import Path

from runxtools import bootstrap, cache, ociimage
from runxtools.command import run
from runxtools.errors import ToolError
from runxtools.lab.kinds import Kind
from runxtools.packages import Package, require_root

ASSETS = Path(__file__).resolve().parents[2] / "lab-assets"

HOST_PACKAGES = (
    *bootstrap.HOST_PACKAGES,
    Package("e2fsprogs", "mke2fs", "puts it into a disk image"),
    Package("openssh-client", "ssh", "reaches dom0"),
)

_PACKAGES = (
    "qemu-system-xen",  # serves qcow2 and vhd disks
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
    "warm-up": ("usr/libexec/runx-lab/warm-up", 0o755),
    "sshd_config": ("etc/ssh/sshd_config", 0o644),
    "containerd.toml": ("etc/containerd/config.toml", 0o644),
}
_INIT = {"dom0-init": ("sbin/lab-init", 0o755)}
_SET_UP_SYSTEMD = "usr/libexec/runx-lab/set-up-systemd"
_SYSTEMD = {
    "set-up-systemd": (_SET_UP_SYSTEMD, 0o755),
    "lab.network": ("etc/systemd/network/lab.network", 0o644),
    "lab-ready.service": ("etc/systemd/system/lab-ready.service", 0o644),
}


def _furniture(kind: Kind) -> dict[str, tuple[str, int]]:
    return _FURNITURE | (_SYSTEMD if kind.systemd else _INIT)


def key(kind: Kind) -> str:
    """Key of the image: changes with all its ingredients."""
    ingredients: dict[str, str | bytes] = {
        "packages": " ".join((kind.name, *kind.packages, *_PACKAGES)),
        "left out": " ".join(_LEFT_OUT),
        "mke2fs": run(["mke2fs", "-V"]),
        "test image": ociimage.image(b"busybox", ["sh"]),
        **bootstrap.ingredients(kind.suite),
    }
    for path in [Path(__file__), *(ASSETS / name for name in _furniture(kind))]:
        ingredients[path.name] = path.read_bytes()
    return cache.key_of(ingredients)


def build(kind: Kind, directory: Path) -> None:
    """Fill a directory: disk.raw, xen, vmlinuz, initrd, ssh_key, known_hosts. About a minute.

    Raises ToolError, with the end of the failing program's output.
    """
    require_root("making the dom0 image needs device nodes and owners in files")
    root = directory / "root"
    bootstrap.make(kind.suite, (*kind.packages, *_PACKAGES), root, _LEFT_OUT, _initrd_options())
    _furnish(kind, root, directory)
    (directory / "xen").write_bytes(gzip.decompress(_only(root.glob("boot/xen-4*.gz")).read_bytes()))
    shutil.copy(_only(root.glob("boot/vmlinuz-*")), directory / "vmlinuz")
    shutil.move(_only(root.glob("boot/initrd.img-*")), directory / "initrd")
    disk = directory / "disk.raw"
    run(["truncate", "-s", _DISK_SIZE, disk])
    # Without checksums and lazy initialisation, which slow down an emulated disk.
    run([
        "mke2fs", "-q", "-t", "ext4", "-O", "^metadata_csum", "-E", "lazy_itable_init=1,lazy_journal_init=1",
        "-m", "0", "-d", root, disk,
    ])  # fmt: skip
    shutil.rmtree(root)


def _initrd_options() -> list[str]:
    """Options of mmdebstrap for an initrd with a few modules, which is made, loaded and unpacked in a fraction of the time."""
    modules = "virtio_pci\\nvirtio_blk\\next4\\n"
    return [
        '--setup-hook=mkdir -p "$1/etc/initramfs-tools/conf.d" "$1/usr/share/initramfs-tools/modules.d"',
        '--setup-hook=printf "MODULES=list\\nCOMPRESS=lz4\\n" >"$1/etc/initramfs-tools/conf.d/lab"',
        f'--setup-hook=printf "{modules}" >"$1/usr/share/initramfs-tools/modules.d/lab"',
    ]


def _furnish(kind: Kind, root: Path, directory: Path) -> None:
    (root / "etc/resolv.conf").write_text("")
    (root / "etc/hostname").write_text("dom0\n")
    (root / "etc/hosts").write_text("127.0.0.1 localhost dom0\n")
    for asset, (place, mode) in _furniture(kind).items():
        target = root / place
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ASSETS / asset, target)
        target.chmod(mode)
    if kind.systemd:
        run(["chroot", root, f"/{_SET_UP_SYSTEMD}"])
    # sshd runs commands in the login shell, and dash starts twice as fast as bash.
    passwd = root / "etc/passwd"
    passwd.write_text(passwd.read_text().replace("root:/root:/bin/bash", "root:/root:/bin/sh"))
    run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "runx-lab", "-f", directory / "ssh_key"])
    ssh = root / "root/.ssh"
    ssh.mkdir(mode=0o700, exist_ok=True)
    shutil.copy(directory / "ssh_key.pub", ssh / "authorized_keys")
    host_key = (root / "etc/ssh/ssh_host_ed25519_key.pub").read_text()
    (directory / "known_hosts").write_text(f"runx-lab {host_key}")
    state = root / "var/lib/runx-lab"
    state.mkdir(parents=True)
    ociimage.write(state / "test-image.tar", root / "bin/busybox")


def _only(paths: Iterable[Path]) -> Path:
    found = sorted(paths)
    if len(found) != 1:
        raise ToolError(f"the dom0 image should have one file, not {len(found)}: {', '.join(map(str, found))}")
    return found[0]
