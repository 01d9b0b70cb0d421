"""Network namespaces (network_namespaces(7)).

A container's is the one that its supervisor lives in, whose pid engines see: their hooks open /proc/PID/ns/net and put the
container's interfaces there. It has no name and ends with the supervisor. Programs of Xen must run in the host's, whose bridges
they attach interfaces of virtual machines to.
"""

import _socket  # the socket module takes too long to load for a fast command
import os

from runx.errors import RunxError, reason


def unshared(argv: list[str]) -> list[str]:
    """The command line of a program in a new network namespace (unshare(1)). The program keeps the pid."""
    return ["unshare", "--net", "--", *argv]


def inside(argv: list[str], namespace: int) -> list[str]:
    """The command line of a program in the network namespace of a descriptor of this process (nsenter(1))."""
    return ["nsenter", f"--net=/proc/{os.getpid()}/fd/{namespace}", "--", *argv]


def descriptor(pid: int | str = "self") -> int:
    """A descriptor of the network namespace of a live process, closed by exec. Raises OSError."""
    return os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def enter(namespace: int) -> None:
    """Move this process into a network namespace. Raises RunxError when it may not."""
    from runx.linux import mount  # loads ctypes, which a fast command does without

    try:
        mount.setns(namespace, mount.CLONE_NEWNET)
    except OSError as error:
        raise RunxError(f"cannot enter a network namespace: {reason(error)}", "runx must run as root") from None


def join(path: str, host: int) -> None:
    """Move this process into the network namespace at a path.

    host: a descriptor of the host's. Raises RunxError when there is no network namespace at the path, or it is the host's.
    """
    try:
        namespace = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise RunxError(f"linux.namespaces: {path}: {reason(error)}") from None
    try:
        if os.path.samestat(os.fstat(namespace), os.fstat(host)):
            raise RunxError(
                f"linux.namespaces: {path} is the network of the host, which cannot be used in a virtual machine",
                'give the container one of its own: {"type": "network"} with no path',
            )
        try:
            enter(namespace)
        except RunxError as error:
            raise RunxError(f"linux.namespaces: {path}: {error.message}", "is it a network namespace?") from None
    finally:
        os.close(namespace)


def claim() -> _socket.socket:
    """Reserve this process's network namespace for one virtual machine, until the socket that is returned is closed.

    The mark is an abstract unix socket, of which a namespace can have one of a name. Raises RunxError when there is one already.
    """
    mark = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC)
    try:
        mark.bind("\0runx")
    except OSError:
        mark.close()
        raise RunxError(
            "linux.namespaces: the network namespace is in use by another container, whose virtual machine has its interfaces",
            "a virtual machine cannot share them: one container of a pod can run at a time; else give it a network of its own",
        ) from None
    return mark


def interfaces() -> frozenset[str]:
    """Names of the interfaces in this process's network namespace, without `lo` (proc_pid_net(5), dev)."""
    with open("/proc/self/net/dev", encoding="utf-8", errors="replace") as file:
        names = {line.partition(":")[0].strip() for line in file if ":" in line}
    return frozenset(names - {"lo"})
