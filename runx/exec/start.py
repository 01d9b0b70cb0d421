"""`runx start`: let the guest run (OCI runtime.md, "Start")."""

import os

from runx.errors import RunxError
from runx.exec import control
from runx.exec import record as records


def start(root: str, container_id: str, *, log: str = "", log_json: bool = False) -> None:
    """Start a created container. Returns when its virtual machine runs; its process starts when the guest has booted.

    log: the --log file, for warnings. Raises RunxError when there is no such container, it is not in the state "created", or xl
    fails; and when a poststart hook fails that ends the container, of which nothing is left then.
    """
    record = records.load(root, container_id)
    status = record.current_status()
    if status != "created":
        raise RunxError(f"cannot start a container in the {status} state")
    control.request(record.directory, "start")
    if os.path.exists(record.directory + "/hooks"):
        _run_hooks(root, container_id, log, log_json)


def _run_hooks(root: str, container_id: str, log: str, log_json: bool) -> None:
    from runx.exec import hooks
    from runx.exec.delete import delete
    from runx.exec.state import state

    document = state(root, container_id)
    poststart = hooks.load(records.directory_of(root, container_id), "poststart")
    try:
        hooks.run_all(poststart, document, hooks.Warn(log, log_json))
    except RunxError:
        delete(root, container_id, force=True, log=log, log_json=log_json)
        raise
