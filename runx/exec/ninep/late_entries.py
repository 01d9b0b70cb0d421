"""Entries that come to the share of a pod's machine while it is served, and go again.

The server of the share can mount nothing. So a child of the supervisor assembles them, as the server does at its start (jail.py),
and attaches them in the server's mount namespace, at places that the server has made for them.
"""

import errno
import os

from runx.errors import RunxError, reason
from runx.exec.ninep import jail
from runx.exec.ninep.export_names import POD_TAG
from runx.linux import mount

TYPE_CHECKING = False  # as typing's, which costs the supervisor memory
if TYPE_CHECKING:
    from runx.exec.ninep.exports import Bind


def add(server: int, place: str, binds: "list[Bind]") -> None:
    """Add entries. In a child: this process is in the server's mount namespace afterwards.

    server: its pid. place: an empty directory of the host. binds: whose names are places of the share. Raises RunxError, which
    names the entry that failed.
    """
    theirs = _namespace_of(server)
    try:
        mount.unshare(mount.CLONE_NEWNS)
        mount.mount("none", "/", mount.MS_REC | mount.MS_SLAVE)
        flags = mount.MS_NOSUID | mount.MS_NODEV | mount.MS_NOEXEC
        mount.mount("entries", place, flags, "tmpfs", "mode=700,size=1m")
        os.mkdir(f"{place}/{POD_TAG}")
    except OSError as error:
        raise RunxError(f"cannot make a mount namespace for entries of the pod's share: {reason(error)}") from None
    jail.assemble(place, binds)
    try:
        trees = [(mount.copy_tree(f"{place}/{bind.place}"), f"/{bind.place}") for bind in binds]
        mount.setns(theirs, mount.CLONE_NEWNS)
        for tree, target in trees:
            mount.attach_tree(tree, target)
    except OSError as error:
        raise RunxError(f"cannot add entries to the pod's share: {error.filename}: {reason(error)}") from None


def remove(server: int, names: "list[str]") -> None:
    """Remove entries, by their names. In a child, as `add`. Raises RunxError."""
    try:
        mount.setns(_namespace_of(server), mount.CLONE_NEWNS)
        for name in names:
            try:
                mount.unmount(f"/{POD_TAG}/{name}")
            except OSError as error:
                if error.errno != errno.EINVAL:  # it could not be added
                    raise
    except OSError as error:
        raise RunxError(f"cannot remove an entry of the pod's share: {error.filename}: {reason(error)}") from None


def _namespace_of(server: int) -> int:
    try:
        return os.open(f"/proc/{server}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise RunxError(f"the server of the pod's share: {reason(error)}") from None
