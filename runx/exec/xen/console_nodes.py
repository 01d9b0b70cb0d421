"""The xenstore nodes of `device/console/1`, the console of a domain whose backend is runx (docs/console-link.md)."""

from runx.exec.xen import device_nodes
from runx.exec.xen.xenstore import XenStore

_CONNECTED = "4"
"""XenbusStateConnected (xen/include/public/io/xenbus.h)."""


def frontend(domid: int) -> str:
    """The guest's directory of the console."""
    return f"/local/domain/{domid}/device/console/1"


def backend(domid: int) -> str:
    """Our directory of the console."""
    return f"/local/domain/0/backend/console/{domid}/1"


def publish(store: XenStore, domid: int) -> None:
    """Write the nodes of both ends. Call it while the domain is paused: the guest looks for consoles when it boots.

    The backend is connected from the beginning. The guest's driver then is as soon as it has made its ring, whenever this process
    maps the ring: what the guest writes waits there, and binding the channel makes an event. Otherwise a kernel that is not
    runx's would wait for the backend before it executes PID 1, and it looks only every 100 ms
    (drivers/xen/xenbus/xenbus_probe_frontend.c, wait_loop).
    """
    ours, guests = backend(domid), frontend(domid)
    nodes = {
        ours: {"frontend": guests, "frontend-id": str(domid), "online": "1", "state": _CONNECTED, "protocol": "vt100"},
        guests: {
            "backend": ours,
            "backend-id": "0",
            "state": "1",
            "type": "runx",
            "limit": "1048576",
            "output": "runx",
        },
    }
    device_nodes.publish(store, domid, ours, guests, nodes)


def withdraw(store: XenStore, domid: int) -> None:
    """Remove the backend's nodes, and their parent if the toolstack's own console is gone from it."""
    store.remove(backend(domid))
    parent = f"/local/domain/0/backend/console/{domid}"
    if not store.directory(parent):
        store.remove(parent)
