"""Whether what the container writes comes into its root filesystem on the host when it ends."""

from typing import Literal

from runx.compiler.diagnostics import Report, quote
from runx.compiler.frontends.oci.runx_extensions import ROOT_WRITE_BACK_ANNOTATION
from runx.compiler.host.config import WRITE_BACK, HostConfig
from runx.compiler.model.request import Container
from runx.compiler.passes.root_carrier import RootChoice


def choose_write_back(container: Container, root: RootChoice, host: HostConfig, report: Report) -> Literal["exit", "never", ""]:
    """The annotation, or what runx.toml says; "" if nothing of the root filesystem is in the guest alone. A fault goes to
    `report`."""
    name = ROOT_WRITE_BACK_ANNOTATION
    asked = container.annotations.get(name, host.write_back)
    path = ("annotations", name)
    if asked not in WRITE_BACK:
        report.error("RX217", path, f"{quote(asked)} is none of {', '.join(WRITE_BACK)}", "use one of them, or leave it out")
    why = _why_nothing(container, root)
    if not why:
        return "never" if asked == "never" else "exit"
    if name in container.annotations:
        report.ignore("RX218", path, why)
    return ""


def _why_nothing(container: Container, root: RootChoice) -> str:
    """Why there is nothing to write back."""
    if root.carrier == "9p":
        return "the host has what the container writes at once, as its root filesystem is shared over 9p"
    if root.facts is None:
        return "the container writes to vm.image itself" if root.carrier == "disk" else "there is no guest"
    return "root.readonly: nothing is written" if container.root_read_only else ""
