"""`runx pause` and `runx resume`: stop and continue the virtual machine's processors (xl(1), pause and unpause)."""

from runx.errors import RunxError
from runx.exec.container import record as records
from runx.exec.supervisor import control


def pause(root: str, container_id: str) -> None:
    """Pause a running container. Raises RunxError ("container not running") otherwise."""
    record = records.load(root, container_id)
    if record.current_status() != "running":
        raise RunxError("container not running")
    control.request(record.directory, "pause")


def resume(root: str, container_id: str) -> None:
    """Continue a paused container. Raises RunxError ("container not paused") otherwise."""
    record = records.load(root, container_id)
    if record.current_status() != "paused":
        raise RunxError("container not paused")
    control.request(record.directory, "resume")
