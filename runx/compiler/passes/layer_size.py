"""How much a container may write to a root filesystem on disks."""

from runx.compiler.diagnostics import Report, quote
from runx.compiler.frontends.oci.runx_extensions import ROOT_LAYER_SIZE_ANNOTATION
from runx.compiler.host.config import HostConfig, mib_of
from runx.compiler.model.request import Container
from runx.compiler.passes.root_carrier import RootChoice


def choose_layer_size(container: Container, root: RootChoice, host: HostConfig, report: Report) -> int | None:
    """Of the layer in MiB: what runx.toml says, or less if the annotation asks for that. None without a layer. A fault goes to
    `report`."""
    name = ROOT_LAYER_SIZE_ANNOTATION
    path = ("annotations", name)
    has_layer = root.carrier == "disk" and root.facts is not None and not container.root_read_only
    asked = container.annotations.get(name)
    if asked is None:
        return host.layer_mib if has_layer else None
    try:
        mib = mib_of(asked)
    except ValueError as form:
        report.error("RX219", path, f"{quote(asked)} is not {form}", "use a size, or leave it out")
        mib = host.layer_mib
    if mib > host.layer_mib:
        message = f"{quote(asked)} is more than root.layer_size ({host.where('root.layer_size')}), {host.layer_mib} MiB"
        report.error("RX219", path, message, "the annotation can ask for less alone")
    if not has_layer:
        report.ignore(
            "RX224", path, "the container writes to no layer: its root filesystem is read-only, or not on disks of runx"
        )
        return None
    return mib
