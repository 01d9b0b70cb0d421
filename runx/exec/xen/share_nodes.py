"""The xenstore nodes of a domain's 9p shares, whose backend is runx (docs/executor.md, "Shares")."""

from runx.exec.xen import device_nodes
from runx.exec.xen.xenstore import XenStore

KIND = "runx_9pfs"
"""Not 9pfs: a QEMU that runs for the domain's disks serves all that is below backend/9pfs/DOMID (hw/xen/xen-legacy-backend.c)."""
ORDER_MAX = 8
RINGS_MAX = 2
INITIALISING, INIT_WAIT, INITIALISED, CONNECTED, CLOSING, CLOSED = "1", "2", "3", "4", "5", "6"
"""enum xenbus_state"""


def frontend(domid: int, number: int) -> str:
    """The guest's directory of a share."""
    return f"/local/domain/{domid}/device/9pfs/{number}"


def backend(domid: int, number: int) -> str:
    """Our directory of a share."""
    return f"/local/domain/0/backend/{KIND}/{domid}/{number}"


def publish(store: XenStore, domid: int, number: int, tag: str, server: int, order: int = ORDER_MAX) -> None:
    """Write the nodes of both ends. A guest looks for shares when it boots, and at those that appear later, too.

    server: the pid of the process that serves, for people and tools. order: the largest of its rings, of which the guest's driver
    needs memory without gaps.
    """
    ours, guests = backend(domid, number), frontend(domid, number)
    nodes = {
        ours: {
            "frontend": guests,
            "frontend-id": str(domid),
            "online": "1",
            "versions": "1",
            "max-rings": str(RINGS_MAX),
            "max-ring-page-order": str(order),
            "server": str(server),
            "state": INIT_WAIT,
        },
        guests: {"backend": ours, "backend-id": "0", "tag": tag, "state": INITIALISING},
    }
    device_nodes.publish(store, domid, ours, guests, nodes)


def withdraw(store: XenStore, domid: int) -> None:
    """Remove the backend's nodes of all shares of a domain, which no tool of Xen's knows."""
    store.remove(f"/local/domain/0/backend/{KIND}/{domid}")
    store.remove_if_empty(f"/local/domain/0/backend/{KIND}")
