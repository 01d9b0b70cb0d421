"""`runx pause` and `runx resume`: stop and continue the virtual machine's processors (xl(1), pause and unpause).

Of one container of a pod's machine, its processes alone, by the freezer of its control group in the guest.
"""

from runx.errors import RunxError
from runx.exec.container import record as records
from runx.exec.container.record import Record
from runx.exec.supervisor import control


def pause(root: str, container_id: str) -> None:
    """Pause a running container. Raises RunxError ("container not running") otherwise."""
    record = records.load(root, container_id)
    if record.current_status() != "running":
        raise RunxError("container not running")
    if record.joins:
        _freeze(record, frozen=True)
    control.request(record.directory, "pause")


def resume(root: str, container_id: str) -> None:
    """Continue a paused container. Raises RunxError ("container not paused") otherwise."""
    record = records.load(root, container_id)
    if record.current_status() != "paused":
        raise RunxError("container not paused")
    if record.joins:
        _freeze(record, frozen=False)
    control.request(record.directory, "resume")


def _freeze(record: Record, *, frozen: bool) -> None:
    from runx.exec.commands import guest_limits  # for few containers

    guest_limits.freeze(record, frozen=frozen)
