"""Where a server of shares lives: in namespaces of its own, whose root directory holds the exports and nothing else."""

import errno
import os
import resource

from runx.errors import RunxError
from runx.exec.ninep import syscalls
from runx.exec.ninep.export_names import CHANGES, LAYERS, SLOTS, changes_of, root_of, slot
from runx.linux import confine, kernel_files, mount, overlay

TYPE_CHECKING = False  # as typing's, which costs the server memory
if TYPE_CHECKING:
    from runx.exec.ninep.exports import Bind, Export

_CAPABILITIES = frozenset(
    (
        confine.CAP_CHOWN,
        confine.CAP_DAC_OVERRIDE,
        confine.CAP_DAC_READ_SEARCH,
        confine.CAP_FOWNER,
        confine.CAP_FSETID,
        confine.CAP_MKNOD,
        confine.CAP_SETFCAP,
    )
)
"""What the root of the guest does with files. Without CAP_SYS_RESOURCE, quotas and reserved blocks hold."""
_NAMESPACES = mount.CLONE_NEWNS | mount.CLONE_NEWNET | mount.CLONE_NEWIPC | mount.CLONE_NEWUTS | mount.CLONE_NEWCGROUP


def keep_descriptors(kept: "list[int]") -> list[int]:
    """Close all descriptors but these, which get the lowest numbers; these numbers. The standard streams are /dev/null then."""
    null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    moved = [os.dup(fd) for fd in kept]  # so that none is among the numbers below
    for number in range(3):
        os.dup2(null, number, inheritable=False)
    high = [_above(fd, 2 + len(kept)) for fd in moved]
    for number, fd in enumerate(high, 3):
        os.dup2(fd, number, inheritable=False)
    os.closerange(3 + len(kept), 1 << 20)
    return list(range(3, 3 + len(kept)))


def _above(fd: int, limit: int) -> int:
    while fd <= limit:
        fd = os.dup(fd)
    return fd


def enter(place: str, exports: "list[Export]", descriptors: int) -> None:
    """Move this process into new namespaces with the exports, `/TAG` each. The working directory is /proc/self/fd then.

    place: an empty directory of the host, on which the new root is mounted. descriptors: how many it may open. Raises RunxError,
    which names the export that failed.
    """
    try:
        mount.unshare(_NAMESPACES)
        # What is mounted here does not go out; what the host unmounts before this tree is complete, is unmounted here, too.
        mount.mount("none", "/", mount.MS_REC | mount.MS_SLAVE)
        flags = mount.MS_NOSUID | mount.MS_NODEV | mount.MS_NOEXEC
        mount.mount("exports", place, flags, "tmpfs", "mode=755,size=1m,nr_inodes=4k")
    except OSError as error:
        raise RunxError(f"cannot make namespaces for the server of shares: {error.strerror}", "runx must run as root") from None
    for export in exports:
        os.mkdir(f"{place}/{export.tag}", 0o755)  # in the guest, processes of any user pass through it
        if export.is_layer:
            os.mknod(f"{place}/{export.tag}/{CHANGES}", 0o600)
        for bind in export.binds:
            if bind.has_slots:
                _make_slots(f"{place}/{bind.place}")
    assemble(place, [bind for export in exports for bind in export.binds if not bind.has_slots])
    for export in exports:
        for bind in export.binds:
            if bind.read_only:
                _make_read_only(bind.origin, f"{place}/{bind.place}")
    try:
        _become_root(place)
        if any(bind.has_slots for export in exports for bind in export.binds):
            # Nothing has a copy of this tree but the double, whose guest sees so what comes later.
            mount.mount("none", "/", mount.MS_SHARED)
        _allow_descriptors(descriptors)
    except OSError as error:
        raise RunxError(f"cannot make a root directory for the server of shares: {error.strerror}") from None


def assemble(place: str, binds: "list[Bind]") -> None:
    """Mount entries below `place`, in a mount namespace of this process. Raises RunxError, which names the one that failed."""
    for bind in binds:
        if bind.overlay:
            _overlay(bind.origin, bind.overlay, f"{place}/{bind.place}")
        else:
            _bind(bind.origin, bind.source, f"{place}/{bind.place}", is_file=bind.is_file, recursive=bind.recursive)
    # As with runc, what the host mounts or unmounts later does not change a container.
    mount.mount("none", place, mount.MS_REC | mount.MS_PRIVATE)
    for bind in binds:
        _leave_out_kernel_files(bind.origin, bind.source, os.path.realpath(f"{place}/{bind.place}"))


def _make_slots(place: str) -> None:
    """Make the places of entries that come later: then this tree cannot be written to."""
    for number in range(SLOTS):
        os.mkdir(f"{place}/{slot(number, is_file=False)}", 0o755)
        name = f"{place}/{slot(number, is_file=True)}"
        os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644))
    for session in range(1, LAYERS + 1):
        os.mkdir(f"{place}/{root_of(session)}", 0o700)
        os.mknod(f"{place}/{changes_of(session)}", 0o600)


def _allow_descriptors(wanted: int) -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, wanted))
    except ValueError:  # without CAP_SYS_RESOURCE, or above fs.nr_open: then the guest gets EMFILE earlier
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def _become_root(place: str) -> None:
    """Make the tree at `place` the root directory, and let go of the old one."""
    os.mkdir(f"{place}/fd", 0o700)
    # The directory of descriptors alone: nothing else of /proc can be reached from it, as it is the root of its mount.
    mount.mount("/proc/self/fd", f"{place}/fd", mount.MS_BIND)
    os.chdir(place)
    mount.pivot_root(".", ".")
    mount.unmount(".")
    os.chdir("/fd")
    mount.unmount("/fd")
    os.rmdir("/fd")
    flags = mount.MS_NOSUID | mount.MS_NODEV | mount.MS_NOEXEC
    mount.mount("none", "/", mount.MS_BIND | mount.MS_REMOUNT | mount.MS_RDONLY | flags)


def lock() -> None:
    """Give up all rights that serving does not need, for ever. Raises RunxError."""
    try:
        confine.not_traceable()
        confine.keep_capabilities(_CAPABILITIES)
        confine.no_new_privileges()
        syscalls.forbid_others()
    except OSError as error:
        raise RunxError(f"cannot confine the server of shares: {error.filename}: {error.strerror}") from None


def _bind(origin: str, source: str, target: str, *, is_file: bool, recursive: bool) -> None:
    try:
        if is_file:
            os.close(os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644))
        elif not os.path.isdir(target):
            os.mkdir(target, 0o755)
        mount.mount(source, target, mount.MS_BIND | (mount.MS_REC if recursive else 0))
    except OSError as error:
        raise RunxError(f"{origin}: cannot bind {source}: {error.strerror}") from None


_PAGE = 4096
"""Bytes of options that mount(2) takes, with the NUL at their end (Linux, fs/namespace.c, copy_mount_options)."""
_SHOWN = 200
"""Characters of options in a message."""


def _overlay(origin: str, options: str, target: str) -> None:
    """Mount an overlay (Linux, filesystems/overlayfs.rst). Its directories are given by descriptors, so that no character of a
    path means anything to the kernel, and none is exchanged meanwhile. Raises RunxError."""
    held: list[int] = []
    words = []
    shown = options if len(options) <= _SHOWN else f"{options[: _SHOWN - 3]}..."
    try:
        for option in overlay.split_options(options):
            word, _, value = option.partition("=")
            if word in overlay.DIRECTORIES:
                opened = [os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC) for path in overlay.paths(word, value)]
                held += opened
                option = f"{word}={':'.join(f'/proc/self/fd/{fd}' for fd in opened)}"
            words.append(option)
        os.mkdir(target, 0o755)
        data = ",".join(words)
        if len(data.encode()) >= _PAGE:  # Linux would leave the rest away without a word
            raise RunxError(f"{origin}: cannot mount the overlay {shown}: its options are too long for mount(2)")
        mount.mount("overlay", target, 0, "overlay", data)
    except OSError as error:
        why = "; the kernel's log of the host says why" if error.errno in (errno.EINVAL, errno.ELOOP) else ""
        raise RunxError(f"{origin}: cannot mount the overlay {shown}: {error.strerror}{why}") from None
    finally:
        for fd in held:
            os.close(fd)


def _leave_out_kernel_files(origin: str, source: str, place: str) -> None:
    """Unmount proc, sysfs and the like of the host below a bind: there its root steers the host. Raises RunxError.

    The compiler refuses a bind of such a file itself, and tells which are left out. Here it is what is mounted now that counts.
    """
    try:
        for mounted in reversed(kernel_files.Mounts().kernels):
            if mounted.point == place:
                raise RunxError(f"{origin}: {source} is on a {mounted.type} of the host's kernel, which no virtual machine gets")
            if mounted.point.startswith(place + "/"):
                mount.unmount(mounted.point)
    except OSError as error:
        raise RunxError(f"{origin}: cannot leave out the host's own file systems below {source}: {error.strerror}") from None


def _make_read_only(origin: str, place: str) -> None:
    """Make a mount and all mounts below it read-only here: a hostile guest may ignore the flag in the guest. Raises RunxError."""
    try:
        mount.make_read_only(place)
    except OSError as error:
        raise RunxError(f"{origin}: cannot make it read-only: {error.strerror}") from None
