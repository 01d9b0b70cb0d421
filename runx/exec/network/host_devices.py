"""Move network devices of the host into the container's network namespace (OCI config-linux.md, "Network Devices").

They are then what an engine could have put there: the guest gets them at `start` (tcfilter.py). The kernel takes the addresses of
a device away when it moves. Those that the specification names are given back: permanent ones of global scope.
"""

import os

from runx.errors import RunxError
from runx.exec import spawn
from runx.linux import netns

Moved = list[tuple[str, str]]
"""Names of devices on the host, and their names in the container's namespace."""


def take(words: list[str], host_network: int) -> Moved:
    """Move devices from the host's network namespace into this process's, and set them up. All of them, or none.

    words: NAME:NEWNAME each; `%d` in NEWNAME becomes a free number. host_network: a descriptor of the host's namespace. Raises
    RunxError.
    """
    moved: Moved = []
    ours = netns.descriptor()
    try:
        for name, new in (word.split(":") for word in words):
            before = netns.interfaces()
            if new in before:
                raise RunxError(f"linux.netDevices.{name}: the container's network namespace has a device {new} already")
            addresses = _move(name, new, host_network, ours)
            (now,) = netns.interfaces() - before
            moved.append((name, now))
            _ready(now, addresses, ours)
    except RunxError:
        give_back(moved, host_network)
        raise
    finally:
        os.close(ours)
    return moved


def give_back(moved: Moved, host_network: int) -> None:
    """Undo `take` for a container that was not made. A device that cannot go back stays, and goes with its namespace."""
    ours = netns.descriptor()
    try:
        for name, now in moved:
            try:
                _ready(name, _move(now, name, ours, host_network), host_network)
            except RunxError:
                pass  # the error that led here is the one to tell
    finally:
        os.close(ours)


def _move(name: str, new: str, source: int, target: int) -> list[list[str]]:
    """Move a device between two namespaces; its addresses, in words of ip-address(8)."""
    show = ["ip", "-o", "address", "show", "dev", name, "permanent", "scope", "global"]
    addresses = [_address(line.split()) for line in spawn.checked(show, f"looking at the device {name}", source).splitlines()]
    # A path, as ip(8) takes a name without slashes for one in /run/netns.
    where = f"/proc/{os.getpid()}/fd/{target}"
    spawn.checked(["ip", "link", "set", "dev", name, "netns", where, "name", new], f"moving the device {name}", source)
    return addresses


def _address(words: list[str]) -> list[str]:
    """NUMBER: NAME FAMILY ADDRESS ... scope ..., as `ip -o` writes a line."""
    address = words[3 : words.index("scope")]
    # The device had the address before, so nobody else has it.
    return [*address, "nodad"] if words[2] == "inet6" else address


def _ready(name: str, addresses: list[list[str]], network: int) -> None:
    for address in addresses:
        add = ["ip", "address", "add", *address, "dev", name]
        spawn.checked(add, f"giving the device {name} its address {address[0]}", network)
    spawn.checked(["ip", "link", "set", "dev", name, "up"], f"setting the device {name} up", network)
