"""`runx start`: let the guest run (OCI runtime.md, "Start")."""

import os

from runx.errors import RunxError
from runx.exec.container import record as records
from runx.exec.container.record import Record
from runx.exec.supervisor import control

CREATION_LIMIT_S = 30
"""How long to wait for a `create` that is at work. There is a limit because a hook of `create` may call `start`."""

TYPE_CHECKING = False  # as typing's, which takes longer to import than a fast command has
if TYPE_CHECKING:
    from runx.exec.container.hooks import Hook
    from runx.log import Log


def start(root: str, container_id: str, log: "Log") -> None:
    """Start a created container. If it is still being created, wait for that.

    Return when its virtual machine runs; its process starts when the guest has booted. With poststart hooks, return when the
    process was executed or cannot be, and the hooks have run.

    log: for warnings. Raises RunxError when there is no such container, it is not in the state "created", or xl fails. Raises it
    too when a poststart hook fails that ends the container, which is deleted then.
    """
    record = records.load(root, container_id)
    status = record.current_status()
    if status == "creating":
        record = _await_creation(root, container_id)
        status = record.current_status()
    if status != "created":
        hint = f"`create` is still at work after {CREATION_LIMIT_S} s: wait for its end" if status == "creating" else ""
        raise RunxError(f"cannot start a container in the {status} state", hint)
    if not os.path.exists(record.directory + "/hooks"):
        control.request(record.directory, "start")
        return
    from runx.exec.container import hooks

    poststart = hooks.load(record.directory, "poststart")
    control.request(record.directory, "start wait" if poststart else "start")
    if poststart:
        _run(poststart, root, container_id, log)


def _await_creation(root: str, container_id: str) -> Record:
    """The record after `create` has ended. Some callers start a container as soon as `state` knows it."""
    import time

    limit = time.monotonic() + CREATION_LIMIT_S
    while True:
        record = records.load(root, container_id)  # raises RunxError when `create` failed
        if record.current_status() != "creating" or time.monotonic() > limit:
            return record
        time.sleep(0.02)


def _run(poststart: "list[Hook]", root: str, container_id: str, log: "Log") -> None:
    from runx.exec.commands.delete import delete
    from runx.exec.commands.state import state
    from runx.exec.container import hooks

    document = state(root, container_id)
    try:
        hooks.run_all(poststart, document, log)
    except RunxError:
        delete(root, container_id, log, force=True)
        raise
