"""Which files of the host a guest may have in its shares. The server of shares knows no users: in a share, the root of the guest
is the root of the host."""

from typing import Literal

from runx.compiler.diagnostics import Report, path_text
from runx.compiler.host.config import HostConfig
from runx.compiler.model.plan import Capabilities, Process
from runx.compiler.model.request import Container, MountRequest
from runx.compiler.passes.mount_carrier import Unshared, is_named
from runx.paths import HOST_CONFIG

KEY = "policy.own_boot_writable_binds"


def withheld(process: Process) -> tuple[Literal["devices", "set-id", "capabilities"], ...]:
    """What a process must not leave on the host, by its user and capabilities, whoever is root in the guest.

    A program with set-id bits, or with capabilities of its own, raises the process's rights up to the bounding set, unless
    no_new_privileges is set. Then a user other than root has the ambient capabilities when the program has been executed
    (capabilities(7)). A process that is never root leaves set-id bits on files of its own user alone, which help nobody.
    """
    given = process.capabilities or Capabilities()
    may_rise = process.uid == 0 or not process.no_new_privileges
    rights = given.bounding if may_rise else given.ambient
    found: list[Literal["devices", "set-id", "capabilities"]] = []
    if "CAP_MKNOD" not in rights:
        found.append("devices")
    if not may_rise and "CAP_SETUID" not in rights:
        found.append("set-id")
    if "CAP_SETFCAP" not in rights:
        found.append("capabilities")
    return tuple(found)


_KUBELETS = ("/dev/termination-log /var/lib/kubelet/pods/*",)
"""A rule, as in mounts.by_value, for files that a kubelet makes for each container and reads when it has ended."""


def with_engines_files_guarded(container: Container, host: HostConfig, report: Report) -> Container:
    """The container with engines' own files read-only (hosts, resolv.conf, …), if its root filesystem brings a kernel or ramdisk.

    With runx's ramdisk, those of mounts.by_value and mounts.in_memory need no share.
    """
    own = [file for file in (container.kernel, container.ramdisk) if file and file.in_root]
    if not own or host.own_boot_writable_binds:
        return container
    rules = (*_KUBELETS, *host.by_value, *host.in_memory) if container.ramdisk else _KUBELETS
    mounts = list(container.mounts)
    for index, mount in enumerate(mounts):
        if mount.type == "bind" and _is_writable(mount) and is_named(mount, rules):
            report.ignore("RX318", mount.path, "served read-only, as a kernel or ramdisk comes with the root filesystem")
            flags = (*(flag for flag in mount.options.flags if flag != "rw"), "ro")
            mounts[index] = mount._replace(options=mount.options._replace(flags=flags))
    return container._replace(mounts=tuple(mounts))


def check_shares(container: Container, host: HostConfig, unshared: Unshared, report: Report) -> None:
    """Report bind mounts that a guest must not have."""
    indices = {*unshared.files, *unshared.memory_kib}
    shared = [mount for index, mount in enumerate(container.mounts) if mount.type == "bind" and index not in indices]
    _check_mapped_ids(container, shared, report)
    _check_own_boot_files(container, host, [mount for mount in shared if _is_writable(mount)], report)


def _is_writable(mount: MountRequest) -> bool:
    return "ro" not in mount.options.flags


def _check_mapped_ids(container: Container, shared: list[MountRequest], report: Report) -> None:
    linux = container.document.get("linux", {})
    namespaces = [entry for entry in linux.get("namespaces", ()) if entry.get("type") == "user"]
    # Without a namespace, mappings have no effect, as in runc.
    mappings = [*linux.get("uidMappings", ()), *linux.get("gidMappings", ())] if namespaces else []
    # A namespace by its path is the pod's; its mappings are unknown unless they are given.
    is_joined = any(entry.get("path") for entry in namespaces)
    if all(entry.get("containerID") == entry.get("hostID") for entry in mappings) and (mappings or not is_joined):
        return
    for mount in shared:
        message = f"{mount.destination} would have the host's ids: a virtual machine maps none in a bind mount"
        hint = "leave the user namespace out (linux.uidMappings), or the mount"
        report.error("RX319", mount.path, message, hint)


def _check_own_boot_files(container: Container, host: HostConfig, writable: list[MountRequest], report: Report) -> None:
    """The code of a kernel or ramdisk is the guest's root, whatever process.user, capabilities and seccomp say."""
    if host.own_boot_writable_binds or not writable:
        return
    for kind, file in (("kernel", container.kernel), ("ramdisk", container.ramdisk)):
        if file and file.in_root:
            where = host.where(KEY)
            named = ", ".join(f"{path_text(mount.path)} ({mount.destination})" for mount in writable[:3])
            more = f" and {len(writable) - 3} more" if len(writable) > 3 else ""
            message = f"a {kind} from the root filesystem is not allowed writable bind mounts by {KEY} ({where}): {named}{more}"
            hint = f"mount them read-only (ro), or allow it in {HOST_CONFIG}: such a guest is root, whatever process.user says"
            report.error("RX706", file.origin, message, hint)
