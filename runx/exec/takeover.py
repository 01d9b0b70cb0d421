"""Interfaces that an engine has put into the container's network namespace become the virtual machine's.

For each one the domain gets a vif whose backend is moved into that namespace, and all frames that come in at either are sent
out at the other (tc-mirred(8)). The guest takes the MAC address, addresses and routes. The engine's interface keeps its
addresses, since engines look for them when they take it away; no frame reaches the namespace's own stack any more.

The work is done by a child of the supervisor, which has to stay small.
"""

import os

from runx import paths
from runx.errors import RunxError
from runx.exec import run

TIMEOUT_S = 60.0
_ATTACH_TIMEOUT_S = 120.0
_SCRIPT_LIMIT = 60 * 1024
"""Bytes of the guest's script: what `run` keeps of a child's output is a little more."""
_FAILED = 1

TYPE_CHECKING = False  # as typing's, which takes long to import
if TYPE_CHECKING:
    from typing import Any


def take(domid: int, names: list[str], host_network: int) -> bytes:
    """Give a paused domain the interfaces of these names in this process's network namespace; the guest's network script.

    host_network: a descriptor of the host's network namespace. Raises RunxError naming an interface that cannot be taken.
    """
    output = os.memfd_create("network", os.MFD_CLOEXEC)
    try:
        pid = os.fork()
        if pid == 0:
            _take_and_exit(domid, names, host_network, output)
        code, text = run.finish("taking the engine's interfaces over", pid, output, _ATTACH_TIMEOUT_S * (1 + len(names)))
    finally:
        os.close(output)
    if code:
        raise run.reported(text)
    return text.encode()


def _take_and_exit(domid: int, names: list[str], host_network: int, output: int) -> None:
    status = _FAILED
    try:
        from runx.exec import engine_interfaces  # what it imports is gone with this child

        links = engine_interfaces.read(names)
        script = engine_interfaces.guest_script(links).encode()
        if len(script) > _SCRIPT_LIMIT:
            raise RunxError("the network namespace has more routes than a virtual machine can be given")
        for link in links:
            _connect(domid, link, host_network)
        os.write(output, script)
        status = 0
    except BaseException as error:
        run.report(output, "cannot take the interfaces over", error)
    finally:
        os._exit(status)


def _connect(domid: int, link: "dict[str, Any]", host_network: int) -> None:
    name = link["ifname"]
    vif = _attach(domid, link["address"])
    checked(["ip", "link", "set", "dev", vif, "netns", str(os.getppid())], f"moving {vif} to {name}", host_network)
    # addrgenmode: the backend has no address that the guest would see. Multicast: what the guest wants to hear is unknown here.
    multicast = f"link set dev {name} allmulticast on\n" if link.get("linkinfo", {}).get("info_kind") == "macvlan" else ""
    _batch("ip", f"link set dev {vif} addrgenmode none mtu {link['mtu']}\n{multicast}", name)
    # A program of one instruction matches everything, as the classifier matchall does, which fewer kernels have. No frame gets
    # past it: the vif is down until it is there.
    both = ((vif, name), (name, vif))
    _batch(
        "tc",
        "".join(f"qdisc add dev {source} ingress\n" for source, _ in both)
        + "".join(
            f"filter add dev {source} parent ffff: protocol all prio 1 bpf bytecode '1,6 0 0 4294967295' "
            f"action mirred egress redirect dev {target}\n"
            for source, target in both
        ),
        name,
    )
    checked(["ip", "link", "set", "dev", vif, "up"], f"bringing {vif} up")


def _attach(domid: int, mac: str) -> str:
    """Give the domain one more network device; the name of its backend's interface."""
    from runx.exec.xenstore import XenStore

    store = XenStore()
    try:
        backends = f"/local/domain/0/backend/vif/{domid}"
        before = set(store.directory(backends))
        script = f"{paths.LIBRARY_DIR}/runx/exec/vif-script"
        checked(
            ["xl", "network-attach", str(domid), f"mac={mac}", f"script={script}"],
            "xl network-attach",
            timeout_s=_ATTACH_TIMEOUT_S,
        )
        (device,) = set(store.directory(backends)) - before
    finally:
        store.close()
    return f"vif{domid}.{device}"


def _batch(program: str, lines: str, name: str) -> None:
    commands = os.memfd_create("commands", 0)  # inherited
    try:
        os.write(commands, lines.encode())
        checked([program, "-batch", f"/proc/self/fd/{commands}"], f"connecting {name} with {program}(8)")
    finally:
        os.close(commands)


def checked(argv: list[str], what: str, network: int = -1, timeout_s: float = TIMEOUT_S) -> str:
    """What a program printed. Raises RunxError with it when it failed."""
    status, said = run.run(argv, timeout_s=timeout_s, network=network)
    if status:
        raise RunxError(f"{what} failed with exit status {status}: {run.one_line(said, 1000) or 'it said nothing'}")
    return said


def let_go(names: list[str], network: int = -1) -> None:
    """Leave nothing of ours at interfaces that were taken; those that have gone are no error.

    network: a descriptor of the network namespace they are in; -1: it is ours.
    """
    for name in names:
        run.run(["tc", "qdisc", "del", "dev", name, "ingress"], timeout_s=TIMEOUT_S, network=network)


def let_go_at(path: str, names: list[str]) -> None:
    """The same in the network namespace at a path, if it is still there."""
    try:
        network = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        let_go(names, network)
    finally:
        os.close(network)
