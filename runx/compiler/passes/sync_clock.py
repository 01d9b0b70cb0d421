"""Whether the guest's clock is kept at the host's time."""

from runx.compiler.diagnostics import Report, quote
from runx.compiler.frontends.oci.runx_extensions import SYNC_CLOCK_ANNOTATION
from runx.compiler.host.config import HostConfig
from runx.compiler.model.request import Container


def syncs_clock(container: Container, host: HostConfig, report: Report) -> bool:
    """The annotation, or what runx.toml says; False if PID 1 of the guest is not runx's. A fault goes to `report`."""
    path = ("annotations", SYNC_CLOCK_ANNOTATION)
    asked = container.annotations.get(SYNC_CLOCK_ANNOTATION)
    if asked not in (None, "true", "false"):
        report.error("RX240", path, f"{quote(asked)} is neither true nor false", "use one of them, or leave it out")
    if container.is_sandbox or container.ramdisk:
        if asked == "true":
            why = "a pod's sandbox has no virtual machine" if container.is_sandbox else "the ramdisk is the container's own"
            report.ignore("RX241", path, f"no clock is kept: {why}")
        return False
    return host.sync_clock if asked is None else asked == "true"
