"""Give a virtual machine the interfaces that an engine put into the container's network namespace.

For each interface the domain gets a vif, whose backend is moved into that namespace. Frames that come in at one of the two are
sent out at the other (tc-mirred(8)). The guest takes the MAC address, addresses and routes. The engine's interface keeps its
addresses, since engines look for them when they remove it, but no frame reaches the namespace's own network stack any more.

A child of the supervisor reads the namespace, to keep the supervisor small. All changes can be undone: after a start that
failed the namespace is as before, for another start.
"""

import os

from runx import paths
from runx.errors import RunxError
from runx.exec import spawn
from runx.exec.xen import xl

_LIMIT = 60 * 1024
"""Bytes of the child's output. `spawn.tail` keeps a little more."""
_FAILED = 1
_ALLMULTICAST = ",allmulticast"

TYPE_CHECKING = False  # as typing's, which would cost each supervisor memory
if TYPE_CHECKING:
    from collections.abc import Collection

    from runx.exec.xen.xenstore import XenStore


class Interface:
    """An interface to give to a virtual machine."""

    __slots__ = ("mac", "mtu", "name", "taken")

    def __init__(self, name: str, mac: str, mtu: str, allmulticast: str) -> None:
        self.name = name
        self.mac = mac
        self.mtu = mtu
        self.taken = name + (_ALLMULTICAST if allmulticast == "1" else "")
        """The name, and whether the interface is made to receive all multicast frames: a word for `release`."""


def inspect(names: list[str]) -> tuple[list[Interface], list[str], bytes]:
    """Read the interfaces with these names in this process's network namespace, and change nothing.

    The interfaces; parts of the namespace that the guest does not get, in words; and the guest's network script. Raises RunxError
    that names an interface or route that cannot be given to a virtual machine.
    """
    output = os.memfd_create("network", os.MFD_CLOEXEC)
    try:
        pid = os.fork()
        if pid == 0:
            _inspect_and_exit(names, output)
        code, text = spawn.finish("looking at the engine's interfaces", pid, output, spawn.TIMEOUT_S)
    finally:
        os.close(output)
    if code:
        raise spawn.reported(text)
    found, not_carried, script = text.split("\0")
    return [Interface(*line.split(" ")) for line in found.splitlines()], not_carried.splitlines(), script.encode()


def _inspect_and_exit(names: list[str], output: int) -> None:
    status = _FAILED
    try:
        from runx.exec.network.inspect import describe  # in the child alone, as its imports would cost the supervisor memory

        text = describe(names).encode()
        if len(text) > _LIMIT:
            raise RunxError("the network namespace has more routes than a virtual machine can be given")
        os.write(output, text)
        status = 0
    except BaseException as error:
        spawn.report(output, "cannot look at the engine's interfaces", error)
    finally:
        os._exit(status)


def devices(store: "XenStore", domid: int) -> set[str]:
    """Numbers of a domain's network devices."""
    return set(store.directory(f"/local/domain/0/backend/vif/{domid}"))


def attach(store: "XenStore", domid: int, interfaces: list[Interface], host_network: int) -> None:
    """Give a paused domain these interfaces of this process's network namespace.

    host_network: a descriptor of the host's network namespace. Raises RunxError; then call `rollback`.
    """
    for interface in interfaces:
        _connect(interface, f"vif{domid}.{_attach_vif(store, domid, interface.mac)}", host_network)


def _connect(interface: Interface, vif: str, host_network: int) -> None:
    name = interface.name
    spawn.checked(["ip", "link", "set", "dev", vif, "netns", str(os.getpid())], f"moving {vif} to {name}", host_network)
    # addrgenmode: the backend must not have an address that the guest would see. allmulticast: the host does not know the groups
    # that the guest wants to receive.
    links = [f"link set dev {vif} addrgenmode none mtu {interface.mtu}"]
    if interface.taken.endswith(_ALLMULTICAST):
        links.append(f"link set dev {name} allmulticast on")
    spawn.batch("ip", links, f"connecting {name} with ip(8)")
    # The bpf program of one instruction matches all frames. Fewer kernels have the classifier matchall. The vif is down until the
    # filter exists, so no frame passes it.
    both = ((vif, name), (name, vif))
    rules = [f"qdisc add dev {source} ingress" for source, _ in both]
    rules += [
        f"filter add dev {source} parent ffff: protocol all prio 1 bpf bytecode '1,6 0 0 4294967295' "
        f"action mirred egress redirect dev {target}"
        for source, target in both
    ]
    spawn.batch("tc", rules, f"connecting {name} with tc(8)")
    spawn.checked(["ip", "link", "set", "dev", vif, "up"], f"bringing {vif} up")


def _attach_vif(store: "XenStore", domid: int, mac: str) -> str:
    """Attach one more network device to the domain; its number."""
    before = devices(store, domid)
    xl.network_attach(domid, mac, paths.hotplug("vif"))
    made = devices(store, domid) - before
    if len(made) != 1:
        raise RunxError(f"xl network-attach made {len(made)} devices instead of one", xl.LOGS)
    return made.pop()


def rollback(store: "XenStore", domid: int, keep: "Collection[str]", taken: list[str]) -> None:
    """Undo `attach`, or the part of it that was done, for a domain that has not run.

    keep: devices that the domain had before. taken: as in `release`. Raises RunxError when the domain still has other devices.
    """
    said = ""
    for device in sorted(devices(store, domid) - set(keep)):
        try:
            said += xl.network_detach(domid, device)
        except RunxError as error:
            said += error.message + "\n"
    release(taken)
    if devices(store, domid) - set(keep):
        raise RunxError(f"xl network-detach failed: {spawn.one_line(said, 1000) or 'it said nothing'}")


def release(taken: list[str], network: int = -1) -> None:
    """Remove our settings from interfaces. One that does not exist any more is no error.

    taken: `Interface.taken` of each. network: a descriptor of their network namespace; -1: this process is in it.
    """
    for word in taken:
        name, _, allmulticast = word.partition(",")
        spawn.run(["tc", "qdisc", "del", "dev", name, "ingress"], timeout_s=spawn.TIMEOUT_S, network=network)
        if allmulticast:
            spawn.run(["ip", "link", "set", "dev", name, "allmulticast", "off"], timeout_s=spawn.TIMEOUT_S, network=network)


def release_at(path: str, taken: list[str]) -> None:
    """Do the same in the network namespace at a path, if it still exists."""
    try:
        network = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return
    try:
        release(taken, network)
    finally:
        os.close(network)
