"""`runx state`: what OCI calls the state of a container (runtime.md, "State")."""

from runx.exec import record as records
from runx.exec.record import Record


def state(root: str, container_id: str) -> str:
    """The state as a JSON document. Raises RunxError when there is no such container.

    `pid` is the supervisor's; 0 for a stopped container, as runc gives it.
    """
    record = records.load(root, container_id)
    status = record.current_status()
    return document(record, status, record.pid if status in records.LIVE else 0)


def document(record: Record, status: str, pid: int) -> str:
    """The state of a container, as hooks are given it too."""
    return f'{{"status": "{status}", "pid": {pid}, {record.oci[1:]}\n'
