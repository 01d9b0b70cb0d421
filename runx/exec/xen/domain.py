"""A container's domain, from nothing to nothing: created in a mount namespace with its shares, destroyed without a trace."""

import os
import select

from runx.errors import RunxError
from runx.exec import spawn
from runx.exec.xen import console_nodes, xl
from runx.exec.xen.xenstore import XenStore, XenStoreError
from runx.linux import netns
from runx.linux.signals import signal

TYPE_CHECKING = False  # as typing's, which the fast verbs do not load
if TYPE_CHECKING:
    from collections.abc import Sequence


def find(store: XenStore, name: str) -> int | None:
    """The number of the domain with this name, None when there is none."""
    try:
        numbers = store.directory("/local/domain")
    except XenStoreError as error:
        if error.code != "E2BIG":
            raise
        return xl.domid(name)
    for number in sorted((int(n) for n in numbers if n.isdigit()), reverse=True):  # it is among the newest
        if store.read(f"/local/domain/{number}/name") == name:
            return number
    return None


def create(store: XenStore, directory: str, name: str, network: int, devices: "Sequence[str]", keep: "Sequence[int]") -> int:
    """`xl create` of directory/domain.cfg, paused; the domain's number.

    network: a descriptor of the host's network namespace, where scripts attach the domain's interfaces. devices: of
    its disks, "" for one that is a file. keep: descriptors that the domain's backends are to hold open.

    Raises RunxError with xl's own words. What a failed or hanging xl leaves is removed
    by the caller (`remove`).
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
        code, text = spawn.finish("xl create", pid, output, xl.CREATE_TIMEOUT_S)
    finally:
        os.close(output)
    if code == _SHARES_FAILED:
        raise spawn.reported(text)
    if code:
        raise xl.failure("xl create", code, text)
    domid = find(store, name)
    if domid is None:
        raise RunxError(f"xl create succeeded, but no domain is named {name}", "see /var/log/xen/ and `xl list`")
    return domid


_SHARES_FAILED = 113
"""Exit status of our child when it could not become xl; xl itself exits with small numbers."""


def _become_xl(path: str, argv: list[str], directory: str, output: int, network: int, devices: "Sequence[str]") -> None:
    """In the child: its own session and mount namespace, the host's network, then xl. Never returns."""
    try:
        from runx.exec.storage import shares  # here, not above: what it imports is gone when the child becomes xl

        spawn.stand_alone(output)
        netns.enter(network)
        shares.enter(directory, devices)
        os.execve(path, argv, spawn.environment())
    except BaseException as error:
        spawn.report(output, "cannot start xl create", error)
    finally:
        os._exit(_SHARES_FAILED)


def await_creation(directory: str, timeout_s: float) -> None:
    """Wait for the `xl create` of a container whose supervisor was killed, if it is still at work: no domain comes after that.

    It is not interrupted at once: half a domain may have no name yet by which it could be found. At the time limit it is killed.
    """
    arguments = "".join(f"\0{word}" for word in xl.create_argv(f"{directory}/domain.cfg")[1:]).encode() + b"\0"
    before_exec = b"runx.exec.supervisor", f"\0{directory}\0".encode()  # our child that has yet to become xl
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            pidfd = os.pidfd_open(int(pid))
        except OSError:
            continue  # it has ended, or is a thread of another
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
    """Destroy the domain if it exists, and the nodes of our console backend; domid -1 when it is not known.

    network: a descriptor of the host's network namespace; -1: we are there. Raises RunxError when xl cannot.
    """
    # A number is given to another domain once its own has gone, so the name decides.
    known_alive = domid >= 0 and store.read(f"/local/domain/{domid}/name") == name
    number = domid if known_alive else find(store, name)
    if number is not None:
        xl.destroy(str(number), network)
    for known in {domid, number}:
        if known is not None and known >= 0:
            console_nodes.withdraw(store, known)
