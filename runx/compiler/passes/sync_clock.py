"""Whether the guest's clock is kept at the host's time."""

from runx.compiler.diagnostics import Report
from runx.compiler.frontends.oci.runx_extensions import SYNC_CLOCK_ANNOTATION, asked_flag
from runx.compiler.host.config import HostConfig
from runx.compiler.model.request import Container


def syncs_clock(container: Container, host: HostConfig, report: Report) -> bool:
    """The annotation, or what runx.toml says; False if PID 1 of the guest is not runx's, or the machine is the pod's. A fault
    goes to `report`."""
    asked = asked_flag(SYNC_CLOCK_ANNOTATION, container.annotations, "RX240", report)
    why = container.why_not_with_runx or ("the clock is that of its pod's machine" if container.joins else "")
    if why and asked:
        report.ignore("RX241", ("annotations", SYNC_CLOCK_ANNOTATION), f"no clock is kept: {why}")
    return not why and (host.sync_clock if asked is None else asked)
