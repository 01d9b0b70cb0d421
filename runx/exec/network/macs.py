"""MAC addresses of containers: each belongs to one container of the host, whatever its state root is.

A claim is a symbolic link in paths.MACS, with the address as its name, that leads to the container's directory. It holds as long
as the directory exists. The compiler looks at the claims, and chooses an address that nobody else has (host/facts.py, mac_owner).
"""

import os

from runx import paths
from runx.errors import RunxError, reason

TYPE_CHECKING = False  # as typing's
if TYPE_CHECKING:
    from collections.abc import Sequence


def release(directory: str, addresses: "Sequence[str]") -> None:
    """Take back the claims of a container. Without this they end when its directory is gone; the links stay until a `claim`."""
    for name in addresses:
        path = f"{paths.MACS}/{name}"
        try:
            if os.readlink(path) == directory:
                os.unlink(path)
        except OSError:
            pass  # another `claim` has removed it


def claim(directory: str, addresses: "Sequence[str]") -> None:
    """Claim MAC addresses for the container with this directory, which exists. Claims of containers that are gone are removed.

    Raises RunxError if another container has an address.
    """
    import fcntl

    claims = paths.MACS
    try:
        os.makedirs(claims, 0o700, exist_ok=True)
        lock = os.open(claims, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            owners = {name: os.readlink(f"{claims}/{name}") for name in os.listdir(claims)}
            for name, owner in owners.items():
                if not os.path.isdir(owner):
                    os.unlink(f"{claims}/{name}")
                elif name in addresses and owner != directory:
                    # It was free when the plan was made.
                    message = f"the MAC address {name} was given to the container of {owner} just now"
                    raise RunxError(message, "create the container again: it gets another address")
            for name in addresses:
                if owners.get(name) != directory:
                    os.symlink(directory, f"{claims}/{name}")
        finally:
            os.close(lock)
    except OSError as error:
        raise RunxError(f"cannot claim MAC addresses in {claims}: {reason(error)}") from None
