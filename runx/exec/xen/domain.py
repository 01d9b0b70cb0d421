"""Create and destroy a container's domain."""

import os
import select

from runx.errors import RunxError
from runx.exec import spawn
from runx.exec.xen import console_nodes, share_nodes, xl
from runx.exec.xen.xenstore import XenStore, XenStoreError
from runx.linux import netns
from runx.linux.signals import signal

TYPE_CHECKING = False  # as typing's, which fast commands do not load
if TYPE_CHECKING:
    from collections.abc import Sequence

    from runx.exec.plan_json import Domain


def find(store: XenStore, name: str) -> int | None:
    """Number of the domain with this name; None when there is none."""
    try:
        numbers = store.directory("/local/domain")
    except XenStoreError as error:
        if error.code != "E2BIG":
            raise
        return xl.domid(name)
    for number in sorted((int(n) for n in numbers if n.isdigit()), reverse=True):  # new domains have high numbers
        if store.read(f"/local/domain/{number}/name") == name:
            return number
    return None


def create(store: XenStore, directory: str, name: str, network: int, devices: "Sequence[str]", keep: "Sequence[int]") -> int:
    """Run `xl create` with directory/domain.cfg, in a mount namespace with the container's disks; the paused domain's number.

    network: a descriptor of the host's network namespace, where scripts attach the domain's interfaces. devices: the block device
    of each disk, "" for a disk that is a file. keep: descriptors that the domain's backends inherit.

    Raises RunxError with xl's own words. The caller then calls `remove`, since xl may leave half a domain.
    """
    xl_path = spawn.program("xl")
    argv = xl.create_argv(f"{directory}/domain.cfg")
    output = os.memfd_create("output", os.MFD_CLOEXEC)
    try:
        pid = os.fork()
        if pid == 0:
            for fd in keep:
                os.set_inheritable(fd, True)
            _become_xl(xl_path, argv, directory, output, network, devices)
        code, text = spawn.finish("xl create", pid, output, xl.CREATE_TIMEOUT_S, xl.LOGS)
    finally:
        os.close(output)
    if code == _NOT_STARTED:
        raise spawn.reported(text)
    if code:
        raise xl.failure("xl create", code, text)
    domid = find(store, name)
    if domid is None:
        raise RunxError(f"xl create succeeded, but no domain is named {name}", "see /var/log/xen/ and `xl list`")
    return domid


_NOT_STARTED = 113
"""Exit status of the child when it could not become xl. xl itself exits with small numbers."""


def _become_xl(path: str, argv: list[str], directory: str, output: int, network: int, devices: "Sequence[str]") -> None:
    """In the child: become xl in a new session and mount namespace and in the host's network namespace. Never returns."""
    try:
        # In the child alone, as their imports would cost the supervisor memory.
        from runx.exec import confinement
        from runx.exec.storage import disk_mounts
        from runx.linux import confine

        spawn.stand_alone(output)
        confine.die_at(confinement.OOM_SERVER)  # not what an engine has chosen for itself
        netns.enter(network)
        machine = disk_mounts.enter(directory, devices)["domain"]
        assert machine, "there is a domain to create"
        _bound_memory(machine)
        os.execve(path, argv, spawn.environment())
    except BaseException as error:
        spawn.report(output, "cannot start xl create", error)
    finally:
        os._exit(_NOT_STARTED)


_KERNEL_HEAP = 512 << 20
"""Bytes of memory of its own that xl may have to load a container's own kernel. It unpacks the kernel there, up to 1 GiB of it,
whatever the guest's memory is (Xen, XC_DOM_DECOMPRESS_MAX). A ramdisk is unpacked to the guest's memory, if at all."""


def _bound_memory(machine: "Domain") -> None:
    """In the child: limit xl's memory if it loads a kernel that the root filesystem has brought.

    Only memory of its own counts (RLIMIT_DATA): neither files nor the guest's memory, which xl maps.
    """
    if not machine["own_kernel"]:
        return
    import resource

    limit = _KERNEL_HEAP + (machine["memory_mib"] << 20) // 256  # xl keeps 8 bytes for each page of the guest
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))


def await_creation(directory: str, timeout_s: float) -> None:
    """Wait for a running `xl create` of a container whose supervisor was killed. After it no domain appears any more.

    At the time limit xl is killed. Not at once: half a domain may not have its name yet, by which it is found.
    """
    arguments = os.fsencode("".join(f"\0{word}" for word in xl.create_argv(f"{directory}/domain.cfg")[1:])) + b"\0"
    before_exec = b"runx.exec.supervisor", os.fsencode(f"\0{directory}\0")  # a child that is about to become xl
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            pidfd = os.pidfd_open(int(pid))
        except OSError:
            continue  # it has ended, or is a thread
        try:
            with open(f"/proc/{pid}/cmdline", "rb") as file:
                words = file.read()
            if words.endswith(arguments) or all(part in words for part in before_exec):
                poller = select.poll()
                poller.register(pidfd, select.POLLIN)
                if not poller.poll(int(timeout_s * 1000)):
                    signal.pidfd_send_signal(pidfd, signal.SIGKILL)
                    poller.poll(5000)
        except (FileNotFoundError, ProcessLookupError):
            pass  # it has ended
        finally:
            os.close(pidfd)


def remove(store: XenStore, name: str, domid: int, network: int = -1) -> None:
    """Destroy the domain if it exists, and remove the nodes of our backends.

    domid: -1 when it is not known. network: a descriptor of the host's network namespace; -1: this process is in it. Raises
    RunxError when xl fails.
    """
    # Another domain may have got the number, so the name decides.
    known_alive = domid >= 0 and store.read(f"/local/domain/{domid}/name") == name
    number = domid if known_alive else find(store, name)
    if number is not None:
        xl.destroy(str(number), network)
    for known in {domid, number}:
        if known is not None and known >= 0:
            console_nodes.withdraw(store, known)
            share_nodes.withdraw(store, known)
