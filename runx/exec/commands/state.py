"""`runx state`: print the state of a container (OCI runtime.md, "State")."""

from runx.exec.commands import orphan
from runx.exec.container import record as records


def state(root: str, container_id: str) -> str:
    """The state as a JSON document. Raises RunxError when there is no such container.

    `pid` is the supervisor's; 0 for a stopped container, as in runc. A domain whose supervisor was killed is ended first, so
    that what is said to be stopped is.
    """
    record = records.load(root, container_id)
    status = orphan.status(record)
    return records.document(record, status, record.pid if status in records.LIVE else 0)
