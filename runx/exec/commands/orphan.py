"""A container whose supervisor was killed: nobody ends its domain, so the next command that finds it does."""

from runx.exec.container.record import Record

TYPE_CHECKING = False  # as typing's, which takes longer to import than a fast command has
if TYPE_CHECKING:
    from collections.abc import Callable


def status(record: Record) -> str:
    """The container's present status. It is "stopped" only if its domain has gone, too.

    Raises RunxError with xl's words if a domain without a supervisor cannot be destroyed: the container has not stopped then.
    """
    found = record.current_status()
    if found == "stopped" and record.status != found and record.domain and record.domid >= 0:
        _destroy()(record.domain)
    return found


def _destroy() -> "Callable[[str], None]":
    from runx.exec.xen import xl  # nearly all containers have a supervisor

    return xl.destroy
