"""The network namespace of a container on the host: the one its supervisor, whose pid engines see, lives in.

Engines' hooks open /proc/PID/ns/net and put the container's interfaces there. The namespace has no name and goes with the
supervisor. Programs of Xen belong into the host's own: they attach interfaces of virtual machines to its bridges.
"""

import _socket  # as in control.py
import os

from runx.errors import RunxError, reason


def unshared(argv: list[str]) -> list[str]:
    """The command line (unshare(1), which keeps the process's number) that starts a program in a new network namespace."""
    return ["unshare", "--net", "--", *argv]


def inside(argv: list[str], namespace: int) -> list[str]:
    """The command line (nsenter(1)) that starts a program in a network namespace of which this process has a descriptor."""
    return ["nsenter", f"--net=/proc/{os.getpid()}/fd/{namespace}", "--", *argv]


def descriptor(pid: int | str = "self") -> int:
    """A descriptor of the network namespace of a live process, closed by exec."""
    return os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)


def enter(namespace: int) -> None:
    """Move this process, a child that is about to become another program, into a network namespace.

    Raises RunxError when it may not.
    """
    from runx.linux import mount  # loads ctypes, which a fast command does without

    try:
        mount.setns(namespace, mount.CLONE_NEWNET)
    except OSError as error:
        raise RunxError(f"cannot enter a network namespace: {reason(error)}", "runx must run as root") from None


def join(path: str, host: int) -> None:
    """Leave this process's network namespace for the one at a path.

    host: a descriptor of the host's. Raises RunxError when the path is no network namespace, or is the host's.
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
    """Make this process's network namespace that of one virtual machine, until what is returned has gone.

    An abstract unix socket belongs to its network namespace. Raises RunxError when there is a virtual machine already.
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
    """The names of the interfaces in this process's network namespace, but for the loopback (proc_pid_net(5), dev)."""
    with open("/proc/self/net/dev", encoding="utf-8", errors="replace") as file:
        names = {line.partition(":")[0].strip() for line in file if ":" in line}
    return frozenset(names - {"lo"})
