"""A configuration whose container boots a ramdisk of its own: nothing of runx is in such a guest."""

from runx.compiler.diagnostics import Report
from runx.compiler.host.facts import Facts
from runx.compiler.model.plan import Process
from runx.compiler.model.request import Container
from runx.compiler.model.settings import LEFT_TO_OWN_RAMDISK

_BY_THE_RAMDISK = "the container's own ramdisk decides about it; nothing of runx is in the guest"


def check_own_ramdisk(container: Container, facts: Facts, report: Report) -> None:  # noqa: ARG001
    """Report each setting that is ignored because of a ramdisk of the container's own."""
    if not container.ramdisk:
        return
    for path in LEFT_TO_OWN_RAMDISK:
        if container.asks_for(path):
            report.ignore("RX022", path, _BY_THE_RAMDISK)
    if "consoleSize" in container.document.get("process", {}):
        report.ignore("RX022", ("process", "consoleSize"), "runx cannot tell the guest the size of its console")
    slot = 0
    for mount in container.mounts:
        if mount.type == "bind":
            report.ignore("RX022", mount.path, f"for the container's own ramdisk to mount: entry {slot} of the 9p share `mounts`")
            slot += 1
        else:
            report.ignore("RX022", mount.path, _BY_THE_RAMDISK)
    for network in container.networks:
        report.ignore(
            "RX022", network.path, "the interface is there, but the container's own ramdisk decides on addresses and names"
        )


def terminal_alone(process: Process) -> Process:
    """A process about which only one thing is known: whether its streams are a terminal."""
    return Process(args=(), env=(), cwd="/", uid=0, gid=0, additional_gids=(), terminal=process.terminal)
