"""A root directory for a process of dom0 that works for one container: programs of the host, and the files that it is given.

All have the paths that they have on the host. Nothing else of the host is there, and no mount of another container: such a mount
would last as long as the process.
"""

import os
import sys

from runx import paths
from runx.errors import RunxError, reason
from runx.linux import mount

TYPE_CHECKING = False  # as typing's, which costs the supervisor memory
if TYPE_CHECKING:
    from collections.abc import Iterable

_PROGRAMS = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
"""Directories, or links to others (hier(7), file-hierarchy(7))."""
_LINKS = ("/var/lock", "/var/run")
"""Links on nearly every host, by which programs find what is in /run."""
_SETTINGS = ("/etc/alternatives", "/etc/ld.so.cache", "/etc/ld.so.preload", "/etc/localtime")
"""What each program may need: ld.so(8), update-alternatives(1)."""
_NODES = ("/dev/full", "/dev/null", "/dev/random", "/dev/tty", "/dev/urandom", "/dev/zero")
_STREAMS = (("fd", "fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2"))
_ALONE = ("/sys",)
"""What is mounted below it are other windows into the kernel."""
_FLAGS = mount.MS_NOSUID | mount.MS_NODEV | mount.MS_NOEXEC
_GUARDED = ("acpi", "bus", "fs", "irq", "scsi", "sys", "sysrq-trigger")
"""Files of /proc that steer the host, and are only read."""

PLACE = "view"
"""A directory of a container's directory, on which such a root is mounted."""
SETTINGS_OF_XL = ("/etc/iproute2", "/etc/nsswitch.conf", "/etc/protocols", "/etc/services", "/etc/xen", "/sys")
FILES_OF_XL = ("/dev/pts", "/dev/xen", "/run/xen", "/run/xen-hotplug", "/run/xenstored", "/var/lib/xen", "/var/log/xen")
"""What xl, ip and tc read and write for a domain that exists (xl(1), FILES)."""


def xenstore() -> "list[str]":
    """Directories of xenstored that the environment names (xenstore(1))."""
    socket = os.environ.get("XENSTORED_PATH", "")
    found = (os.path.dirname(socket), os.environ.get("XENSTORED_RUNDIR", ""), os.environ.get("XEN_RUN_DIR", ""))
    return [path for path in found if path.startswith("/")]


def own_files() -> "list[str]":
    """Where this program and the guest's files are."""
    return [path for path in (*sys.path, paths.assets_dir()) if path.startswith("/")]


def enter(place: str, *, read: "Iterable[str]", write: "Iterable[str]", has_proc: bool = True, has_tmp: bool = True) -> None:
    """Move this process into a mount namespace with such a root directory. Its working directory is `/` then.

    place: an empty directory of the host, on which the root is mounted; it is made when missing. read, write: files and
    directories; those that do not exist are left out, and what is mounted below a directory to write to is not there. has_proc:
    whether /proc is there. has_tmp: whether there is an empty /tmp to write to. Raises RunxError.
    """
    umask = os.umask(0o022)  # whatever the engine has: what this makes is root's alone
    try:
        os.makedirs(place, 0o700, exist_ok=True)
        mount.unshare(mount.CLONE_NEWNS)
        # Nothing goes out. What the host unmounts is unmounted here, too.
        mount.mount("none", "/", mount.MS_REC | mount.MS_SLAVE)
        mount.mount("view", place, _FLAGS, "tmpfs", "mode=755,size=1m,nr_inodes=4k")
        if has_tmp:
            os.mkdir(f"{place}/tmp", 0o700)
            mount.mount("tmp", f"{place}/tmp", _FLAGS, "tmpfs", "mode=1777,size=1m,nr_inodes=1k")
        programs = (os.environ.get("PATH") or paths.PROGRAMS).split(":")
        for path in (*_PROGRAMS, *_SETTINGS, *programs, *sorted(read)):
            _show(place, path, is_read_only=True)
        for path in (*_NODES, *sorted(write)):
            _show(place, path)
        for path in filter(os.path.islink, _LINKS):
            _without_links(place, path)
        for name, target in _STREAMS:
            os.symlink(f"/proc/self/{target}", f"{place}/dev/{name}")
        if has_proc:
            _make_proc(place)
        mount.mount("none", place, mount.MS_BIND | mount.MS_REMOUNT | mount.MS_RDONLY | _FLAGS)
        os.chdir(place)
        mount.pivot_root(".", ".")
        mount.unmount(".")
        os.chdir("/")
    except OSError as error:
        what = f"{error.filename}: " if error.filename else ""
        hint = "runx must run as root" if isinstance(error, PermissionError) else ""
        raise RunxError(f"cannot make a root directory of its own: {what}{reason(error)}", hint) from None
    finally:
        os.umask(umask)


def _make_proc(place: str) -> None:
    """Mount /proc, which shows processes that this one may trace (proc(5), hidepid). What steers the host can only be read."""
    os.mkdir(f"{place}/proc", 0o555)
    mount.mount("proc", f"{place}/proc", _FLAGS, "proc", "hidepid=ptraceable")
    for name in _GUARDED:
        path = f"{place}/proc/{name}"
        if os.path.lexists(path):
            mount.mount(path, path, mount.MS_BIND)
            mount.mount("none", path, mount.MS_BIND | mount.MS_REMOUNT | mount.MS_RDONLY | _FLAGS)


def _show(place: str, path: str, *, is_read_only: bool = False) -> None:
    """Have a path of the host below `place`. One that is only read has what is mounted below it, too."""
    if not path.startswith("/") or not os.path.exists(path):
        return
    path = _without_links(place, path)
    target = place + path
    if path == "/" or (is_read_only and _is_there(path, target)):
        return
    if os.path.isdir(path):
        os.makedirs(target, exist_ok=True)
    elif not os.path.lexists(target):
        os.makedirs(os.path.dirname(target), exist_ok=True)
        os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    recursive = is_read_only and path not in _ALONE
    mount.mount(path, target, mount.MS_BIND | (mount.MS_REC if recursive else 0))
    if is_read_only:
        mount.make_read_only(target)


def _without_links(place: str, path: str) -> str:
    """The path of the same file without symbolic links. Those that lead there are made below `place`: never is one followed
    there, as it would lead out."""
    found = ""
    for name in path.split("/")[1:]:
        at = f"{found}/{name}"
        if os.path.islink(at):
            if not os.path.lexists(place + at):
                os.makedirs(place + found, exist_ok=True)
                os.symlink(os.readlink(at), place + at)
            at = _without_links(place, os.path.normpath(os.path.join(found or "/", os.readlink(at))))
        found = at if at != "/" else ""
    return found or "/"


def _is_there(path: str, target: str) -> bool:
    """Whether a directory that is shown already has the same file."""
    try:
        return os.path.samestat(os.stat(path), os.stat(target))
    except OSError:
        return False
