"""`runx start`: let the guest run (OCI runtime.md, "Start")."""

from runx.errors import RunxError
from runx.exec import control
from runx.exec import record as records


def start(root: str, container_id: str) -> None:
    """Start a created container. Returns when its virtual machine runs; its process starts when the guest has booted.

    Raises RunxError when there is no such container, it is not in the state "created", or xl fails.
    """
    record = records.load(root, container_id)
    status = record.current_status()
    if status != "created":
        raise RunxError(f"cannot start a container in the {status} state")
    control.request(record.directory, "start")
