"""Nodes of a paravirtual device in xenstore, which a backend of runx's own and its frontend have."""

from runx.exec.xen.xenstore import XenStore


def publish(store: XenStore, domid: int, ours: str, guests: str, nodes: dict[str, dict[str, str]]) -> None:
    """Write the nodes below the backend's directory `ours` and the frontend's directory `guests`. The guest can change its state
    there, and add nodes of its own.

    nodes: the values by directory and name. Raises what the store raises.
    """
    # Set the permissions first. A node inherits those of its parent when it is made, so none is ever open to the wrong side.
    store.write(ours, "")
    store.set_permissions(ours, "n0", f"r{domid}")
    store.write(guests, "")
    store.set_permissions(guests, f"n{domid}", "r0")
    for directory, values in nodes.items():
        for name, value in values.items():
            store.write(f"{directory}/{name}", value)
            if directory == guests and name != "state":
                # What we say there stays ours, as with Xen's own tools (libxl__device_console_add): others in dom0 read it.
                store.set_permissions(f"{directory}/{name}", "n0", f"r{domid}")
